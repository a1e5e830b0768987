"""What trials are worth, compared at equal resource only.

A trial that a scheduler stopped or paused at epoch 3 cannot be ranked against another's epoch 27. So two trials are
compared at the last epoch that both have reached, and a population at the last epoch that enough of it has reached.
What counts there is the best value up to that epoch, because a trial's value is the objective at its best epoch.

Constraints follow Deb (2000): feasible beats infeasible, and among infeasible trials the smaller violation wins.
"""

import json
import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nsmallest
from itertools import accumulate, compress, count
from operator import attrgetter, is_not
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.fitness import REPORT, Fitness
from hpo.ledger import Ledger

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
                read = json.loads(report)["metrics"]
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


class Population(list[Measured]):
    """Measured trials by number; `table` is where they are all from."""

    def __init__(self, trials: Iterable[Measured], table: "Table | None" = None) -> None:
        super().__init__(trials)
        self.table = table

    @cached_property
    def reached(self) -> NDArray[np.float64]:
        """(n,) the last epoch of each."""
        return np.array([trial.reached for trial in self] if self.table is None else self.table.reached, np.float64)


def measure_all(study: optuna.Study, yardstick: Yardstick) -> Population:
    """The study's trials that have a fitness, by number.

    What has not changed since the last call is the same object, whoever asked then: to save time, not to remember.
    """
    table = measure_each(study, yardstick)
    return Population(table.known, table)


def measure_each(study: optuna.Study, yardstick: Yardstick) -> "Table":
    """All trials of the study and what they are measured as; the next call changes it."""
    tables = _MEASURED.setdefault(study._storage, {})
    table = tables.setdefault((study._study_id, yardstick), Table())
    if isinstance(study._storage, Ledger):
        trials, log = study._storage.log(study._study_id)
        table.update(trials, list(dict.fromkeys(log[table.told :])), yardstick)
        table.told = len(log)
    else:
        trials = study.get_trials(deepcopy=False)
        table.update(trials, changed(trials, table.trials), yardstick)
    return table


def changed(trials: Sequence[FrozenTrial], before: Sequence[FrozenTrial]) -> list[int]:
    """Numbers of the trials that are not what they were, new ones included: storages never change a trial in place."""
    return [*compress(count(), map(is_not, trials, before)), *range(len(before), len(trials))]


