"""The tree-structured Parzen estimator (Bergstra et al. 2011), Optuna's, for long studies and conditional spaces.

It is multivariate (Falkner et al. 2018), and running trials count as bad (`constant_liar`), so that parallel workers do
not propose the same config.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.trial import FrozenTrial
from scipy.special import log_ndtr, ndtr

from hpo.samplers.standard import built
from hpo.space import Space, distribution

# Optuna's own go through arrays number by number: half of the time of a proposal where a parameter is an integer.
_truncnorm._log_ndtr, _truncnorm._ndtr = log_ndtr, ndtr


def tpe(seed: int, space: Space | None = None, **settings: Any) -> BaseSampler:
    """TPE with a group of parameters for each branch of the conditions.

    Args:
        seed: of its draws.
        space: has the conditions; Optuna looks for groups in the trials where it is None, or settings say how to group.
        settings: of `optuna.samplers.TPESampler`.
    """
    chosen = {"multivariate": True, "constant_liar": True} | settings
    if space is None or settings.keys() & {"multivariate", "group"}:
        return built(TPESampler, seed, {"group": True} | chosen)
    return built(GroupedTPE, seed, {"space": space, **chosen})


class GroupedTPE(TPESampler):
    """TPE that knows its groups of parameters: each is proposed together, by the trials that have all of the group.

    Args:
        space: parameters with the same conditions are a group.
        settings: of `optuna.samplers.TPESampler`.
    """

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(**settings)
        self._space, self._groups = space, groups(space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters."""
        return {name: wanted for group in self._groups for name, wanted in group.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value for each of these parameters that exists with the others'; none before there are enough trials."""
        config: dict[str, Any] = {}
        known = [{name: group[name] for name in group if name in search_space} for group in self._groups]
        for wanted in known:
            if all(self._space.active(name, config) for name in wanted):
                config |= self._sample_relative(study, trial, wanted)
        others = {name: search_space[name] for name in search_space if not any(name in group for group in known)}
        return config | self._sample_relative(study, trial, others)

    def _get_internal_repr(
        self, trials: Sequence[FrozenTrial], search_space: Mapping[str, BaseDistribution], *_: Any
    ) -> dict[str, NDArray[np.float64]]:
        """As Optuna's, of trials whose configs are whole: a column a parameter, of the trials that have all of them."""
        configs = [trial.params for trial in trials]
        known = [config for config in configs if search_space.keys() <= config.keys()]
        return {name: _internal([config[name] for config in known], it) for name, it in search_space.items()}


def _internal(values: Sequence[Any], wanted: BaseDistribution) -> NDArray[np.float64]:
    if isinstance(wanted, CategoricalDistribution):
        return np.array([wanted.to_internal_repr(value) for value in values], np.float64)
    return np.array(values, np.float64)


def groups(space: Space) -> list[dict[str, BaseDistribution]]:
    """The parameters that exist together, whatever the config; those with a single value are left out."""
    found: dict[frozenset[object], dict[str, BaseDistribution]] = {}
    for name, parameter in space.parameters.items():
        wanted = distribution(parameter)
        if not wanted.single():
            found.setdefault(_conditions(space, name), {})[name] = wanted
    return list(found.values())


def _conditions(space: Space, name: str) -> frozenset[object]:
    """What must be so for a parameter to exist, its parents' conditions included; fixed settings are as they are."""
    own = {parent: wanted for parent, wanted in space.parameters[name].when.items() if parent in space.parameters}
    return frozenset(own.items()).union(*(_conditions(space, parent) for parent in own))
