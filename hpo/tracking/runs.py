"""A study's runs in MLflow, written with as few calls as can be: each is a transaction of its own."""

from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from hpo import schedulers
from hpo.study import INTERRUPTED, State, Study, TrialRecord
from hpo.tracking.news import News
from hpo.tracking.store import TRIAL_TAG, connect, study_run, study_tags

_LARGEST_BATCH = 1000
"""Metrics, parameters and tags that MLflow takes in one call."""
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
        self._study = study
        self._client, self._experiment = connect(storage)
        self._parent = study_run(self._client, self._experiment, study)
        self._client.update_run(self._parent, status="RUNNING")
        self._tags = {**study_tags(study, "trial"), "mlflow.parentRunId": self._parent}
        self._ids: dict[int, str] = {}

    def close(self) -> None:
        """The search is over."""
        self._client.set_terminated(self._parent)

    def write(self, news: News) -> None:
        """Tells what has happened to a trial; to tell it twice does no harm."""
        if news.started is not None and news.number not in self._ids:
            self._ids[news.number] = self._create(*news.started)
        run = self._ids[news.number]
        entities: list[Metric | Param | RunTag] = []
        if news.started is not None:
            entities += [Param(name, str(value)) for name, value in news.started[0].config.items()]
        for epoch, metrics, at in news.reports:
            entities += [Metric(name, value, at, epoch) for name, value in metrics.items()]
        if news.ended is not None:
            entities += self._outcome(*news.ended)
        for first in range(0, len(entities), _LARGEST_BATCH):
            self._client.log_batch(run, **_sorted(entities[first : first + _LARGEST_BATCH]))
        if news.ended is not None:
            trial, at = news.ended
            status = "KILLED" if trial.reason == INTERRUPTED.reason else _STATUS[trial.state]
            self._client.set_terminated(run, status, at)

    def _create(self, trial: TrialRecord, at: int) -> str:
        tags = {
            **self._tags,
            TRIAL_TAG: str(trial.number),
            "seed": str(self._study.spec.trial_seed(trial.number)),
            "state": State.RUNNING.value,
            **{f"lineage.{name}": str(value) for name, value in (trial.lineage or {}).items()},
        }
        run = self._client.create_run(self._experiment, at, tags, run_name=f"trial-{trial.number}")
        return str(run.info.run_id)

    def _outcome(self, trial: TrialRecord, at: int) -> list[Metric | RunTag]:
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
            metrics = [Metric(f"best_{trial.metric}", trial.value, at, trial.best_epoch)]
        return [*metrics, *(RunTag(name, value) for name, value in tags.items())]


def _sorted(entities: list[Metric | Param | RunTag]) -> dict[str, Any]:
    """As the arguments of `log_batch`."""
    return {
        name: [entity for entity in entities if isinstance(entity, kind)]
        for name, kind in (("metrics", Metric), ("params", Param), ("tags", RunTag))
    }
