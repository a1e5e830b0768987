"""The config of a child in population based training: its parent's with small changes; this is no sampler."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from hpo.samplers.evolution import encoding
from hpo.samplers.evolution.variation import neighbour, reflected
from hpo.schedulers import Explore, changeable
from hpo.spec import Config, SearchSpec
from hpo.spec.dimension import distribution
from hpo.spec.space import Space

_FACTOR = 1.2
"""The factor of a parameter with a log scale; Jaderberg et al. 2017, section 4.1."""
_TRIES = 100
"""How often a config is drawn that turns out not to be allowed, before the parent's is kept."""
_SHIFT = 0.1
"""The step of any other number, as a share of its range: 1.2 times a momentum of 0.9 says nothing."""


def explorer(spec: SearchSpec) -> Explore:
    """What makes a child's config from its parent's under the spec's space."""
    return partial(explore, Space.of(spec))


def explore(space: Space, config: Mapping[str, Any], rng: np.random.Generator, resample: float) -> Config:
    """A config near another one, with which the same model and optimizer can go on.

    Args:
        space: what is searched.
        config: the parent's.
        rng: of the draws.
        resample: the chance that a value is drawn anew from its whole range. Otherwise a number takes a small step, up
            or down, and a category stays.

    Returns:
        The parent's config where no other that was drawn is allowed.
    """
    parent = space.recorded(config)
    children = (_child(space, parent, rng, resample) for _ in range(_TRIES))
    return space.config(next((child for child in children if space.allows(child)), parent))


def _child(space: Space, config: Mapping[str, Any], rng: np.random.Generator, resample: float) -> Config:
    """A config near another one, as it is recorded; it may be one that is not allowed."""
    child: Config = {}
    stays = {source for name, tie in space.ties.items() if not changeable(name) for source in tie.expression.names}
    for name, parameter in space.parameters.items():
        if not space.active(name, child):
            continue
        wanted = distribution(parameter)
        if name in config and (name in stays or not changeable(name)):
            child[name] = config[name]
        elif name not in config or rng.random() < resample:
            child[name] = space.settled(name, encoding.from_unit(rng.random(), wanted))
        else:
            moved = _stepped(config[name], wanted, 1 if rng.random() < 0.5 else -1)
            child[name] = space.settled(name, moved)
    return child


def _stepped(value: Any, wanted: BaseDistribution, direction: int) -> Any:
    count = encoding.size(wanted)
    if isinstance(wanted, CategoricalDistribution) or count == 1:
        return value
    low, high = float(wanted.low), float(wanted.high)  # type: ignore[attr-defined]
    share = np.log(_FACTOR) / np.log(high / low) if wanted.log else _SHIFT  # type: ignore[attr-defined]
    unit = float(encoding.to_unit(value, wanted)) + direction * min(float(share), 0.5)
    moved = encoding.from_unit(reflected(unit), wanted)
    return neighbour(value, wanted, direction) if count is not None and moved == value else moved
