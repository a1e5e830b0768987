"""What a strategy answers: a config not yet spelled out, asked for its values one by one (define-by-run)."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution

from hpo.samplers.evolution import encoding, streams


@dataclass(frozen=True)
class Lineage:
    """Where a config comes from; the trial's attribute `lineage` has it as a dict."""

    strategy: str
    parents: tuple[int, ...]
    """Numbers of the trials; none for a config drawn at random or given by the user."""
    operator: str
    sigma: float | None = None
    """The step size that the config was made with, in the parameters' unit ranges; its children inherit it."""

    def to_json(self) -> dict[str, Any]:
        """As it is written to the trial."""
        return {
            "strategy": self.strategy,
            "parents": list(self.parents),
            "operator": self.operator,
            "sigma": self.sigma,
        }


class Proposal(Protocol):
    """A config, value by value."""

    @property
    def lineage(self) -> Lineage:
        """Where it comes from."""

    def value(self, name: str, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
        """The value of one parameter; `rng` is a stream for this parameter alone."""


@dataclass(frozen=True)
class LatinHypercube:
    """A random config: one of `strata` that share out the range of each parameter evenly (McKay et al. 1979).

    A parameter's strata are shuffled by the seed and its name, so nothing needs to be known of the space beforehand.
    """

    lineage: Lineage
    seed: int
    index: int
    strata: int

    def value(self, name: str, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
        """A place in this config's stratum."""
        shuffled = streams.of_strata(self.seed, self.index // self.strata, name).permutation(self.strata)
        stratum = int(shuffled[self.index % self.strata])
        return encoding.from_unit((stratum + rng.random()) / self.strata, distribution)
