"""The evolution strategies (mu + lambda) and (mu, lambda) (Beyer & Schwefel 2002), in their steady state.

They differ in whom they take for parents: in the first these never age, in the second they are forgotten.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpo.history.comparison import ranked
from hpo.history.measured import Measured, until
from hpo.samplers.evolution import individuals, settings
from hpo.samplers.evolution.variation import Child, Variation


@dataclass(frozen=True)
class MuLambda(ABC):
    """Parents are the best `mu` of those that may be; two of them, winners of tournaments, have a child.

    Args:
        mu: how many parents.
        lam: how many children, or trials; each strategy says which.
        tournament: how many parents compete to breed.
        crossover: see `Variation`.
        mutation: see `Variation`.
        sigma: see `Variation`.
    """

    mu: int = 10
    lam: int = 1
    tournament: int = 2
    crossover: float = 0.9
    mutation: float = 0.2
    sigma: float = 0.2

    name: ClassVar[str]
    many_objectives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settings.whole("mu", self.mu, 1)
        settings.whole("lam", self.lam, 1)
        settings.whole("tournament", self.tournament, 1)
        settings.share("crossover", self.crossover)
        settings.share("mutation", self.mutation)
        settings.positive("sigma", self.sigma, 0.5)

    @property
    def startup(self) -> int:
        """How many configs are random."""
        return self.mu

    @abstractmethod
    def eligible(self, number: int, trials: Sequence[Measured]) -> Sequence[Measured]:
        """Those of the trials that may be parents of the trial of this number."""

    def propose(self, number: int, trials: Sequence[Measured], rng: np.random.Generator) -> Child:
        """A child of the best that may be parents."""
        best = individuals.by_rank(ranked(self.eligible(number, trials), self.mu, self.mu))
        chosen = individuals.tournaments(best, 2, self.tournament, rng)
        return Variation(self.crossover, self.mutation, self.sigma).child(self.name, chosen, rng)


@dataclass(frozen=True)
class MuPlusLambda(MuLambda):
    """All trials may be parents.

    Of `MuLambda`'s settings, `lam` is how many children are bred from the same parents before these are chosen anew; 1
    is the steady state.
    """

    name: ClassVar[str] = "mu_plus_lambda"

    def eligible(self, number: int, trials: Sequence[Measured]) -> Sequence[Measured]:
        """Those that began before these parents were chosen."""
        since = number - number % self.lam
        return until(trials, since) or trials


@dataclass(frozen=True)
class MuCommaLambda(MuLambda):
    """The last `lam` trials may be parents, so that a lucky score does not breed forever.

    Schwefel has a `lam` of 7 a parent; for that a search of a hundred trials has no time.
    """

    lam: int = 30

    name: ClassVar[str] = "mu_comma_lambda"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lam < self.mu:
            raise ValueError(f"'lam' must be at least 'mu', which is {self.mu}, not {self.lam}")

    def eligible(self, number: int, trials: Sequence[Measured]) -> Sequence[Measured]:
        """The last."""
        return trials[-self.lam :]
