"""The whole grid: every config of a space of discrete parameters, each once."""

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from hpo.history.configs import known_configs
from hpo.spec import Config
from hpo.spec.dimension import distribution
from hpo.spec.space import LISTED, Space


class GridSampler(BaseSampler):
    """Proposes the configs of a grid in an order drawn by the seed: a search that ends early has seen all parts.

    It keeps nothing: what is left follows from the study. A search ends when all have been tried, those that failed
    among them.

    Args:
        space: what is searched.
        seed: of the order.

    Raises:
        ValueError: the space has no grid, or one of more than 10,000 configs.
    """

    def __init__(self, space: Space, seed: int = 0) -> None:
        listed = space.configs(LISTED)
        if listed is None:
            endless = [name for name in space.parameters if space.choices(name, LISTED) is None]
            if endless:
                raise ValueError(
                    f"a grid needs the values of '{endless[0]}': give `steps` (how many), `step` (how far apart), or"
                    " `values`"
                )
            raise ValueError(f"the grid has more than {LISTED:,} configs: give fewer values, or take another sampler")
        order = np.random.default_rng(seed).permutation(len(listed))
        self._space, self.configs = space, [listed[place] for place in order]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters."""
        return {name: distribution(parameter) for name, parameter in self._space.parameters.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The first config that no other trial has or had."""
        known = known_configs(study)
        left: Config | None = next((one for one in self.configs if not known.was(one, trial.number)), None)
        return dict(left or self.configs[trial.number % len(self.configs)])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value of a parameter that the next config lacks, because an enqueued value opened another branch."""
        choices = self._space.choices(param_name, LISTED)
        if choices is None:
            return RandomSampler(seed=trial.number).sample_independent(study, trial, param_name, param_distribution)
        return choices[int(np.random.default_rng(trial.number).integers(len(choices)))]
