"""Regularized evolution (Real et al. 2019, algorithm 1), in its steady state: the oldest die, not the worst."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpo.history.comparison import ranked
from hpo.history.measured import Measured
from hpo.samplers.evolution import individuals, settings
from hpo.samplers.evolution.variation import Child, Variation


@dataclass(frozen=True)
class Aging:
    """The population are the last `mu` trials; the winner of one tournament in it has a mutated child.

    Args:
        mu: how many trials are alive. The paper has 100 in searches of 20,000.
        tournament: how many of them compete. The paper has a quarter; a short search wants more.
        mutation: see `Variation`; at 0, as in the paper, one parameter changes at a time.
        sigma: see `Variation`.
    """

    mu: int = 20
    tournament: int = 10
    mutation: float = 0.1
    sigma: float = 0.2

    name: ClassVar[str] = "aging"
    many_objectives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settings.whole("mu", self.mu, 1)
        settings.whole("tournament", self.tournament, 1)
        settings.share("mutation", self.mutation)
        settings.positive("sigma", self.sigma, 0.5)

    @property
    def startup(self) -> int:
        """How many configs are random."""
        return min(self.mu, 10)

    def propose(self, number: int, trials: Sequence[Measured], rng: np.random.Generator) -> Child:
        """A child of one of the living."""
        alive = trials[-self.mu :]
        able = individuals.by_rank(ranked(alive, max(1, len(alive) // 2)))
        winner = individuals.tournaments(able, 1, self.tournament, rng)
        return Variation(0.0, self.mutation, self.sigma).child(self.name, winner, rng)
