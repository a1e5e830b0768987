"""CMA-ES (Hansen & Ostermeier 2001) over the numerical parameters that all trials have, by DEAP.

The strategy's state is not kept: it is rebuilt from the last recorded trials, generation after generation, in the order
of their numbers. (Trials that are paused at a rung count too, and have no time of finishing.) What it cannot vary,
categories and the parameters of a branch, comes from the best trials by crossover and mutation.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from deap import cma  # type: ignore[import-untyped]
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from hpo.history.comparison import ranked
from hpo.history.measured import Measured
from hpo.samplers.evolution import encoding, individuals, settings, streams
from hpo.samplers.evolution.proposal import Lineage
from hpo.samplers.evolution.variation import Child, Variation

_PARENTS = 10
"""The best so many breed what the normal distribution lacks."""
_TRIES = 10
"""Generations of points drawn in search of one inside the unit cube."""
_LEAST_WIDTH = 1e-3
"""The least width of the distribution, in unit ranges: closer configs differ by chance alone."""
_LARGEST_CONDITION = 1e12
_REPLAYED, _STEP = 60, 20
"""At least so many generations are replayed, of more the last; they begin at a multiple of the other number."""


@dataclass(frozen=True)
class Cma:
    """A normal distribution that moves to where the better half of each generation lies.

    Args:
        lam: trials in a generation; None is 4 + 3 ln(parameters).
        sigma: the first standard deviation, in the parameters' unit ranges.
        startup: how many configs are random.
        mutation: see `Variation`; of the parameters that the normal distribution does not have.
    """

    lam: int | None = None
    sigma: float = 0.25
    startup: int = 10
    mutation: float = 0.2

    name: ClassVar[str] = "cma"
    many_objectives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.lam is not None:
            settings.whole("lam", self.lam, 4)
        settings.whole("startup", self.startup, 1)
        settings.positive("sigma", self.sigma, 0.5)
        settings.share("mutation", self.mutation)

    def propose(self, number: int, trials: Sequence[Measured], rng: np.random.Generator) -> "Drawn":
        """A draw from the normal distribution, and a child of the best for what it lacks."""
        best = individuals.by_rank(ranked(trials, _PARENTS, _PARENTS))
        parents = individuals.tournaments(best, 2, 2, rng)
        rest = Variation(1.0, self.mutation, self.sigma).child(self.name, parents, rng)
        recent = trials[-self._window(trials) :]
        space = common_space(recent)
        if not space:
            return Drawn(rest.lineage, rest, {}, {})
        strategy = replay(recent, beginning(tuple(space.items()), self.sigma, self.lam)).strategy
        point = draw(strategy, rng)
        lineage = Lineage(self.name, rest.lineage.parents, "normal draw", float(strategy.sigma))
        return Drawn(lineage, rest, space, dict(zip(space, point.tolist(), strict=True)))

    def _window(self, trials: Sequence[Measured]) -> int:
        """How many trials are replayed: whole generations of as many parameters as the newest trial has, and the rest.

        The window moves by steps, so that most of what it replays was replayed for the trial before.
        """
        size = self.lam or int(4 + 3 * math.log(max(1, len(_ranges(trials[-1])))))
        steps = max(0, len(trials) // size - _REPLAYED) // _STEP
        return len(trials) - steps * _STEP * size


@dataclass(frozen=True)
class Drawn:
    """A proposal with some parameters from a normal distribution, and the others from parents."""

    lineage: Lineage
    rest: Child
    space: Mapping[str, BaseDistribution]
    place: Mapping[str, float]

    def value(self, name: str, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
        """The drawn value, if the parameter's range is still the one that it was drawn for."""
        if self.space.get(name) == distribution:
            return encoding.from_unit(self.place[name], distribution)
        return self.rest.value(name, distribution, rng)


@dataclass(frozen=True, eq=False)
class State:
    """DEAP's strategy between two generations; nobody changes it."""

    space: tuple[tuple[str, BaseDistribution], ...]
    strategy: Any
    first_sigma: float


class Point(list[float]):
    """A point in the unit cube, with the fitness that DEAP sorts by."""

    fitness: float


def common_space(trials: Sequence[Measured]) -> dict[str, BaseDistribution]:
    """The numerical parameters that all trials have with the same range, by name."""
    common = _ranges(trials[-1]).intersection(*map(_ranges, trials))
    newest = trials[-1].trial.distributions
    return {name: newest[name] for name, *_ in sorted(common, key=lambda row: row[0])}


@lru_cache(maxsize=4096)  # a thousand trials have ten thousand ranges
def _ranges(trial: Measured) -> frozenset[tuple[Any, ...]]:
    return frozenset(
        (name, type(wanted), wanted.low, wanted.high, wanted.log, wanted.step)
        for name, wanted in trial.trial.distributions.items()
        if isinstance(wanted, FloatDistribution | IntDistribution) and encoding.size(wanted) != 1
    )


def replay(trials: Sequence[Measured], state: State) -> State:
    """The state after all whole generations."""
    size = state.strategy.lambda_
    for start in range(0, len(trials) - size + 1, size):
        state = after(state, tuple(trials[start : start + size]))
    return state


@lru_cache(maxsize=1024)
def beginning(space: tuple[tuple[str, BaseDistribution], ...], sigma: float, lam: int | None) -> State:
    """The state before the first generation."""
    sizes = {} if lam is None else {"lambda_": lam}
    return State(space, cma.Strategy([0.5] * len(space), sigma, **sizes), sigma)


@lru_cache(maxsize=4096)  # the early generations are those of the last proposal
def after(state: State, generation: tuple[Measured, ...]) -> State:
    """The state after one more generation; one that has become too narrow or too flat begins anew from its centre."""
    strategy = copy.deepcopy(state.strategy)
    strategy.update(_points(generation, state.space, strategy.mu))
    if not _healthy(strategy):
        centre = np.clip(np.nan_to_num(strategy.centroid, nan=0.5), 0, 1)
        strategy = cma.Strategy(centre, state.first_sigma, lambda_=strategy.lambda_)
    return State(state.space, strategy, state.first_sigma)


def draw(strategy: Any, rng: np.random.Generator) -> NDArray[np.float64]:
    """A point of the strategy's normal distribution: the first in the unit cube, or one moved to its surface."""
    with streams.lent_to_deap(rng):
        points: NDArray[np.float64] = np.array([strategy.generate(list) for _ in range(_TRIES)])
    points = points.reshape(-1, strategy.dim)
    inside = points[((points >= 0) & (points <= 1)).all(axis=1)]
    return np.asarray(np.clip(np.concatenate([inside, points])[0], 0, 1))


def _points(generation: Sequence[Measured], space: Sequence[tuple[str, BaseDistribution]], parents: int) -> list[Point]:
    """Points with their fitness where enough of the generation has got to; trials that were stopped before are last."""
    rank = {trial.number: -place for place, trial in enumerate(ranked(generation, parents))}
    columns = [encoding.to_unit([trial.trial.params[name] for trial in generation], wanted) for name, wanted in space]
    points = [Point(row) for row in np.column_stack(columns).tolist()]
    for trial, point in zip(generation, points, strict=True):
        point.fitness = rank.get(trial.number, -math.inf)
    return points


def _healthy(strategy: Any) -> bool:
    """Whether the distribution can still be drawn from and is wide enough to find anything new."""
    widths = strategy.sigma * strategy.diagD
    return bool(np.isfinite(widths).all() and widths.max() > _LEAST_WIDTH and strategy.cond < _LARGEST_CONDITION)
