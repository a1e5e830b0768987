"""A study as it stands at one resource, for samplers that know nothing of resources.

To them a trial has one value. Were they told the last value of every trial, one-epoch scores would stand beside
full ones, and were they told of finished trials only, they would know nothing for long. So they see the highest
resource that enough trials have reached (as BOHB does, Falkner et al. 2018): there each has its best value so far.
"""

import copy
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.history import history_of
from hpo.history.measured import Yardstick
from hpo.history.table import Table
from hpo.study.ranking import Fitness, best_first

WINDOW = 400
"""How many trials are enough to know good from bad by; TPE then takes as many for good as of all, 25."""
_GOOD, _NEWEST = 25, 8
"""The best and the newest are always seen. No more of them: the others are to show where all trials were."""
_SORTED = 1000
"""The newest trials among which the best are looked for, with several objectives."""


class _Seen(FrozenTrial):
    """A trial as it is shown, until it changes: what samplers ask of each before every proposal is found once."""

    @cached_property
    def constraints(self) -> dict[str, float]:
        """The constraints of the trial, found once."""
        return super().constraints


class StudyAtResource(optuna.Study):
    """A study whose trials have the values that they had at one resource.

    Trials that got there are complete, whether they have ended, run or wait. Of the others those that have ended are
    pruned at their last report, and the rest are running. It is made for one proposal: the trials are looked at when
    they are asked for first.

    Args:
        study: the whole one; what a sampler writes goes there.
        least: how many trials must have reached the resource; below, the lowest counts.
        metrics: names of the objectives in the trials' reports, where there are several.
        rewards: number -> reward, more is better, in place of the objective of the trials that got there.
        most: how many trials are seen; of more those that are best, those that are newest, and others at random.
    """

    def __init__(
        self,
        study: optuna.Study,
        least: int,
        metrics: tuple[str, ...] | None = None,
        rewards: Mapping[int, float] | None = None,
        most: int | None = None,
    ) -> None:
        self.__dict__.update(study.__dict__)
        self.history, self._rewards = history_of(study, Yardstick(tuple(study.directions), metrics)), rewards
        self._view = self.history.part(_View, _View)
        self._view.update(self.history.table.resource(least), self.history.table, study.directions)
        self._window = None if most is None or len(self._view.seen) <= most else self._view.window(most)

    @cached_property
    def _seen(self) -> list[FrozenTrial]:
        trials = list(self._view.seen) if self._window is None else self._view.through(self._window)
        if self._rewards is None:
            return trials
        return [_rewarded(trial, self.direction, self._rewards) for trial in trials]

    def parted(
        self, good: Callable[[int], int], states: Container[TrialState], without: int
    ) -> tuple[list[int], list[int]] | None:
        """The numbers of the best trials and of all others that are seen, in order: nobody has to look at them for it.

        Args:
            good: how many trials have ended -> how many are good.
            states: of the trials that count.
            without: the number of a trial that does not.

        Returns:
            None where the trials themselves must be looked at: all are seen, or too few of the best are feasible.
        """
        if self._window is None or not self._window.plain or self._rewards is not None:
            return None
        newest = {number: self._view.seen[number].state for number in self._window.newest}
        shown = [n for n in self._window.numbers if n != without and newest.get(n, TrialState.PRUNED) in states]
        count = good(sum(newest.get(number) is not TrialState.RUNNING for number in shown))
        if count > len(self._window.best):
            return None
        best = set(self._window.best[:count])
        return sorted(best), [number for number in shown if number not in best]

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """What every sampler reads trials through."""
        trials = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    @property
    def best_trial(self) -> FrozenTrial:
        """The best of the trials that got to the resource.

        Raises:
            ValueError: there is none.
        """
        complete = self._get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete:
            raise ValueError("no trial is complete yet")
        best = min if self.direction is StudyDirection.MINIMIZE else max
        return best(complete, key=lambda trial: trial.value or 0.0)


