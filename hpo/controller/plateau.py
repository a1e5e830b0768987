"""A plateau: the last epochs of a search have brought nothing, and the next ones promise nothing."""

import math
import statistics
from collections.abc import Callable

from hpo.spec import Budget
from hpo.study import ranking
from hpo.study.study import Study
from hpo.study.trial import LIVE, Metrics, State, TrialRecord

_FULL = 10
"""The epochs that are looked at, where nobody says, are those of so many trials in full."""
_TIMED = 100
"""So many epochs, the last ones, say how long an epoch takes."""


class Plateau:
    """Says whether a search has come to its plateau.

    It has where three things hold: enough trials have begun, and one is complete; the best value is not better by the
    least improvement than it was so many epochs ago; and where the sampler has a model of learning curves, that expects
    less than the least improvement of as many epochs more.

    What it says follows from the study alone.

    Args:
        study: that is searched.
        budget: has the rule.
        forecast: says what so many epochs more are expected to gain; None where the sampler has no model.
        gpus: that each trial holds.
    """

    def __init__(
        self, study: Study, budget: Budget, forecast: Callable[[int], float | None] | None, gpus: float
    ) -> None:
        self._study, self._budget, self._forecast, self._gpus = study, budget, forecast, gpus
        self._best: list[float] = []
        """The best cost after each epoch that was trained in the study, of reports that keep to the constraints."""
        self._start = math.inf
        """The best cost of trials that were taken over from another study."""
        self._asked, self._answer = -1, False
        reports = []
        for trial in study.trials():
            for epoch, metrics in trial.reports.items():
                if trial.taken_over:
                    self._start = min(self._start, self._cost(metrics))
                else:
                    reports.append((trial.reported[epoch].order, metrics))
        for _, metrics in sorted(reports, key=lambda report: report[0]):
            self.reported(metrics)

    def reported(self, metrics: Metrics) -> None:
        """Takes note of an epoch."""
        before = self._best[-1] if self._best else self._start
        self._best.append(min(before, self._cost(metrics)))

    @property
    def reached(self) -> bool:
        """Whether the search has come to its plateau; once it has, it ends. The same is not asked twice of a model."""
        if not self._answer and self._asked != len(self._best):
            self._asked, self._answer = len(self._best), self._is_reached()
        return self._answer

    def _is_reached(self) -> bool:
        improvement, span = self._budget.plateau, self._span
        if improvement is None or span is None or len(self._best) <= span:
            return False
        if not self._best[-1 - span] - self._best[-1] < improvement or not self._has_enough():
            return False
        promised = None if self._forecast is None else self._forecast(span)
        return promised is None or promised < improvement

    def _has_enough(self) -> bool:
        """Whether enough trials have begun, and one is complete; a plateau of half-trained trials says little."""
        own = [trial for trial in self._study.trials() if not trial.taken_over and trial.is_paid]
        begun = sum(bool(trial.reports) or trial.state not in LIVE for trial in own)
        return begun >= self._budget.plateau_trials and any(trial.state is State.COMPLETE for trial in own)

    @property
    def _span(self) -> int | None:
        """How many epochs back and ahead are looked at; None while nobody knows how many a GPU hour has."""
        hours = self._budget.plateau_gpu_hours
        if hours is None:
            return self._budget.plateau_epochs or _FULL * self._study.spec.training.epochs
        seconds = _epoch_seconds(self._study.trials())
        return None if seconds is None else max(1, round(hours * 3600.0 / (seconds * max(self._gpus, 1e-9))))

    def _cost(self, metrics: Metrics) -> float:
        worth = ranking.measure(self._study.spec, metrics)
        return math.inf if worth.violation else worth.costs[0]


def _epoch_seconds(trials: list[TrialRecord]) -> float | None:
    """The median time between two epochs of a trial, of the last ones; pauses are few beside them. None without any."""
    gaps = [
        (moment.order, moment.at - trial.reported[epoch - 1].at)
        for trial in trials
        if not trial.taken_over
        for epoch, moment in trial.reported.items()
        if epoch - 1 in trial.reported
    ]
    last = [gap for _, gap in sorted(gaps)[-_TIMED:] if gap > 0]
    return statistics.median(last) if last else None
