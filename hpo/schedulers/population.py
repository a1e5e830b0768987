"""Population based training: a member that has fallen behind goes on as a child of one that leads.

Jaderberg et al. 2017, "Population Based Training of Neural Networks". A trial keeps its config: the member that has
fallen behind ends, and its child is a new trial, which begins with its parent's state and a config explored from its
parent's. Ray's own scheduler changes a running trial's config in place, which no record could tell later; it works with
no searcher, and draws from Python's global generator.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from hpo.schedulers import Explore
from hpo.schedulers.pausing import Pausing
from hpo.schedulers.scheduler import Child, Situation
from hpo.spec import Config
from hpo.study.ranking import Fitness, best_first
from hpo.study.trial import Metrics

LEAST = 3
"""Members that are compared; of fewer, none is replaced."""


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

    breeds = True

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
        self._configs: dict[int, Config] = {}
        self._stored: dict[int, int] = {}
        """Member whose state is stored -> the epoch that the state is of."""
        self._compared: set[tuple[int, int]] = set()
        """(number, epoch) of the decisions that were made."""
        self._replaced: set[int] = set()

    def started(self, number: int, config: Config, at: float) -> None:
        """A child of it begins with a change of its config."""
        self._configs[number] = config

    def waits(self, number: int, epoch: int, metrics: Metrics, situation: Situation) -> bool:
        """After every interval: only a paused trial's state is stored."""
        return self.note(number, epoch, metrics)

    def note(self, number: int, epoch: int, metrics: Metrics) -> bool:
        """What it is worth at the end of an interval; whether it is one."""
        if epoch % self._interval or epoch >= self._epochs:
            return False
        self._scores.setdefault(number, {})[epoch] = self._measure(metrics)
        return True

    def replay(self, number: int, epoch: int, metrics: Metrics, at: float, paused: bool) -> None:
        """Notes the report; a member's state was stored at the end of an interval, until the member has ended.

        One that waits within an interval, as a record that was changed may say, is compared there.
        """
        super().replay(number, epoch, metrics, at, paused)
        if paused:
            self._scores.setdefault(number, {})[epoch] = self._measure(metrics)
        if epoch in self._scores.get(number, ()):
            self._stored[number] = epoch

    def stored(self, number: int, epoch: int | None) -> None:
        """A member lends only what is stored."""
        if epoch is not None and epoch in self._scores.get(number, ()):
            self._stored[number] = epoch
        else:
            self._stored.pop(number, None)

    def waiting(self, situation: Situation) -> int | None:
        """The member that has trained least, once all have begun; of several the worst, before its leaders are gone."""
        if not situation.no_new or not self.paused:
            return None
        least = min(map(self._epoch, self.paused))
        return best_first({n: self._scores[n][least] for n in sorted(self.paused) if self._epoch(n) == least})[-1]

    def offspring(self, situation: Situation) -> Child | None:
        """The child in whose favour the waiting member is to end; None where it goes on itself."""
        number = self.waiting(situation)
        if number is None or self._stored.get(number) != self._epoch(number):  # its state is still being stored
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
        self._replaced.add(number)
        return Child(number, parent, self._stored[parent], self._explore(self._configs[parent], rng, self._resample))

    def ended(self, number: int, comparable: bool) -> None:
        """It stays in the comparison where others can be compared with it; its state is gone."""
        super().ended(number, comparable)
        self._stored.pop(number, None)
        self._configs.pop(number, None)

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
            ranked = best_first({member: at[epoch] for member, at in sorted(self._scores.items()) if epoch in at})
            if len(ranked) >= LEAST:
                share = max(1, math.floor(len(ranked) * self._quantile + 1e-9))
                last = number in ranked[len(ranked) - share :]
                return [member for member in ranked[:share] if member in self._stored] if last else []
        return []
