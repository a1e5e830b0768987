"""The (mu, lambda) evolution strategy (Beyer & Schwefel 2002), in its steady state: parents are forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpo.samplers import fitness
from hpo.samplers.evolution import individuals, settings
from hpo.samplers.evolution.variation import Child, Variation
from hpo.samplers.fitness import Measured


@dataclass(frozen=True)
class MuCommaLambda:
    """Parents are the best `mu` of the last `lam` trials, so that a lucky score does not breed forever.

    Args:
        mu: how many parents.
        lam: how many trials are remembered. Schwefel has 7 a parent; for that a search of a hundred trials has no time.
        tournament: how many parents compete to breed.
        crossover: see `Variation`.
        mutation: see `Variation`.
        sigma: see `Variation`.
    """

    mu: int = 10
    lam: int = 30
    tournament: int = 2
    crossover: float = 0.9
    mutation: float = 0.2
    sigma: float = 0.2

    name: ClassVar[str] = "mu_comma_lambda"
    many_objectives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settings.whole("mu", self.mu, 1)
        settings.whole("lam", self.lam, 1)
        settings.whole("tournament", self.tournament, 1)
        settings.share("crossover", self.crossover)
        settings.share("mutation", self.mutation)
        settings.positive("sigma", self.sigma, 0.5)
        if self.lam < self.mu:
            raise ValueError(f"'lam' must be at least 'mu', which is {self.mu}, not {self.lam}")

    @property
    def startup(self) -> int:
        """How many configs are random."""
        return self.mu

    def propose(self, number: int, trials: Sequence[Measured], rng: np.random.Generator) -> Child:
        """A child of the best of the last."""
        best = individuals.by_rank(fitness.ranked(trials[-self.lam :], self.mu)[: self.mu])
        chosen = individuals.tournaments(best, 2, self.tournament, rng)
        return Variation(self.crossover, self.mutation, self.sigma).child(self.name, chosen, rng)
