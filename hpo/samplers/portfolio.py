"""Several samplers share the budget, and credit goes to whoever proposes good trials.

Which one proposes is decided by Thompson sampling (Thompson 1933; Chapelle and Li 2011): each has a Beta distribution
of its successes and failures, and the largest draw wins. A success is a trial among the best third at equal resource.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hpo.history.comparison import measure_all, ranked
from hpo.history.measured import Measured, Yardstick, until
from hpo.plugins import did_you_mean
from hpo.samplers import standard, tpe
from hpo.samplers.evolution import EvolutionSampler
from hpo.samplers.view import WINDOW, StudyAtResource

ARM = "arm"
"""The trial attribute that names who proposed it."""
_LEAST = 8
"""Trials at a resource, before they are compared there."""
_WINDOW = 60
"""The last trials that count: who was good at first need not be so later."""


@dataclass(frozen=True)
class Arm:
    """How a sampler of the portfolio is made, and whether it compares at equal resource by itself."""

    make: Callable[[int], BaseSampler]
    sees_all: bool


ARMS: Mapping[str, Arm] = {
    "tpe": Arm(lambda seed: tpe.tpe(seed), False),
    "evolution": Arm(lambda seed: EvolutionSampler("mu_plus_lambda", seed), True),
    "differential": Arm(lambda seed: EvolutionSampler("differential", seed), True),
    "random": Arm(lambda seed: standard.random(seed), True),
}


class PortfolioSampler(BaseSampler):
    """Lets one of several samplers propose each trial; nothing is kept outside the study.

    Args:
        seed: decides everything together with the study.
        arms: names in `ARMS`.

    Raises:
        ValueError: an arm is unknown, or there is none.
    """

    def __init__(self, seed: int = 0, arms: Sequence[str] = ("tpe", "evolution", "random")) -> None:
        for arm in arms:
            if arm not in ARMS:
                raise ValueError(f"unknown arm '{arm}'.{did_you_mean(str(arm), ARMS)}")
        if not arms:
            raise ValueError("name at least one arm")
        self._seed, self._names = seed, tuple(arms)
        self._open: dict[int, tuple[BaseSampler, optuna.Study]] = {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Chooses who proposes, and writes it to the trial."""
        name = self._choose(study, trial)
        study._storage.set_trial_user_attr(trial._trial_id, ARM, name)
        self._open[trial._trial_id] = self._made(name, study, trial)
        sampler, seen = self._open[trial._trial_id]
        sampler.before_trial(seen, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the arm says."""
        _check_objectives(study)
        sampler, seen = self._arm(study, trial)
        return sampler.infer_relative_search_space(seen, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the arm says; parameters that it leaves out one by one."""
        _check_objectives(study)
        sampler, seen = self._arm(study, trial)
        values = sampler.sample_relative(seen, trial, search_space)
        missing = [name for name in search_space if name not in values]
        return values | {name: sampler.sample_independent(seen, trial, name, search_space[name]) for name in missing}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the arm says."""
        _check_objectives(study)
        sampler, seen = self._arm(study, trial)
        return sampler.sample_independent(seen, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tells the arm."""
        sampler, _ = self._arm(study, trial)
        sampler.after_trial(study, trial, state, values)
        self._open.pop(trial._trial_id, None)

    def reseed_rng(self) -> None:
        """Nothing to do: every trial has a seed of its own."""

    def _arm(self, study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, optuna.Study]:
        if trial._trial_id not in self._open:  # asked outside of a trial's usual course
            sampler, seen = self._made(self._names[0], study, trial)
            sampler.infer_relative_search_space(seen, trial)
            return sampler, seen
        return self._open[trial._trial_id]

    def _made(self, name: str, study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, optuna.Study]:
        seed = int(np.random.SeedSequence([self._seed, trial.number, 1]).generate_state(1)[0])
        arm = ARMS[name]
        return arm.make(seed), study if arm.sees_all else StudyAtResource(study, _LEAST, most=WINDOW)

    def _choose(self, study: optuna.Study, trial: FrozenTrial) -> str:
        _check_objectives(study)
        measured = until(measure_all(study, Yardstick(tuple(study.directions))), trial.number)[-_WINDOW:]
        good = _good(measured)
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, trial.number, 0]))
        draws = {}
        for name in self._names:
            own = [known.number for known in measured if known.trial.user_attrs.get(ARM) == name]
            successes = sum(number in good for number in own)
            draws[name] = rng.beta(1 + successes, 1 + len(own) - successes)
        return max(draws, key=lambda name: draws[name])


def _check_objectives(study: optuna.Study) -> None:
    if len(study.directions) > 1:
        raise ValueError(f"the sampler 'portfolio' has one objective, this study {len(study.directions)}")


def _good(measured: Sequence[Measured]) -> frozenset[int]:
    """The numbers of the best third, of those that can be compared."""
    best = ranked(measured, _LEAST)
    return frozenset(known.number for known in best[: -(-len(best) // 3)])
