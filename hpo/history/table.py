"""A table of a study's trials, which is told what has changed: a long study is not gone through for each decision."""

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter

from optuna.trial import FrozenTrial, TrialState

from hpo.history.measured import Measured, Yardstick
from hpo.study.number_set import NumberSet
from hpo.study.ranking import Fitness


@dataclass(eq=False)
class Table:
    """The trials of a study by number, and what is asked of all of them before each decision."""

    trials: Sequence[FrozenTrial] = ()
    measured: list[Measured | None] = field(default_factory=list)
    """None where a trial has no fitness."""
    known: list[Measured] = field(default_factory=list)
    """Those that have one."""
    reached: list[float] = field(default_factory=list)
    """How far each of `known` has come."""
    levels: Counter[float] = field(default_factory=Counter)
    """How many of `known` have come so far."""
    touched: list[int] = field(default_factory=list)
    """A log of changed trials, one number a change; each reader keeps its own position in it."""
    changes: list[int] = field(default_factory=list)
    """A log of trials whose fitness has changed; each reader keeps its own position in it."""
    common: float = -1.0
    """A resource that the trials were ranked at."""
    order: list[tuple[Fitness, int]] = field(default_factory=list)
    """What the trials there are worth, with their numbers, the best first."""
    running: NumberSet = field(default_factory=NumberSet)
    """Trials that run or are paused."""
    begun: set[int] = field(default_factory=set)
    """Those of them that have reported nothing yet."""
    fruitless: set[int] = field(default_factory=set)
    """Trials that have ended without a fitness."""
    reported: list[int] = field(default_factory=list)
    """How many reports each trial has."""
    reports: int = 0
    """Total number of reports."""

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
        sets: tuple[tuple[NumberSet | set[int], bool], ...] = (
            (self.running, running),
            (self.begun, running and not trial.intermediate_values),
            (self.fruitless, trial.state.is_finished() and now is None),
        )
        for numbers, belongs in sets:
            (numbers.add if belongs else numbers.discard)(number)

    def resource(self, least: int) -> float:
        """The last epoch that at least `least` of `known` have reached; infinite where there are none."""
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
