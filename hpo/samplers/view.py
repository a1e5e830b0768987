"""A study as it stands at one resource, for samplers that know nothing of resources.

To them a trial has one value. Were they told the last value of every trial, one-epoch scores would stand beside
full ones, and were they told of finished trials only, they would know nothing for long. So they see the highest
resource that enough trials have reached (as BOHB does, Falkner et al. 2018): there each has its best value so far.
"""

import copy
from collections.abc import Container, Mapping
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.samplers.fitness import Yardstick, measure_all, resource


class StudyAtResource(optuna.Study):
    """A study whose trials have the values that they had at one resource.

    Trials that got there are complete, whether they have ended, run or wait. Of the others those that have ended are
    pruned at their last report, and the rest are running.

    Args:
        study: the whole one; what a sampler writes goes there.
        least: how many trials must have reached the resource; below, the lowest counts.
        metrics: names of the objectives in the trials' reports, where there are several.
        rewards: number -> reward, more is better, in place of the objective of the trials that got there.
    """

    def __init__(
        self,
        study: optuna.Study,
        least: int,
        metrics: tuple[str, ...] | None = None,
        rewards: Mapping[int, float] | None = None,
    ) -> None:
        self.__dict__.update(study.__dict__)
        self._seen = _seen(study, least, metrics)
        if rewards is not None:
            self._seen = [_rewarded(trial, study.direction, rewards) for trial in self._seen]

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
    trials = study.get_trials(deepcopy=False)
    measured = {known.number: known for known in measure_all(study, Yardstick(tuple(study.directions), metrics))}
    if not measured:
        return trials
    common = resource(measured.values(), least)
    signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]
    seen = []
    for trial in trials:
        known = measured.get(trial.number)
        fitness = None if known is None else known.at(common)
        if fitness is not None:
            values = [sign * cost for sign, cost in zip(signs, fitness.costs, strict=True)]
            seen.append(_changed(trial, state=TrialState.COMPLETE, values=values))
        else:
            ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            changes: dict[str, Any] = {"state": TrialState.PRUNED} if ended else {}
            if len(signs) > 1:  # Optuna's TPE would rank pruned trials by the direction of the one objective
                changes["intermediate_values"] = {}
            seen.append(_changed(trial, **changes) if changes else trial)
    return seen


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
