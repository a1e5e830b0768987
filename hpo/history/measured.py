"""What a trial is worth, compared at equal resource only.

A trial that a scheduler stopped or paused at epoch 3 cannot be ranked against another's epoch 27. So two trials are
compared at the last epoch that both have reached. What counts there is the best value up to that epoch, because a
trial's value is the objective at its best epoch.

Constraints follow Deb (2000): feasible beats infeasible, and among infeasible trials the smaller violation wins.
"""

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.study.optuna_trial import SETTLED, excesses
from hpo.study.ranking import REPORT, Fitness

_IGNORED = (TrialState.FAIL, TrialState.WAITING)


@dataclass(frozen=True, eq=False)
class Measured:
    """A trial with finite values, and the best of them so far at each epoch."""

    trial: FrozenTrial
    reached: float
    """The last epoch reported, or up to which the value stands where its patience has ended a trial; infinite for a
    finished trial without reports, which has its final value alone."""
    epochs: tuple[int, ...]
    best: tuple[tuple[float, ...], ...]
    """`best[i]`: costs at the best epoch among `epochs[: i + 1]`."""
    violation: float

    def same(self, other: "Measured") -> bool:
        """Whether nothing has been recorded between the two."""
        return (
            self.trial.params == other.trial.params
            and (self.epochs, self.best) == (other.epochs, other.best)
            and (self.reached, self.violation) == (other.reached, other.violation)
        )

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number

    @property
    def trained(self) -> float:
        """The last epoch that was trained: the value of a trial that its patience has ended stands for later ones."""
        return float(self.epochs[-1]) if SETTLED in self.trial.user_attrs else self.reached

    def at(self, resource: float) -> Fitness | None:
        """The fitness at a resource; None if the trial did not get there, or had no finite value by then."""
        index = bisect_right(self.epochs, resource) - 1
        if self.reached < resource or index < 0:
            return None
        return Fitness(self.violation, self.best[index])


@dataclass(frozen=True)
class Yardstick:
    """How the trials of a study are measured.

    Args:
        directions: of the study's objectives.
        metrics: names of the objectives in the trials' reports. Optuna's own record of reports has one objective only:
            with several, and without names, an unfinished trial has no fitness.
    """

    directions: tuple[StudyDirection, ...]
    metrics: tuple[str, ...] | None = None

    def measure(self, trial: FrozenTrial) -> Measured | None:
        """The trial's fitness by epoch; None if it failed or has no finite value."""
        if trial.state in _IGNORED:
            return None
        values = dict(sorted(self._reports(trial)))
        reached = float(trial.user_attrs.get(SETTLED) or max(values, default=math.inf))
        if trial.state is TrialState.COMPLETE and trial.values is not None:
            values[max(values, default=0)] = tuple(trial.values)
        epochs, best = self._running_best(values)
        if not epochs:
            return None
        return Measured(trial, reached, epochs, best, _violation(trial))

    def _reports(self, trial: FrozenTrial) -> Iterator[tuple[int, tuple[float, ...]]]:
        if self.metrics is None:
            if len(self.directions) == 1:
                yield from ((epoch, (value,)) for epoch, value in trial.intermediate_values.items())
            return
        for key, report in trial.user_attrs.items():
            if key.startswith(REPORT):
                read = json.loads(report)["metrics"]
                yield int(key.removeprefix(REPORT)), tuple(read.get(name, math.nan) for name in self.metrics)

    def _running_best(
        self, values: dict[int, tuple[float, ...]]
    ) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
        """The epochs with finite costs, and the best costs up to each.

        The first of several objectives decides which epoch is best: a trial's artifacts come from one epoch.
        """
        epochs: list[int] = []
        best: list[tuple[float, ...]] = []
        for epoch, value in values.items():
            cost = self._costs(value)
            if all(map(math.isfinite, cost)):
                epochs.append(epoch)
                best.append(min(best[-1], cost) if best else cost)
        return tuple(epochs), tuple(best)

    def _costs(self, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(
            -value if direction is StudyDirection.MAXIMIZE else value
            for value, direction in zip(values, self.directions, strict=True)
        )


def until(trials: Sequence[Measured], number: int) -> Sequence[Measured]:
    """Those of the trials, which are in order, whose number is below this one."""
    place = bisect_left(trials, number, key=attrgetter("number"))
    return trials if place == len(trials) else trials[:place]


def without(trials: Sequence[Measured], number: int) -> Sequence[Measured]:
    """The trials, which are in order, without the one of this number."""
    place = len(until(trials, number))
    return [*trials[:place], *trials[place + 1 :]] if place < len(trials) and trials[place].number == number else trials


def better(one: Measured, other: Measured) -> bool:
    """Whether one trial is better than another at the last epoch that both have reached."""
    resource = min(one.reached, other.reached)
    ours, theirs = one.at(resource), other.at(resource)
    return ours is not None and (theirs is None or ours.dominates(theirs))


def _violation(trial: FrozenTrial) -> float:
    return sum(max(0.0, excess) for excess in excesses(trial).values())
