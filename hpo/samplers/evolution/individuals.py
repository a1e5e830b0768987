"""Trials as DEAP's operators want them: something with a `fitness` that compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from deap import base, tools  # type: ignore[import-untyped]

from hpo.history.measured import Measured
from hpo.samplers.evolution import streams


@dataclass(frozen=True, eq=False)
class Individual:
    """A trial and its DEAP fitness."""

    trial: Measured
    fitness: Any


@cache
def fitness_class(objectives: int) -> Any:
    """A class of DEAP fitness, all costs; made here, because `deap.creator` would put it into a global namespace."""
    return type(f"Costs{objectives}", (base.Fitness,), {"weights": (-1.0,) * objectives})


def by_rank(trials: Sequence[Measured]) -> list[Individual]:
    """Individuals from trials in order, the best first."""
    costs = fitness_class(1)
    return [Individual(trial, costs((float(rank),))) for rank, trial in enumerate(trials)]


def by_costs(rows: Sequence[tuple[tuple[float, ...], Measured]]) -> list[Individual]:
    """Individuals that dominate one another by their costs."""
    return [Individual(trial, fitness_class(len(costs))(costs)) for costs, trial in rows]


def tournaments(individuals: Sequence[Individual], count: int, size: int, rng: np.random.Generator) -> list[Measured]:
    """The winners of `count` tournaments among `size` individuals each, drawn with replacement."""
    with streams.lent_to_deap(rng):
        return [winner.trial for winner in tools.selTournament(individuals, count, tournsize=size)]
