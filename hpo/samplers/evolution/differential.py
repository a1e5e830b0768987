"""Differential evolution, rand/1/bin (Storn & Price 1997), over resources as in DEHB (Awad et al. 2021), asynchronous.

A trial competes with the one whose place it was proposed for, its first parent. So the population is read from the
trials' lineages: the winner of each place, among the trials that have reached the resource.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from hpo.history.comparison import compared
from hpo.history.measured import Measured
from hpo.samplers.evolution import encoding, settings
from hpo.samplers.evolution.proposal import Lineage
from hpo.study.optuna_trial import LINEAGE
from hpo.study.ranking import Fitness


@dataclass(frozen=True)
class Differential:
    """A child takes some parameters of one trial, and the others from three more: base + F * (one - other).

    Args:
        mu: how many places the population has.
        factor: F, the length of the difference.
        crossover: CR, the chance that a parameter is not the target's.
    """

    mu: int = 10
    factor: float = 0.5
    crossover: float = 0.5

    name: ClassVar[str] = "differential"
    many_objectives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settings.whole("mu", self.mu, 4)
        settings.positive("factor", self.factor, 2)
        settings.share("crossover", self.crossover)

    @property
    def startup(self) -> int:
        """How many configs are random."""
        return self.mu

    def propose(self, number: int, trials: Sequence[Measured], rng: np.random.Generator) -> "Difference":
        """A mutant crossed with the trial whose place it competes for."""
        population = winners(compared(trials, self.mu))[: self.mu]
        order = rng.permutation(len(population))
        target, *donors = (population[index] for index in order[:4])
        names = sorted(target.trial.params)
        return Difference(
            Lineage(self.name, tuple(trial.number for trial in (target, *donors)), "rand/1/bin", self.factor),
            target.trial.params,
            tuple(donor.trial.params for donor in donors),
            self.factor,
            self.crossover,
            names[int(rng.integers(len(names)))] if names else None,
        )


@dataclass(frozen=True)
class Difference:
    """A proposal made from a target and up to three donors."""

    lineage: Lineage
    target: Mapping[str, Any]
    donors: tuple[Mapping[str, Any], ...]
    factor: float
    crossover: float
    always: str | None
    """The parameter that comes from the mutant whatever chance says."""

    def value(self, name: str, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
        """Binomial crossover of the target with the mutant; a target without the parameter has none to give."""
        of_target = name in self.target and encoding.holds(distribution, self.target[name])
        if of_target and name != self.always and rng.random() >= self.crossover:
            return self.target[name]
        return mutant(
            [self._given(donor, name, distribution, rng) for donor in self._three()], distribution, self.factor, rng
        )

    def _three(self) -> tuple[Mapping[str, Any], ...]:
        return (*self.donors, {}, {}, {})[:3]

    @staticmethod
    def _given(donor: Mapping[str, Any], name: str, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
        """The donor's value, or a random one from a donor that took another branch, and from one that is missing."""
        fresh = encoding.from_unit(rng.random(), distribution)
        return donor[name] if name in donor and encoding.holds(distribution, donor[name]) else fresh


def mutant(donors: Sequence[Any], distribution: BaseDistribution, factor: float, rng: np.random.Generator) -> Any:
    """base + F * (one - other) in the unit range, drawn anew if it falls out, as in DEHB.

    Categories have no differences: where one and other agree it is the base's, else that of any of the three.
    """
    base, one, other = donors
    if isinstance(distribution, CategoricalDistribution):
        return base if one == other else donors[int(rng.integers(3))]
    units = encoding.to_unit(donors, distribution)
    place = float(units[0] + factor * (units[1] - units[2]))
    return encoding.from_unit(place if 0 <= place <= 1 else rng.random(), distribution)


def winners(rows: Sequence[tuple[Fitness, Measured]]) -> list[Measured]:
    """The trials that hold the places now, the best first; a trial that competed for no place opens one."""
    place: dict[int, int] = {}
    holders: dict[int, tuple[Fitness, int, Measured]] = {}
    for result, trial in rows:
        place[trial.number] = at = _place(trial, place)
        if at not in holders or (result, trial.number) < holders[at][:2]:
            holders[at] = (result, trial.number, trial)
    return [trial for *_, trial in sorted(holders.values(), key=lambda row: row[:2])]


def _place(trial: Measured, place: Mapping[int, int]) -> int:
    lineage = trial.trial.user_attrs.get(LINEAGE)
    if isinstance(lineage, dict) and lineage.get("strategy") == Differential.name and lineage.get("parents"):
        target = int(lineage["parents"][0])
        return place.get(target, target)
    return trial.number
