"""A study's runs in MLflow, written with as few calls as can be: each is a transaction of its own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from hpo import schedulers
from hpo.study.study import Study
from hpo.study.trial import LIVE, State, TrialRecord
from hpo.tracking.artifacts import write_text
from hpo.tracking.keys import keys
from hpo.tracking.store import TRIAL_TAG, connect, study_run, study_tags, trial_runs
from hpo.tracking.updates import Update, milliseconds

_LARGEST_BATCH = 1000
"""Metrics, parameters and tags that MLflow takes in one call."""
_ENDED = ("FINISHED", "FAILED")
_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "FINISHED", State.FAILED: "FAILED"}


class Runs:
    """The parent run of a search and the nested runs of its trials.

    Args:
        study: is searched; its run is made where there is none, and says that it is running.
        storage: the folder of all studies.

    Raises:
        mlflow.exceptions.MlflowException: MLflow could not be reached or refused; as of every method.
    """

    def __init__(self, study: Study, storage: Path) -> None:
        self._study, self._storage = study, storage
        self._client, self._experiment = connect(storage)
        self._parent = study_run(self._client, self._experiment, study, storage)
        self._client.update_run(self._parent, status="RUNNING")
        self._tags = {**study_tags(study, "trial"), "mlflow.parentRunId": self._parent}
        found = trial_runs(self._client, self._experiment, study)
        self._ids = {number: run.info.run_id for number, run in found.items()}
        self._known = {number for number, run in found.items() if run.info.status in _ENDED}
        """Trials whose end MLflow knows, and so everything before."""
        self._open: set[int] = set()

    def unknown(self, trials: Iterable[TrialRecord]) -> dict[int, Update]:
        """What MLflow has perhaps not been told of these, as the search before had died."""
        untold = (trial for trial in trials if trial.number not in self._known and trial.began is not None)
        return {trial.number: Update.all_of(trial) for trial in untold}

    def close(self) -> None:
        """The search is over; a run whose trial has not ended waits for the next one."""
        for number in sorted(self._open):
            self._client.set_terminated(self._ids[number], "KILLED")
        self._client.set_terminated(self._parent)

    def write(self, updates: Update) -> None:
        """Tells what has happened to a trial; to tell it twice does no harm."""
        if updates.started is not None:
            if updates.number not in self._ids:
                self._ids[updates.number] = self._create(updates.started)
            elif updates.started.state in LIVE:
                self._client.update_run(self._ids[updates.number], status="RUNNING")
            self._open.add(updates.number)
        run = self._ids[updates.number]
        entities: list[Metric | Param | RunTag] = []
        if updates.started is not None:
            key = keys(updates.started.config)
            entities += [Param(key[name], str(value)) for name, value in updates.started.config.items()]
        for epoch, (metrics, moment) in updates.reports.items():
            key = keys(metrics)
            entities += [Metric(key[name], value, milliseconds(moment.at), epoch) for name, value in metrics.items()]
        if updates.ended is not None:
            entities += self._outcome(updates.ended)
        for first in range(0, len(entities), _LARGEST_BATCH):
            self._client.log_batch(run, **_sorted(entities[first : first + _LARGEST_BATCH]))
        if updates.ended is not None:
            if updates.ended.failure and updates.ended.reason:
                write_text(self._client, self._storage, run, "traceback.txt", updates.ended.reason)
            self._client.set_terminated(run, _STATUS[updates.ended.state], _end_of(updates.ended))
            self._open.discard(updates.number)

    def _create(self, trial: TrialRecord) -> str:
        assert trial.began is not None
        tags = {
            **self._tags,
            TRIAL_TAG: str(trial.number),
            "seed": str(self._study.spec.trial_seed(trial.number)),
            "state": State.RUNNING.value,
            **{f"lineage.{name}": str(value) for name, value in (trial.lineage or {}).items()},
        }
        at = milliseconds(min(moment.at for moment in (trial.began, *trial.reported.values())))
        run = self._client.create_run(self._experiment, at, tags, run_name=f"trial-{trial.number}")
        return str(run.info.run_id)

    def _outcome(self, trial: TrialRecord) -> list[Metric | RunTag]:
        tags = {
            "state": trial.state.value,
            "rung": str(schedulers.rung_reached(self._study.spec, trial.epoch)),
            "epochs": str(trial.epoch),
        }
        metrics = []
        if trial.cause:
            tags["reason"] = trial.cause
        if trial.failure:
            tags["failure"] = trial.failure
        if trial.value is not None and trial.best_epoch is not None:
            tags["best_epoch"] = str(trial.best_epoch)
            at = milliseconds(trial.reported[trial.best_epoch].at)
            (key,) = keys([f"best_{trial.metric}"]).values()
            metrics = [Metric(key, trial.value, at, trial.best_epoch)]
        return [*metrics, *(RunTag(name, value) for name, value in tags.items())]


def _end_of(trial: TrialRecord) -> int:
    assert trial.ended is not None
    return milliseconds(trial.ended)


def _sorted(entities: list[Metric | Param | RunTag]) -> dict[str, Any]:
    """Sorts values into the arguments of `log_batch`."""
    return {
        name: [entity for entity in entities if isinstance(entity, kind)]
        for name, kind in (("metrics", Metric), ("params", Param), ("tags", RunTag))
    }
