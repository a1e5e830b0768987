"""Freeze-thaw scheduling: trials pause at every rung, and the sampler's model says what a free worker trains next.

Swersky et al. 2014, "Freeze-Thaw Bayesian Optimization". The sampler knows what a new config promises, so it is the one
to say whether a paused trial promises more; the scheduler keeps the rungs.
"""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import Any

from hpo.fitness import Fitness
from hpo.schedulers.pausing import Pausing


class FreezeThaw(Pausing):
    """Pauses at rungs and asks what to resume.

    Args:
        measure: metrics -> fitness; it matters only when the search ends.
        ladder: the rungs; the last is the full resource.
        resume: the model's choice, a function of the study as it stands.
    """

    def __init__(
        self,
        measure: Callable[[Mapping[str, float]], Fitness],
        ladder: Sequence[int],
        resume: Callable[[Collection[int], bool], int | None],
    ) -> None:
        super().__init__()
        self._measure, self._ladder, self._resume = measure, frozenset(ladder[:-1]), resume
        self._best: dict[int, Fitness] = {}
        self._answer: tuple[object, int | None] = (None, None)
        self._reports = 0

    def pauses(self, number: int, epoch: int, metrics: dict[str, Any]) -> bool:
        """At a rung, unless the trial itself is what should be trained next."""
        self.note(number, epoch, metrics)
        return epoch in self._ladder and self._asked({*self.paused, number}) != number

    def note(self, number: int, epoch: int, metrics: dict[str, Any]) -> None:
        """Its best so far."""
        worth = self._measure(metrics)
        self._best[number] = min(worth, self._best.get(number, worth))
        self._reports += 1

    def waiting(self) -> int | None:
        """The paused trial that the model would train next; in the end the best one, until it is trained in full."""
        if not self.paused:
            return None
        chosen = self._asked(frozenset(self.paused))
        if chosen is not None or not (self.no_new and self.idle):
            return chosen
        best = min(self._best, key=lambda number: (self._best[number], number))
        return best if best in self.paused else None

    def forget(self, number: int) -> None:
        """It cannot be the best."""
        self._best.pop(number, None)

    def _asked(self, numbers: Set[int]) -> int | None:
        """The model's choice; before the next report it is not asked again about the same trials."""
        question = (numbers, self._reports, self.no_new)
        if self._answer[0] != question:
            self._answer = (question, self._resume(numbers, not self.no_new))
        return self._answer[1]
