"""How a child differs from its parents: by the type of each parameter, and by a step size that it inherits and varies.

A parameter that both parents have is combined; then it may mutate. One that neither has, because they took another
branch of the conditions, is drawn at random.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from hpo.history.measured import Measured
from hpo.samplers.evolution import encoding
from hpo.samplers.evolution.proposal import Lineage
from hpo.study.optuna_trial import LINEAGE

_SIGMA_BOUNDS = (0.003, 0.5)
"""Below the smallest step no learning rate matters; above the largest a step is a random draw."""


@dataclass(frozen=True)
class Variation:
    """What is done to parents.

    Args:
        crossover: the chance that two parents are combined; else the child has one.
        mutation: the chance that a parameter mutates; one at least always does.
        sigma: the step size of the first children, in the parameters' unit ranges.
        blend: numbers are blended; else each is one of the parents'. Blending draws a population together, which finds
            one optimum sooner and the ends of a front later.
    """

    crossover: float
    mutation: float
    sigma: float
    blend: bool = True

    def child(self, strategy: str, parents: Sequence[Measured], rng: np.random.Generator) -> "Child":
        """A child of the first parent, or of the first two."""
        recombined = len({parent.number for parent in parents[:2]}) == 2 and rng.random() < self.crossover
        used = parents[: 2 if recombined else 1]
        names = sorted(used[0].trial.params)
        return Child(
            Lineage(
                strategy,
                tuple(parent.number for parent in used),
                "crossover+mutation" if recombined else "mutation",
                adapted(used, self.sigma, len(names), rng),
            ),
            tuple(parent.trial.params for parent in used),
            self.mutation,
            self.blend,
            names[int(rng.integers(len(names)))] if names else None,
        )


@dataclass(frozen=True)
class Child:
    """A proposal bred from parents."""

    lineage: Lineage
    parents: tuple[Mapping[str, Any], ...]
    mutation: float
    blend: bool
    always: str | None
    """The parameter that mutates whatever chance says."""

    def value(self, name: str, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
        """The parents' values, combined and perhaps mutated."""
        assert self.lineage.sigma is not None
        known = [p[name] for p in self.parents if name in p and encoding.holds(distribution, p[name])]
        if not known:
            return encoding.from_unit(rng.random(), distribution)
        value = combine(known, distribution, rng, self.blend)
        if name == self.always or rng.random() < self.mutation:
            return mutate(value, distribution, self.lineage.sigma, rng)
        return value


def adapted(parents: Sequence[Measured], first: float, dimensions: int, rng: np.random.Generator) -> float:
    """The child's own step size: its parents' geometric mean, changed log-normally (Beyer & Schwefel 2002)."""
    rate = 1 / math.sqrt(max(1, dimensions))
    inherited = [math.log(sigma_of(parent, first)) for parent in parents]
    changed = math.exp(sum(inherited) / len(inherited) + rate * rng.standard_normal())
    return float(np.clip(changed, *_SIGMA_BOUNDS))


def sigma_of(trial: Measured, first: float) -> float:
    """The step size that a trial carries; `first` if it carries none."""
    lineage = trial.trial.user_attrs.get(LINEAGE)
    sigma = lineage.get("sigma") if isinstance(lineage, dict) else None
    return float(sigma) if isinstance(sigma, int | float) and 0 < sigma < math.inf else first


def combine(values: Sequence[Any], distribution: BaseDistribution, rng: np.random.Generator, blend: bool = True) -> Any:
    """BLX-0.1 (Eshelman & Schaffer 1993) for numbers; one of the two for categories, and for all without blending."""
    if len(values) == 1 or values[0] == values[1]:
        return values[0]
    if isinstance(distribution, CategoricalDistribution) or not blend:
        return values[int(rng.integers(2))]
    one, other = encoding.to_unit(values, distribution)
    return encoding.from_unit(reflected(one + rng.uniform(-0.1, 1.1) * (other - one)), distribution)


def mutate(value: Any, distribution: BaseDistribution, sigma: float, rng: np.random.Generator) -> Any:
    """Another value: a Gaussian step in the unit range, or another category.

    A step that rounding would undo goes to the next whole step: a mutation is never lost.
    """
    count = encoding.size(distribution)
    if count == 1:
        return value
    if isinstance(distribution, CategoricalDistribution):
        others = [choice for choice in distribution.choices if choice != value]
        return others[int(rng.integers(len(others)))] if others else value
    step = sigma * rng.standard_normal()
    moved = encoding.from_unit(reflected(float(encoding.to_unit(value, distribution)) + step), distribution)
    if count is None or moved != value:
        return moved
    return neighbour(value, distribution, step)


def neighbour(value: Any, distribution: BaseDistribution, direction: float) -> Any:
    """The next value of a stepped parameter, the other way at the end of its range."""
    assert isinstance(distribution, encoding.Numerical) and distribution.step is not None
    step = math.copysign(distribution.step, direction)
    tolerance = distribution.step * 1e-8  # low + k * step need not be exact
    if not distribution.low - tolerance <= value + step <= distribution.high + tolerance:
        step = -step
    return encoding.from_unit(float(encoding.to_unit(value + step, distribution)), distribution)


def reflected(unit: float) -> float:
    """A place beyond an end of [0, 1] is thrown back by it."""
    folded = unit % 2
    return float(2 - folded if folded > 1 else folded)
