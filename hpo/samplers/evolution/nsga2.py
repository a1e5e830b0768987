"""NSGA-II (Deb et al. 2002), in its steady state; for one objective or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from deap import tools  # type: ignore[import-untyped]
from numpy.typing import NDArray

from hpo.history.comparison import compared
from hpo.history.measured import Measured
from hpo.samplers.evolution import individuals, settings, streams
from hpo.samplers.evolution.individuals import Individual
from hpo.samplers.evolution.variation import Child, Variation
from hpo.study.ranking import Fitness

Rows = list[tuple[Fitness, Measured]]


@dataclass(frozen=True)
class Nsga2:
    """Parents are `mu` trials of the first fronts, the last of these thinned out where it is crowded.

    Args:
        mu: how many parents.
        crossover: see `Variation`.
        mutation: see `Variation`.
        sigma: see `Variation`.
    """

    mu: int = 20
    crossover: float = 0.9
    mutation: float = 0.2
    sigma: float = 0.2

    name: ClassVar[str] = "nsga2"
    many_objectives: ClassVar[bool] = True

    def __post_init__(self) -> None:
        settings.whole("mu", self.mu, 2)
        settings.share("crossover", self.crossover)
        settings.share("mutation", self.mutation)
        settings.positive("sigma", self.sigma, 0.5)

    @property
    def startup(self) -> int:
        """How many configs are random."""
        return min(self.mu, 10)

    def propose(self, number: int, trials: Sequence[Measured], rng: np.random.Generator) -> Child:
        """A child of two winners of crowded tournaments."""
        survivors = survive(compared(trials, self.mu), self.mu)
        variation = Variation(self.crossover, self.mutation, self.sigma, blend=False)
        return variation.child(self.name, _mates(survivors, rng), rng)


def survive(rows: Rows, mu: int) -> list[Individual]:
    """The `mu` best by front and crowding."""
    costs = with_penalties(rows)
    able = first_fronts(costs, mu)
    individuals_ = individuals.by_costs([(tuple(costs[index].tolist()), rows[index][1]) for index in able])
    chosen: list[Individual] = tools.selNSGA2(individuals_, mu)
    return chosen


def with_penalties(rows: Rows) -> NDArray[np.float64]:
    """Costs `(trials, objectives)` whose plain domination is constrained domination (Deb et al. 2002, definition 1).

    An infeasible trial costs more than the worst feasible one in every objective, the more the more it violates.
    """
    costs = np.array([fitness.costs for fitness, _ in rows])
    violations = np.array([fitness.violation for fitness, _ in rows])
    if not violations.any():
        return costs
    feasible = violations == 0
    worst = costs[feasible].max(axis=0) if feasible.any() else np.zeros(costs.shape[1])
    ranks = np.searchsorted(np.unique(violations[~feasible]), violations) + 1
    return np.where(feasible[:, None], costs, worst + (1 + np.abs(worst)) * ranks[:, None])


def first_fronts(costs: NDArray[np.float64], least: int) -> list[int]:
    """The rows of as many whole fronts as hold `least` of them: DEAP alone would sort a thousand for a second."""
    left = np.lexsort(costs.T[::-1])  # who dominates comes before whom it dominates
    taken: list[int] = []
    while len(taken) < min(least, len(costs)):
        front = _front(costs[left])
        taken += left[front].tolist()
        left = left[~front]
    return sorted(taken)


def _front(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A mask of the rows, in lexicographic order, that no other dominates."""
    front = np.zeros(len(costs), bool)
    left = np.arange(len(costs))
    while len(left):
        first = costs[left[0]]
        equal = (costs[left] == first).all(axis=1)
        front[left[equal]] = True
        left = left[~equal & (costs[left] < first).any(axis=1)]
    return front


def _mates(survivors: list[Individual], rng: np.random.Generator) -> list[Measured]:
    """Two winners of crowded tournaments, which DEAP holds among four or more."""
    with streams.lent_to_deap(rng):
        winners = tools.selTournamentDCD(survivors, 4) if len(survivors) >= 4 else tools.selRandom(survivors, 2)
    return [winner.trial for winner in winners[:2]]