@dataclass(eq=False)
class Table:
    """The trials of a study by number, and what is asked of all of them before each decision."""

    trials: Sequence[FrozenTrial] = ()
    told: int = 0
    """How many of a ledger's changes are entered."""
    measured: list[Measured | None] = field(default_factory=list)
    """None where a trial has no fitness."""
    known: list[Measured] = field(default_factory=list)
    """Those that have one."""
    reached: list[float] = field(default_factory=list)
    """How far each of `known` has come."""
    levels: Counter[float] = field(default_factory=Counter)
    """How many of `known` have come so far."""
    touched: list[int] = field(default_factory=list)
    """The number of a trial for each time that it has changed at all; who looks at trials goes on where it was."""
    changes: list[int] = field(default_factory=list)
    """The same of its fitness."""
    common: float = -1.0
    """A resource that the trials were ranked at."""
    order: list[tuple[Fitness, int]] = field(default_factory=list)
    """What the trials there are worth, with their numbers, the best first."""
    running: set[int] = field(default_factory=set)
    """Trials that run or are paused."""
    begun: set[int] = field(default_factory=set)
    """Those of them that have reported nothing yet."""
    fruitless: set[int] = field(default_factory=set)
    """Trials that have ended without a fitness."""
    reported: list[int] = field(default_factory=list)
    """How many reports each trial has."""
    reports: int = 0
    """Of all trials."""

    def update(self, trials: Sequence[FrozenTrial], news: list[int], yardstick: Yardstick) -> None:
        """Measures what has changed, which are the trials of these numbers."""
        self.trials = trials
        self.touched += news
        self.measured += [None] * (len(trials) - len(self.measured))
        self.reported += [0] * (len(trials) - len(self.reported))
        for number in news:
            self._enter(number, trials[number], yardstick.measure(trials[number]))

    def _enter(self, number: int, trial: FrozenTrial, now: Measured | None) -> None:
        before = self.measured[number]
        if not (now is before or (now is not None and before is not None and now.same(before))):
            self.measured[number] = now
            self.changes.append(number)
            place = bisect_left(self.known, number, key=attrgetter("number"))
            old = slice(place, place + (before is not None))
            self.known[old] = [] if now is None else [now]
            self.reached[old] = [] if now is None else [now.reached]
            for known, sign, place_in in ((before, -1, _take), (now, 1, insort)):
                if known is not None:
                    self.levels[known.reached] += sign
                    if (worth := known.at(self.common)) is not None:
                        place_in(self.order, (worth, number))
        reports = len(trial.intermediate_values)
        self.reports += reports - self.reported[number]
        self.reported[number] = reports
        running = trial.state is TrialState.RUNNING
        for numbers, belongs in (
            (self.running, running),
            (self.begun, running and not trial.intermediate_values),
            (self.fruitless, trial.state.is_finished() and now is None),
        ):
            (numbers.add if belongs else numbers.discard)(number)

    def resource(self, least: int) -> float:
        """As `resource` of `known`; infinite where there are none."""
        if not self.known:
            return math.inf
        levels = sorted(self.levels, reverse=True)
        so_far = accumulate(self.levels[level] for level in levels)
        wanted = min(least, len(self.known))
        return next(level for level, many in zip(levels, so_far, strict=True) if many >= wanted)

    def ranked(self, common: float) -> list[tuple[Fitness, int]]:
        """The trials at a resource, the best first; sorted anew only at another resource than before."""
        if common != self.common:
            rows = ((known.at(common), known.number) for known in self.known)
            self.common, self.order = common, sorted((worth, number) for worth, number in rows if worth is not None)
        return self.order


def _take(rows: list[tuple[Fitness, int]], row: tuple[Fitness, int]) -> None:
    del rows[bisect_left(rows, row)]


_MEASURED: WeakKeyDictionary[BaseStorage, dict[tuple[int, Yardstick], Table]] = WeakKeyDictionary()
"""Storage -> (study, yardstick) -> its table."""


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


def resource(trials: Sequence[Measured], least: int) -> float:
    """The last epoch that at least `least` of the trials have reached, or all of them where they are fewer.

    Raises:
        ValueError: there are no trials.
    """
    if not trials:
        raise ValueError("no trials, so no resource that they have reached")
    if isinstance(trials, Population) and trials.table is not None:
        return trials.table.resource(least)
    place = len(trials) - min(least, len(trials))
    return float(np.partition(_population(trials).reached, place)[place])


def _population(trials: Sequence[Measured]) -> Population:
    return trials if isinstance(trials, Population) else Population(trials)


def compared(trials: Sequence[Measured], least: int) -> list[tuple[Fitness, Measured]]:
    """The trials that have reached the resource of at least `least` of them, with their fitness there; none of none."""
    if not trials:
        return []
    population = _population(trials)
    common = resource(population, least)
    there = (population[place] for place in np.flatnonzero(population.reached >= common))
    return [(fitness, trial) for trial in there if (fitness := trial.at(common)) is not None]


def ranked(trials: Sequence[Measured], least: int, most: int | None = None) -> list[Measured]:
    """These trials, or the best `most` of them, the best first; ties go to the older one. One objective."""
    if most is not None and isinstance(trials, Population) and trials.table is not None and trials:
        table = trials.table
        best = (table.measured[number] for _, number in table.ranked(resource(trials, least))[:most])
        return [trial for trial in best if trial is not None]
    rows = compared(trials, least)
    return [trial for _, trial in nsmallest(len(rows) if most is None else most, rows, key=_standing)]


def _standing(row: tuple[Fitness, Measured]) -> tuple[Fitness, int]:
    return row[0], row[1].number


def _violation(trial: FrozenTrial) -> float:
    return sum(max(0.0, excess) for excess in trial.constraints.values())
