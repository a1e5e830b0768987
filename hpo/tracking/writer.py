"""A batching writer: a thread of its own tells MLflow what happens; no trial ever waits for MLflow or fails with it."""

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from hpo import schedulers
from hpo.study import INTERRUPTED, Metrics, State, Study, TrialRecord, trial_seed
from hpo.tracking.store import TRIAL_TAG, connect, study_run, study_tags

_GATHER_SECONDS = 1.0
"""How long records gather before they are written together."""
_LARGEST_BATCH = 1000
"""Metrics that MLflow takes in one call."""
_TRIES = 3
_PAUSE_SECONDS = 1.0

_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "FINISHED", State.FAILED: "FAILED"}


@dataclass(frozen=True)
class _Started:
    trial: TrialRecord
    at: int


@dataclass(frozen=True)
class _Reported:
    number: int
    epoch: int
    metrics: Metrics
    at: int


@dataclass(frozen=True)
class _Ended:
    trial: TrialRecord
    at: int


_Event = _Started | _Reported | _Ended
_T = TypeVar("_T")


class Tracker:
    """An observer that writes a study and its trials to MLflow in the background.

    `problem` is why records are missing in MLflow, once the tracker was closed; the study itself has them all.
    """

    def __init__(self, study: Study, storage: Path) -> None:
        self._study, self._storage = study, storage
        self._events: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._runs: dict[int, str] = {}
        self._tags = study_tags(study, "trial")
        self._failures: list[Exception] = []
        self._lost = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.put(None)
        self._thread.join()

    @property
    def problem(self) -> str | None:
        """One sentence, or None where MLflow has everything."""
        if not self._failures:
            return None
        return f"MLflow lacks {self._lost} records of this search: {self._failures[0]}"

    def trial_started(self, trial: TrialRecord) -> None:
        """Queued."""
        self._events.put(_Started(trial, _now()))

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Queued."""
        self._events.put(_Reported(number, epoch, metrics, _now()))

    def trial_paused(self, number: int) -> None:
        """MLflow has no such state; the run goes on."""

    def trial_resumed(self, number: int) -> None:
        """As if it had not been paused."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Queued."""
        self._events.put(_Ended(trial, _now()))

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            client, experiment_id = self._retry(lambda: connect(self._storage))
            parent = self._retry(lambda: study_run(client, experiment_id, self._study))
            self._retry(lambda: client.update_run(parent, status="RUNNING"))
        except Exception as error:  # a tracker that cannot connect must not end the search
            self._failures.append(error)
            while self._events.get() is not None:
                self._lost += 1
            return
        open_ = True
        while open_:
            batch, open_ = self._gather()
            self._write(client, experiment_id, parent, batch)
        try:
            self._retry(lambda: client.set_terminated(parent))
        except Exception as error:
            self._failures.append(error)

    def _gather(self) -> tuple[list[_Event], bool]:
        """The next events, and whether more may come."""
        batch: list[_Event] = []
        event = self._events.get()
        until = time.monotonic() + _GATHER_SECONDS
        while event is not None:
            batch.append(event)
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return batch, True
        return batch, False

    def _write(self, client: MlflowClient, experiment_id: str, parent: str, batch: list[_Event]) -> None:
        metrics: dict[int, list[Metric]] = defaultdict(list)
        for event in batch:
            if isinstance(event, _Started):
                self._guard(partial(self._start, client, experiment_id, parent, event))
            elif isinstance(event, _Reported):
                metrics[event.number] += [
                    Metric(name, value, event.at, event.epoch) for name, value in event.metrics.items()
                ]
        for number, values in metrics.items():
            for first in range(0, len(values), _LARGEST_BATCH):
                part = values[first : first + _LARGEST_BATCH]
                self._guard(partial(self._log_metrics, client, number, part))
        for event in batch:
            if isinstance(event, _Ended):
                self._guard(partial(self._end, client, event))

    def _start(self, client: MlflowClient, experiment_id: str, parent: str, event: _Started) -> None:
        trial = event.trial
        tags = {
            **self._tags,
            TRIAL_TAG: str(trial.number),
            "mlflow.parentRunId": parent,
            "seed": str(trial_seed(self._study.spec, trial.number)),
            "state": State.RUNNING.value,
            **{f"lineage.{name}": str(value) for name, value in (trial.lineage or {}).items()},
        }
        run = client.create_run(experiment_id, event.at, tags, run_name=f"trial-{trial.number}")
        self._runs[trial.number] = run.info.run_id
        client.log_batch(run.info.run_id, params=[Param(name, str(value)) for name, value in trial.config.items()])

    def _log_metrics(self, client: MlflowClient, number: int, metrics: list[Metric]) -> None:
        client.log_batch(self._runs[number], metrics=metrics)

    def _end(self, client: MlflowClient, event: _Ended) -> None:
        trial = event.trial
        run = self._runs[trial.number]
        tags = {
            "state": trial.state.value,
            "rung": str(schedulers.rung_reached(self._study.spec, trial.epoch)),
            "epochs": str(trial.epoch),
        }
        metrics = []
        if trial.cause:
            tags["reason"] = trial.cause
        if trial.value is not None and trial.best_epoch is not None:
            tags["best_epoch"] = str(trial.best_epoch)
            metrics = [Metric(f"best_{trial.metric}", trial.value, event.at, trial.best_epoch)]
        client.log_batch(run, metrics=metrics, tags=[RunTag(name, value) for name, value in tags.items()])
        status = "KILLED" if trial.reason == INTERRUPTED.reason else _STATUS[trial.state]
        client.set_terminated(run, status, event.at)

    def _guard(self, write: Callable[[], object]) -> None:
        """Writes one record; what fails for good is counted, and the next is tried."""
        try:
            self._retry(write)
        except Exception as error:  # MLflow's clients raise whatever their transport raises
            self._failures.append(error)
            self._lost += 1

    def _retry(self, write: Callable[[], _T]) -> _T:
        for attempt in range(1, _TRIES):
            try:
                return write()
            except Exception:
                time.sleep(_PAUSE_SECONDS * attempt)
        return write()


def _now() -> int:
    """Milliseconds since 1970, as MLflow wants them."""
    return time.time_ns() // 1_000_000
