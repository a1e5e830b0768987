"""A batching writer: a thread of its own tells MLflow what happens; no trial ever waits for MLflow or fails with it."""

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from hpo.study import Metrics, Study, TrialRecord
from hpo.tracking.news import News

_GATHER_SECONDS = 1.0
"""How long records gather before they are written together."""
_TRIES = 3
_PAUSE_SECONDS = 1.0

_T = TypeVar("_T")


class Tracker:
    """An observer that writes a study and its trials to MLflow in the background.

    `problem` is why records are missing in MLflow, once the tracker was closed; the study itself has them all.
    """

    def __init__(self, study: Study, storage: Path) -> None:
        self._study, self._storage = study, storage
        self._news: queue.SimpleQueue[News | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._failures: list[Exception] = []
        self._lost = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._news.put(None)
        self._thread.join()

    @property
    def problem(self) -> str | None:
        """One sentence, or None where MLflow has everything."""
        if not self._failures:
            return None
        return f"MLflow lacks {self._lost} records of this search: {self._failures[0]}"

    def trial_started(self, trial: TrialRecord) -> None:
        """Queued."""
        self._news.put(News(trial.number, started=(trial, _now())))

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Queued."""
        self._news.put(News(number, reports=[(epoch, metrics, _now())]))

    def trial_paused(self, number: int) -> None:
        """MLflow has no such state; the run goes on."""

    def trial_resumed(self, number: int) -> None:
        """As if it had not been paused."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Queued."""
        self._news.put(News(trial.number, ended=(trial, _now())))

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            from hpo.tracking.runs import Runs  # MLflow takes seconds to import, for which nobody should wait

            runs = self._retry(partial(Runs, self._study, self._storage))
        except Exception as error:  # a tracker that cannot connect must not end the search
            self._failures.append(error)
            while (news := self._news.get()) is not None:
                self._lost += news.records
            return
        open_ = True
        while open_:
            batch, open_ = self._gather()
            for news in batch.values():
                self._write(partial(runs.write, news), news.records)
        self._write(runs.close, 0)

    def _gather(self) -> tuple[dict[int, News], bool]:
        """What happens next to each trial, and whether more may come."""
        batch: dict[int, News] = {}
        news = self._news.get()
        until = time.monotonic() + _GATHER_SECONDS
        while news is not None:
            known = batch.setdefault(news.number, News(news.number))
            known.started = known.started or news.started
            known.reports += news.reports
            known.ended = known.ended or news.ended
            try:
                news = self._news.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return batch, True
        return batch, False

    def _write(self, write: Callable[[], object], records: int) -> None:
        """Writes records; what fails for good is counted, and the next is tried."""
        try:
            self._retry(write)
        except Exception as error:  # MLflow's clients raise whatever their transport raises
            self._failures.append(error)
            self._lost += records

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
