"""A study as it stands at one resource, for samplers that know nothing of resources.

To them a trial has one value. Were they told the last value of every trial, one-epoch scores would stand beside
full ones, and were they told of finished trials only, they would know nothing for long. So they see the highest
resource that enough trials have reached (as BOHB does, Falkner et al. 2018): there each has its best value so far.
"""

import copy
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.fitness import Fitness, ranking
from hpo.samplers.fitness import Measured, Table, Yardstick, changed, measure_each, resource

WINDOW = 300
"""How many trials are enough to know good from bad by."""
_SORTED = 1000
"""With several objectives the best are looked for among the last so many."""


class StudyAtResource(optuna.Study):
    """A study whose trials have the values that they had at one resource.

    Trials that got there are complete, whether they have ended, run or wait. Of the others those that have ended are
    pruned at their last report, and the rest are running.

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
        self._seen = _seen(study, least, metrics)
        if rewards is not None:
            self._seen = [_rewarded(trial, study.direction, rewards) for trial in self._seen]
        if most is not None and len(self._seen) > most:
            self._seen = _window(self._seen, study.directions, most)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """What every sampler reads trials through."""
        trials = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    @property
    def best_trial(self) -> FrozenTrial:
        """Of those at the resource.

        Raises:
            ValueError: there is none.
        """
        complete = self._get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete:
            raise ValueError("no trial is complete yet")
        best = min if self.direction is StudyDirection.MINIMIZE else max
        return best(complete, key=lambda trial: trial.value or 0.0)


def _seen(study: optuna.Study, least: int, metrics: tuple[str, ...] | None) -> list[FrozenTrial]:
    table = measure_each(study, Yardstick(tuple(study.directions), metrics))
    measured = [known for known in table.measured if known is not None]
    if not measured:
        return list(table.trials)
    views = _VIEWS.setdefault(study._storage, {})
    return views.setdefault((study._study_id, metrics), _View()).at(resource(measured, least), table, study)


@dataclass
class _View:
    """How the trials of a study were seen last, and at which resource: most are seen so again."""

    common: float = -1.0
    trials: list[FrozenTrial] = field(default_factory=list)
    seen: list[FrozenTrial] = field(default_factory=list)

    def at(self, common: float, table: Table, study: optuna.Study) -> list[FrozenTrial]:
        """The trials as they stand at a resource."""
        if common != self.common:
            self.common, self.trials, self.seen = common, [], []
        signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]
        for number in changed(table.trials, self.trials):
            self.seen[number : number + 1] = [_at(table.trials[number], table.measured[number], common, signs)]
        self.trials = table.trials
        return list(self.seen)


_VIEWS: WeakKeyDictionary[BaseStorage, dict[tuple[int, tuple[str, ...] | None], _View]] = WeakKeyDictionary()
"""Storage -> (study, metrics) -> its view."""


def _at(trial: FrozenTrial, known: Measured | None, common: float, signs: Sequence[float]) -> FrozenTrial:
    fitness = None if known is None else known.at(common)
    if fitness is not None:
        values = [sign * cost for sign, cost in zip(signs, fitness.costs, strict=True)]
        return _changed(trial, state=TrialState.COMPLETE, values=values)
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    changes: dict[str, Any] = {"state": TrialState.PRUNED} if ended else {}
    if len(signs) > 1:  # Optuna's TPE would rank pruned trials by the direction of the one objective
        changes["intermediate_values"] = {}
    return _changed(trial, **changes) if changes else trial


def _window(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], most: int) -> list[FrozenTrial]:
    """The best of those that are complete, the newest of all, and at random half of each kind of the rest."""
    complete = [trial.number for trial in trials if trial.state is TrialState.COMPLETE]
    kept = {trial.number for trial in trials[-(most // 6) :]} | set(_best(trials, complete, directions, most // 6))
    rng = np.random.default_rng(len(trials))
    room = (most - len(kept)) // 2
    states = (TrialState.PRUNED, TrialState.RUNNING)
    for kind in (complete, [trial.number for trial in trials if trial.state in states]):
        kept.update(rng.choice(kind, min(room, len(kind)), replace=False).tolist())
    return [trials[number] for number in sorted(kept)]


def _best(
    trials: Sequence[FrozenTrial], complete: Sequence[int], directions: Sequence[StudyDirection], most: int
) -> list[int]:
    """The numbers of the best trials; what a constraint is broken by counts first."""
    signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in directions]

    def worth(number: int) -> Fitness:
        trial = trials[number]
        broken = sum(max(0.0, excess) for excess in trial.constraints.values())
        return Fitness(broken, tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)))

    if len(signs) > 1:
        return ranking({number: worth(number) for number in complete[-_SORTED:]})[:most]
    return nsmallest(most, complete, key=worth)


def _rewarded(trial: FrozenTrial, direction: StudyDirection, rewards: Mapping[int, float]) -> FrozenTrial:
    """The trial with its reward for a value; a reward belongs to no epoch, so its reports are left out."""
    if trial.state is not TrialState.COMPLETE or trial.number not in rewards:
        return trial
    sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
    return _changed(trial, values=[sign * rewards[trial.number]], intermediate_values={})


def _changed(trial: FrozenTrial, **changes: Any) -> FrozenTrial:
    """The trial with other values; it stays the study's own object, whose mappings must not be written to."""
    other = copy.copy(trial)
    for name, value in changes.items():
        setattr(other, name, value)
    return other
