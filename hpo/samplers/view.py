"""A study as it stands at one resource, for samplers that know nothing of resources.

To them a trial has one value. Were they told the last value of every trial, one-epoch scores would stand beside
full ones, and were they told of finished trials only, they would know nothing for long. So they see the highest
resource that enough trials have reached (as BOHB does, Falkner et al. 2018): there each has its best value so far.
"""

import copy
from collections.abc import Container
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.samplers.fitness import Yardstick, resource


class StudyAtResource(optuna.Study):
    """A study whose trials have the values that they had at one resource.

    Trials that got there are complete, whether they have ended, run or wait. Of the others those that have ended are
    pruned at their last report, and the rest are running.

    Args:
        study: the whole one; what a sampler writes goes there.
        least: how many trials must have reached the resource; below, the lowest counts.
    """

    def __init__(self, study: optuna.Study, least: int) -> None:
        self.__dict__.update(study.__dict__)
        self._seen = _seen(study, least)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """What every sampler reads trials through."""
        trials = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials


def _seen(study: optuna.Study, least: int) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False)
    yardstick = Yardstick(tuple(study.directions))
    measured = {trial.number: known for trial in trials if (known := yardstick.measure(trial)) is not None}
    if len(study.directions) > 1 or not measured:
        return trials
    common = resource(measured.values(), least)
    sign = -1.0 if study.direction is optuna.study.StudyDirection.MAXIMIZE else 1.0
    seen = []
    for trial in trials:
        known = measured.get(trial.number)
        fitness = None if known is None else known.at(common)
        if fitness is not None:
            seen.append(_changed(trial, state=TrialState.COMPLETE, values=[sign * fitness.costs[0]]))
        elif trial.state is TrialState.COMPLETE:
            seen.append(_changed(trial, state=TrialState.PRUNED))
        else:
            seen.append(trial)
    return seen


def _changed(trial: FrozenTrial, **changes: Any) -> FrozenTrial:
    """The trial with other values; it stays the study's own object, whose mappings must not be written to."""
    other = copy.copy(trial)
    for name, value in changes.items():
        setattr(other, name, value)
    return other
