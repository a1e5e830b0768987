"""A search that goes on: its scheduler is told what the study has of it, in the order in which it was recorded."""

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from hpo.engine.words import INHERITED, METRICS
from hpo.schedulers import RESOURCE
from hpo.schedulers.pausing import Pausing
from hpo.study import Study
from hpo.trial import LIVE, State, TrialRecord

Result = dict[str, Any]
"""A report as Ray's schedulers see it."""


class Past:
    """What has been, as a controller would have it.

    Args:
        study: whose trials are told; those that have not ended are to go on.
        scheduler: is told.
    """

    search_alg = None

    def __init__(self, study: Study, scheduler: TrialScheduler) -> None:
        self.trials: dict[int, Trial] = {}
        """The trials that have not ended, as the scheduler knows them."""
        self.undecided: int | None = None
        """The trial whose report is the last that was recorded: nobody knows any more what was decided."""
        self._scheduler: Any = scheduler  # this object is all the controller that it has
        self._metrics = [objective.metric for objective in study.spec.objectives]
        records = {trial.number: trial for trial in study.trials()}
        reports = [(moment.order, n, epoch) for n, trial in records.items() for epoch, moment in trial.reported.items()]
        last = study.last.order
        for record in records.values():
            if record.state in LIVE:
                self._add(record)
        for order, number, epoch in sorted(reports):
            record = records[number]
            if order == last and record.state is State.RUNNING:
                self.undecided = number
            else:
                self._tell(record, epoch)
        if isinstance(scheduler, Pausing):
            for record in records.values():
                if record.state is State.RUNNING:
                    scheduler.promote(record.number)  # it is beyond the rungs that it has been told of

    # ---- what a scheduler may ask of a controller ------------------------------------------------------------------

    def get_trials(self) -> list[Trial]:
        """The trials that have not ended."""
        return list(self.trials.values())

    def get_live_trials(self) -> set[Trial]:
        """The same, as a set."""
        return set(self.trials.values())

    def pause_trial(self, trial: Trial, should_checkpoint: bool = True) -> None:
        """What was done was done."""

    def stop_trial(self, trial: Trial) -> None:
        """What was done was done."""

    # ---- telling ---------------------------------------------------------------------------------------------------

    def _add(self, record: TrialRecord) -> Trial:
        config = {"number": record.number, "config": record.config, INHERITED: record.inherited}
        name = f"past-{record.number:05d}"
        trial = Trial("past", config=config, trial_id=name, stub=True, _setup_default_resource=False)
        trial.set_status(Trial.PAUSED if record.state is State.PAUSED else Trial.RUNNING)
        self.trials[record.number] = trial
        if not isinstance(self._scheduler, Pausing):
            self._scheduler.on_trial_add(self, trial)
        return trial

    def _tell(self, record: TrialRecord, epoch: int) -> None:
        """A report, and the end of the trial if it was its last."""
        number, metrics, last = record.number, record.reports[epoch], epoch == record.epoch
        finite = all(math.isfinite(metrics.get(name, math.nan)) for name in self._metrics)
        trial = self.trials.get(number) or self._add(record)
        result = result_of(trial, epoch, metrics, record.reported[epoch].at)
        trial.run_metadata.last_result = result
        if finite and isinstance(self._scheduler, Pausing):
            self._scheduler.recall(trial, epoch, dict(metrics), waits=last and record.state is State.PAUSED)
        elif finite:
            self._scheduler.on_trial_result(self, trial, result)
        if not last or record.state in LIVE:
            return
        del self.trials[number]
        if finite and record.state is not State.FAILED:
            self._scheduler.on_trial_complete(self, trial, result)
        else:
            self._scheduler.on_trial_remove(self, trial)


def result_of(trial: Trial, epoch: int, metrics: Mapping[str, float], at: float) -> Result:
    """A report with its metrics under their own names and as workers tell them."""
    told = {f"{METRICS}/{name}": value for name, value in metrics.items()}
    times = {"training_iteration": epoch, "time_total_s": at}
    return {"trial_id": trial.trial_id, RESOURCE: epoch, **times, **told, **metrics}
