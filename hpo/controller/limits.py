"""The limits of a search: trials, epochs, GPU hours, time and a target; and the trial that the last epochs are for."""

import math
from collections.abc import Callable

from hpo.controller.gpu import GpuBudget
from hpo.controller.live_trial import IN_SLOT, LiveTrials, Phase
from hpo.controller.plateau import Plateau
from hpo.study import ranking
from hpo.study.budget import ON_PLATEAU, SPENT_EPOCHS, SPENT_GPU, SPENT_TIME, Left, reached
from hpo.study.study import Study
from hpo.study.trial import Metrics, State, TrialRecord

_REACHED, _TARGET_REACHED = "has reached the target", "stopped, since another trial has reached the target"
"""Why a trial is complete before the full resource, and why the others are stopped then."""
_IN_AN_EPOCH = (Phase.TRAINING, Phase.LOST)


class Limits:
    """Counts what a search uses, and says when it has used up its budget.

    Args:
        study: the study that is searched.
        left: what the budget leaves at the beginning.
        live: the trials that have not ended.
        gpus: GPUs that each trial holds.
        recalls: whether the scheduler resumes paused trials.
        until: says why the search is to end after the running epochs; None where the engine itself ends trials within
            their epochs.
        forecast: says what so many epochs more are expected to gain; None where the sampler has no model.
    """

    def __init__(
        self,
        study: Study,
        left: Left,
        live: LiveTrials,
        gpus: float,
        recalls: bool,
        until: Callable[[], str | None] | None = None,
        forecast: Callable[[int], float | None] | None = None,
    ) -> None:
        self._study, self._live, self._recalls, self._until = study, live, recalls, until
        self.left = left
        self.late = False
        """Whether the time limit has ended a trial within an epoch."""
        self._gpu = None if left.gpu_hours is None else GpuBudget(study, left.gpu_hours, gpus)
        self._started, self._reports = 0, 0
        self._completed = any(_in_full(trial) and not trial.taken_over for trial in study.trials())
        """Whether a trial of the study was trained in full."""
        self._reached = reached(study, left.budget.target) is not None
        """Whether a trial has reached the target."""
        self._plateau = Plateau(study, left.budget, forecast, gpus) if left.budget.plateau else None

    # ---- counting ----------------------------------------------------------------------------------------------------

    def started(self) -> None:
        """Counts a trial that the budget of trials pays for."""
        self._started += 1

    def reported(self, metrics: Metrics) -> None:
        """Counts an epoch, and notes whether its report has reached the target."""
        self._reports += 1
        self._reached |= self._has_target(metrics)
        if self._plateau is not None:
            self._plateau.reported(metrics)

    def ended(self, trial: TrialRecord) -> None:
        """Notes whether a trial was trained in full."""
        self._completed |= _in_full(trial)

    def begin(self, number: int) -> None:
        """Starts counting the GPU seconds of a trial that takes a slot."""
        if self._gpu is not None:
            self._gpu.begin(number)

    def rest(self, number: int) -> None:
        """Stops counting the GPU seconds of a trial that gives its slot back."""
        if self._gpu is not None:
            self._gpu.rest(number)

    def write(self) -> None:
        """Writes the GPU seconds that were used into the study."""
        if self._gpu is not None:
            self._gpu.note()

    # ---- asking ------------------------------------------------------------------------------------------------------

    @property
    def all_started(self) -> bool:
        """Whether no new trial may start; paused ones may still go on."""
        return self._study.writer.exhausted or not self.has_a_trial

    @property
    def has_a_trial(self) -> bool:
        """Whether the budget has a trial left that has not started."""
        return self.left.trials is None or self._started < self.left.trials

    def completes(self, metrics: Metrics) -> str | None:
        """Why a trial with this report is complete, whatever its epoch: it has the target. None where it has not."""
        return _REACHED if self._has_target(metrics) else None

    def _has_target(self, metrics: Metrics) -> bool:
        target = self.left.budget.target
        return target is not None and ranking.reaches(self._study.spec, metrics, target)

    @property
    def spent(self) -> str | None:
        """The limit of all training that is met, as the reason why trials are stopped."""
        if self._reached:
            return _TARGET_REACHED
        if self.on_plateau:
            return ON_PLATEAU
        if self.left.epochs is not None and self._reports >= self.left.epochs:
            return SPENT_EPOCHS
        return SPENT_GPU if self._gpu is not None and self._gpu.spent else None

    @property
    def on_plateau(self) -> bool:
        """Whether nothing is to be expected of more training, by the rule of the budget."""
        return self._plateau is not None and self._plateau.reached

    @property
    def over(self) -> str | None:
        """Why the search is to end after the running epochs, by the time or by what `until` says."""
        return SPENT_TIME if self.late else None if self._until is None else self._until()

    @property
    def met(self) -> str | None:
        """Why the search is to end: a limit of training or time, or what `until` says; else None."""
        return self.spent or self.over

    @property
    def is_met(self) -> bool:
        """Whether no trial may begin an epoch any more, since the search is to end after the running ones."""
        return self._until is not None and self.met is not None  # else the engine cuts trials off

    @property
    def has_a_free_epoch(self) -> bool:
        """Whether the budget has an epoch left that no running or restarting trial needs."""
        return self._until is None or self.reserved_for is not None or self._free_epochs > 0

    def ends(self, number: int) -> str | None:
        """Why a trial that has reported is not to train another epoch; None where it may.

        Where the engine ends trials within their epochs, the only reason is that the others are kept for the finalist.
        """
        if self.reserved_for not in (None, number):
            return SPENT_EPOCHS
        if self._until is None:
            return None
        return self.spent or (SPENT_EPOCHS if self._free_epochs < 1 else self.over)

    @property
    def finalist(self) -> int | None:
        """The trial that the last epochs of the budget are kept for, so that at least one is trained in full.

        It is the best of those that can still be. None while there are enough epochs for any trial, and once a trial is
        complete.
        """
        if self._completed or self._free_epochs > self._full:
            return None
        phases = Phase if self._recalls else (*IN_SLOT, Phase.LOST)
        able = [self._study.trial(number) for number in self._live.numbers(*phases) if self._beside(number) >= 0]
        return min(able, key=_standing).number if able else None

    @property
    def reserved_for(self) -> int | None:
        """The finalist, once all epochs that are left are for it alone."""
        finalist = self.finalist
        return finalist if finalist is not None and self._beside(finalist) < 1 else None

    @property
    def _full(self) -> int:
        return self._study.spec.training.epochs

    @property
    def _free_epochs(self) -> float:
        """Epochs of the budget that no trial is training, or trains as soon as it restarts."""
        if self.left.epochs is None:
            return math.inf
        return self.left.epochs - self._reports - self._live.count(*_IN_AN_EPOCH)

    def _beside(self, number: int) -> float:
        """Epochs that are left for other trials when this one is trained in full; below 0 it cannot be."""
        trial = self._study.trial(number)
        needed = self._full - max(trial.epoch, trial.inherited)
        return self._free_epochs - needed + (self._live[number].phase in _IN_AN_EPOCH)


def _in_full(trial: TrialRecord) -> bool:
    """Whether a trial is complete, and not by its patience: that one may be no good."""
    return trial.state is State.COMPLETE and trial.settled is None


def _standing(trial: TrialRecord) -> tuple[object, ...]:
    """A trial's place among others as a key for sorting, the best first; one without a value comes last."""
    return (0, trial.fitness, trial.number) if trial.fitness is not None else (1, -trial.epoch, trial.number)
