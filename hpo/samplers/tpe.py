"""The tree-structured Parzen estimator (Bergstra et al. 2011), Optuna's, for long studies and conditional spaces.

It is multivariate (Falkner et al. 2018), and running trials count as bad (`constant_liar`), so that parallel workers do
not propose the same config.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState

from hpo.history import History
from hpo.history.rows import Array, Configs
from hpo.samplers.normal import use_scipy
from hpo.samplers.standard import built
from hpo.samplers.view import StudyAtResource
from hpo.spec import Config
from hpo.spec.dimension import distribution
from hpo.spec.space import Space

_NO_CONSTRAINTS = (False,) if "constraints_enabled" in signature(_split_trials).parameters else ()
"""Optuna 4 wants to be told whether it is to look for constraints; it would not find ours."""

use_scipy()


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
        parts = self._parts(study, trial, search_space)
        if parts is None:
            return {}
        known = [{name: group[name] for name in group if name in search_space} for group in self._groups]
        known.append({name: search_space[name] for name in search_space if not any(name in group for group in known)})
        places = {name: place for place, name in enumerate(search_space)}
        config: dict[str, Any] = {}
        for wanted in known:
            if wanted and all(self._space.active(name, config) for name in wanted if name in self._space.parameters):
                columns = [places[name] for name in wanted]
                config |= self._best_of(study, wanted, *(part[:, columns] for part in parts))
        return config

    def _parts(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> tuple[Array, Array] | None:
        """Internal values of these parameters, of good trials and of the others; None if there are too few yet."""
        counted = (TrialState.COMPLETE, TrialState.PRUNED, *([TrialState.RUNNING] if self._constant_liar else ()))
        gamma = self._gamma or (_good_of_several if study._is_multi_objective() else default_gamma)
        if isinstance(study, StudyAtResource) and (numbers := study.parted(gamma, counted, trial.number)) is not None:
            rows = _configs_of(study.history, search_space).update(study.history.table)
            return rows[numbers[0]], rows[numbers[1]]
        trials = [it for it in study._get_trials(deepcopy=False, states=counted) if it.number != trial.number]
        ended = sum(it.state is not TrialState.RUNNING for it in trials)
        if ended < self._n_startup_trials:
            return None
        good, others = _split_trials(study, trials, gamma(ended), *_NO_CONSTRAINTS)
        of_good, of_others = ([it.params for it in part] for part in (good, others))
        return _internal(of_good, search_space), _internal(of_others, search_space)

    def _best_of(
        self, study: optuna.Study, wanted: dict[str, BaseDistribution], good: Array, others: Array
    ) -> dict[str, Any]:
        """The draw from the density of good trials that is least like the others, of some draws (section 4)."""
        of_good = self._density(wanted, good, alike=study._is_multi_objective())
        of_others = self._density(wanted, others)
        drawn = of_good.sample(self._rng.rng, self._n_ei_candidates)
        best = int(np.argmax(self._compute_acquisition_func(drawn, of_good, of_others)))
        return {name: it.to_external_repr(drawn[name][best].item()) for name, it in wanted.items()}

    def _density(self, wanted: dict[str, BaseDistribution], configs: Array, alike: bool = False) -> _ParzenEstimator:
        """The density of configs; where they are not `alike`, older ones count less."""
        values = self._get_internal_repr(configs, wanted)
        weights = np.ones(len(next(iter(values.values())))) if alike else None
        return self._parzen_estimator_cls(values, wanted, self._parzen_estimator_parameters, weights)

    def _get_internal_repr(
        self, trials: Array | Sequence[FrozenTrial], search_space: Mapping[str, BaseDistribution], *_: Any
    ) -> dict[str, Array]:
        """Internal values, a column a parameter, of the trials that have all parameters; Optuna's own reads trials."""
        given = trials if isinstance(trials, np.ndarray) else _internal([it.params for it in trials], search_space)
        whole = given[~np.isnan(given).any(axis=1)]
        return dict(zip(search_space, whole.T, strict=True))


def _good_of_several(trials: int) -> int:
    """How many of so many trials are good where there are several objectives; Optuna's own rule since version 5."""
    return math.ceil(0.1 * trials)


def _internal(configs: Sequence[Config], search_space: Mapping[str, BaseDistribution]) -> Array:
    """(configs, parameters) Optuna's internal values; NaN where a config has no such parameter."""
    rows = np.full((len(configs), len(search_space)), math.nan)
    for place, (name, wanted) in enumerate(search_space.items()):
        having = [row for row, config in enumerate(configs) if name in config]
        values = [configs[row][name] for row in having]
        if isinstance(wanted, CategoricalDistribution):
            values = [wanted.to_internal_repr(value) for value in values]
        rows[having, place] = values
    return rows


def _configs_of(history: History, search_space: Mapping[str, BaseDistribution]) -> Configs:
    """A study's configs as internal values; who asks again about the same parameters gets the same ones."""
    make = partial(Configs, partial(_internal, search_space=dict(search_space)), len(search_space))
    return history.part((Configs, *search_space.items()), make)


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