@dataclass
class _View:
    """How the trials of a study were seen last, and at which resource: most are seen so again."""

    common: float = -1.0
    table: Table = field(default_factory=Table)
    told: int = 0
    """How many of the table's changes are seen."""
    seen: list[FrozenTrial] = field(default_factory=list)
    complete: dict[int, Fitness] = field(default_factory=dict)
    """What the trials are worth that have got to the resource."""
    others: set[int] = field(default_factory=set)
    """Trials that are seen as pruned or running."""
    ended: dict[tuple[int, bool], FrozenTrial] = field(default_factory=dict)
    """Those as if they had ended, with their reports or without."""

    def update(self, common: float, table: Table, directions: Sequence[StudyDirection]) -> None:
        """Looks again at what has changed; at another resource at all."""
        if common != self.common:
            self.common, self.told, self.seen, self.complete, self.others, self.ended = common, 0, [], {}, set(), {}
        signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in directions]
        self.seen += table.trials[len(self.seen) :]
        for number in dict.fromkeys(table.touched[self.told :]):
            known = table.measured[number]
            self._enter(number, table.trials[number], None if known is None else known.at(common), signs)
        self.told, self.table = len(table.touched), table

    def _enter(self, number: int, trial: FrozenTrial, worth: Fitness | None, signs: Sequence[float]) -> None:
        self.complete.pop(number, None)
        self.others.discard(number)
        for plain in (False, True):
            self.ended.pop((number, plain), None)
        self.seen[number] = _at(trial, worth, signs)
        if worth is not None:
            self.complete[number] = worth
        elif self.seen[number].state in (TrialState.PRUNED, TrialState.RUNNING):
            self.others.add(number)

    def window(self, most: int) -> "_Window":
        """The best of those that are complete, the newest of all, and others at random."""
        count = len(self.seen)
        newest = range(max(0, count - _NEWEST), count)
        best = self._best(min(_GOOD, most // 2))
        kept = {*newest, *best}
        drawn = map(int, np.random.default_rng(count).permutation(count))
        others = (it for it in drawn if it not in kept and (it in self.complete or it in self.others))
        kept.update(islice(others, most - len(kept)))
        plain = len(best) >= _GOOD and not self.complete[best[-1]].violation
        return _Window(sorted(kept), best, newest, plain)

    def through(self, window: "_Window") -> list[FrozenTrial]:
        """The trials of a window.

        Those of them that wait count as pruned: so they are bad trials, as before, and part of how many there are.
        """
        return [
            self.seen[number] if number in window.newest else self._ended(number, window.plain)
            for number in window.numbers
        ]

    def _ended(self, number: int, plain: bool) -> FrozenTrial:
        if number not in self.others:
            return self.seen[number]
        if (number, plain) not in self.ended:
            changes: dict[str, Any] = {"intermediate_values": {}} if plain else {}
            self.ended[number, plain] = _changed(self.seen[number], state=TrialState.PRUNED, **changes)
        return self.ended[number, plain]

    def _best(self, most: int) -> list[int]:
        if any(len(worth.costs) > 1 for worth in islice(self.complete.values(), 1)):
            return best_first({number: self.complete[number] for number in sorted(self.complete)[-_SORTED:]})[:most]
        return [number for _, number in self.table.ranked(self.common)[:most]]


@dataclass(frozen=True)
class _Window:
    """What is seen of a long study: numbers of trials."""

    numbers: list[int]
    """All of them, in order."""
    best: list[int]
    """The best of the complete trials, the best first."""
    newest: range
    plain: bool
    """Whether so many of the best are feasible that nobody asks which of the others are better."""


def _at(trial: FrozenTrial, worth: Fitness | None, signs: Sequence[float]) -> FrozenTrial:
    if worth is not None:
        values = [sign * cost for sign, cost in zip(signs, worth.costs, strict=True)]
        return _changed(trial, state=TrialState.COMPLETE, values=values)
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    changes: dict[str, Any] = {"state": TrialState.PRUNED} if ended else {}
    if len(signs) > 1:  # Optuna's TPE would rank pruned trials by the direction of the one objective
        changes["intermediate_values"] = {}
    return _changed(trial, **changes)


def _rewarded(trial: FrozenTrial, direction: StudyDirection, rewards: Mapping[int, float]) -> FrozenTrial:
    """The trial with its reward for a value; a reward belongs to no epoch, so its reports are left out."""
    if trial.state is not TrialState.COMPLETE or not rewards:
        return trial
    sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
    reward = rewards.get(trial.number, min(rewards.values()))  # what was evicted was among the weakest
    return _changed(trial, values=[sign * reward], intermediate_values={})


def _changed(trial: FrozenTrial, **changes: Any) -> FrozenTrial:
    """The trial with other values; it stays the study's own object, whose mappings must not be written to."""
    other = copy.copy(trial)
    other.__class__ = _Seen
    for name, value in changes.items():
        setattr(other, name, value)
    return other
