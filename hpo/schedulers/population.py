"""Population based training: a member that has fallen behind goes on as a child of one that leads.

Jaderberg et al. 2017, "Population Based Training of Neural Networks". A trial keeps its config: the member that has
fallen behind ends, and its child is a new trial, which begins with its parent's state and a config explored from its
parent's. Ray's own scheduler changes a running trial's config in place, which no record could tell later; it works with
no searcher, and draws from Python's global generator.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.fitness import Fitness, ranking
from hpo.schedulers import Explore
from hpo.schedulers.pausing import Pausing

LEAST = 3
"""Members that are compared; of fewer, none is replaced."""


@dataclass(frozen=True)
class Child:
    """A trial to come: `number` ends for it, `parent` lends it its state after `epoch`."""

    number: int
    parent: int
    epoch: int
    config: Mapping[str, Any]


class Population(Pausing):
    """Every member pauses after each interval; whoever has trained least goes on next, itself or as another's child.

    Args:
        measure: metrics -> fitness, which is compared after the same number of epochs.
        epochs: the full resource.
        explore: makes a child's config.
        seed: of the draws.
        interval: epochs between two decisions about a member.
        quantile: the share of the population that is replaced, and the share that lends its state.
        resample: the chance that exploring draws a value anew.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        measure: Callable[[Mapping[str, float]], Fitness],
        epochs: int,
        explore: Explore,
        seed: int,
        interval: int,
        quantile: float,
        resample: float,
    ) -> None:
        super().__init__()
        if not (isinstance(interval, int) and 1 <= interval < epochs):
            raise ValueError(f"interval must be 1 to {epochs - 1} epochs, below training.epochs, got {interval}")
        if not 0 < quantile <= 0.5:
            raise ValueError(f"quantile must be above 0 and at most 0.5, got {quantile}")
        if not 0 <= resample <= 1:
            raise ValueError(f"resample must be 0 to 1, got {resample}")
        self._measure, self._epochs, self._explore, self._seed = measure, epochs, explore, seed
        self._interval, self._quantile, self._resample = interval, quantile, resample
        self._scores: dict[int, dict[int, Fitness]] = {}
        """number -> epoch -> fitness, at the ends of intervals; replaced members stay, or others would be last."""
        self._stored: dict[int, tuple[int, Mapping[str, Any]]] = {}
        """Of the members whose state is stored: the epoch that it is of, and their config."""
        self._compared: set[tuple[int, int]] = set()
        """(number, epoch) of the decisions that were made."""
        self._replaced: set[int] = set()

    def pauses(self, number: int, epoch: int, metrics: dict[str, Any]) -> bool:
        """After every interval: only a paused trial's state is stored."""
        return self.note(number, epoch, metrics)

    def note(self, number: int, epoch: int, metrics: dict[str, Any]) -> bool:
        """What it is worth at the end of an interval; whether it is one."""
        if epoch % self._interval or epoch >= self._epochs:
            return False
        self._scores.setdefault(number, {})[epoch] = self._measure(metrics)
        return True

    def recall(self, trial: Any, epoch: int, metrics: dict[str, Any], waits: bool) -> None:
        """As any; at the end of an interval it was stored, until it has ended."""
        super().recall(trial, epoch, metrics, waits)
        number = int(trial.config["number"])
        if epoch in self._scores.get(number, ()):
            self._stored[number] = (epoch, trial.config["config"])

    def keeps(self, number: int, epoch: int | None) -> None:
        """Of a trial of an earlier search: the state of this epoch is stored, or none."""
        if number in self._stored and self._stored[number][0] != epoch:
            del self._stored[number]

    def waiting(self) -> int | None:
        """The member that has trained least, once all have begun; of several the worst, before its leaders are gone."""
        if not self.no_new or not self.paused:
            return None
        least = min(map(self._epoch, self.paused))
        return ranking({n: self._scores[n][least] for n in sorted(self.paused) if self._epoch(n) == least})[-1]

    def offspring(self) -> Child | None:
        """The child in whose favour the waiting member is to end; None where it goes on itself."""
        for paused, trial in self._paused.items():
            if trial.status == "PAUSED":
                self._stored[paused] = (self._epoch(paused), trial.config["config"])
        number = self.waiting()
        if number is None or self._paused[number].status != "PAUSED":  # its state is being stored
            return None
        epoch = self._epoch(number)
        if (number, epoch) in self._compared:
            return None
        self._compared.add((number, epoch))
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, number, epoch]))
        leaders = self._leaders(number)
        if not leaders:
            return None
        parent = leaders[int(rng.integers(len(leaders)))]
        stands, config = self._stored[parent]
        self._replaced.add(number)
        return Child(number, parent, stands, self._explore(config, rng, self._resample))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """It stays in the comparison; its state is gone."""
        super().on_trial_complete(tune_controller, trial, result)
        self._stored.pop(int(trial.config["number"]), None)

    def forget(self, number: int) -> None:
        """A member that failed, diverged or was taken out is compared no more, unless a child has its place."""
        self._stored.pop(number, None)
        if number not in self._replaced:
            self._scores.pop(number, None)

    def _epoch(self, number: int) -> int:
        return max(self._scores[number])

    def _leaders(self, number: int) -> list[int]:
        """The members whose state a trial may take over; none where it is not among the last.

        They are compared at the last epoch that enough of them have reached: who comes first is not spared by that.
        """
        for epoch in sorted(self._scores[number], reverse=True):
            ranked = ranking({member: at[epoch] for member, at in sorted(self._scores.items()) if epoch in at})
            if len(ranked) >= LEAST:
                share = max(1, math.floor(len(ranked) * self._quantile + 1e-9))
                last = number in ranked[len(ranked) - share :]
                return [member for member in ranked[:share] if member in self._stored] if last else []
        return []
