"""What trials are worth, compared at equal resource only.

A trial that a scheduler stopped or paused at epoch 3 cannot be ranked against another's epoch 27. So two trials are
compared at the last epoch that both have reached, and a population at the last epoch that enough of it has reached.
What counts there is the best value up to that epoch, because a trial's value is the objective at its best epoch.

Constraints follow Deb (2000): feasible beats infeasible, and among infeasible trials the smaller violation wins.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.fitness import REPORT, Fitness

_IGNORED = (TrialState.FAIL, TrialState.WAITING)


@dataclass(frozen=True, eq=False)
class Measured:
    """A trial with finite values, and the best of them so far at each epoch."""

    trial: FrozenTrial
    reached: float
    """The last epoch reported; infinite for a finished trial without reports, which has its final value alone."""
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
        reached = float(max(values, default=math.inf))
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
                read = json.loads(report)
                yield int(key.removeprefix(REPORT)), tuple(read.get(name, math.nan) for name in self.metrics)

    def _running_best(
        self, values: dict[int, tuple[float, ...]]
    ) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
        """With several objectives the first decides which epoch is best: a trial's artifacts come from one epoch."""
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


def measure_all(study: optuna.Study, yardstick: Yardstick) -> list[Measured]:
    """The study's trials that have a fitness, by number.

    What has not changed since the last call is the same object, whoever asked then: to save time, not to remember.
    """
    cache = _MEASURED.setdefault(study._storage, {})
    found = []
    for trial in study.get_trials(deepcopy=False):
        key = (yardstick, trial._trial_id)
        finished, measured = cache.get(key, (None, None))
        if finished is not trial:
            now = yardstick.measure(trial)
            if now is None or measured is None or not now.same(measured):
                measured = now
            cache[key] = (trial if trial.state.is_finished() else None, measured)
        if measured is not None:
            found.append(measured)
    return found


_Cache = dict[tuple[Yardstick, int], tuple[FrozenTrial | None, Measured | None]]
_MEASURED: WeakKeyDictionary[BaseStorage, _Cache] = WeakKeyDictionary()
"""Storage -> trial -> the trial if it was finished then, and what was measured."""


def better(one: Measured, other: Measured) -> bool:
    """Whether one trial is better than another at the last epoch that both have reached."""
    resource = min(one.reached, other.reached)
    ours, theirs = one.at(resource), other.at(resource)
    return ours is not None and (theirs is None or ours.dominates(theirs))


def resource(trials: Iterable[Measured], least: int) -> float:
    """The last epoch that at least `least` of the trials have reached, or all of them where they are fewer.

    Raises:
        ValueError: there are no trials.
    """
    reached = sorted((trial.reached for trial in trials), reverse=True)
    if not reached:
        raise ValueError("no trials, so no resource that they have reached")
    return reached[min(least, len(reached)) - 1]


def compared(trials: Sequence[Measured], least: int) -> list[tuple[Fitness, Measured]]:
    """The trials that have reached the resource of at least `least` of them, with their fitness there; none of none."""
    if not trials:
        return []
    common = resource(trials, least)
    return [(fitness, trial) for trial in trials if (fitness := trial.at(common)) is not None]


def ranked(trials: Sequence[Measured], least: int) -> list[Measured]:
    """These trials, the best first; ties go to the older one. One objective."""
    rows = compared(trials, least)
    return [trial for _, trial in sorted(rows, key=lambda row: (row[0], row[1].number))]


def _violation(trial: FrozenTrial) -> float:
    return sum(max(0.0, excess) for excess in trial.constraints.values())
