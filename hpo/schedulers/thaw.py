"""Freeze-thaw scheduling: trials pause at every rung, and the sampler's model says what a free worker trains next.

Swersky et al. 2014, "Freeze-Thaw Bayesian Optimization". The sampler knows what a new config promises, so it is the one
to say whether a paused trial promises more; the scheduler keeps the rungs. A model that has seen few curves to their
end may be wrong about the others, so no trial is given up that successive halving would promote: where new trials are
what the budget limits it goes on at once, else when no new one may start. And early epochs may mislead both, so the
user's own config is trained in full where that costs nothing of the budget: what is found must beat it.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.schedulers.halving import Bracket
from hpo.schedulers.pausing import Pausing
from hpo.schedulers.scheduler import Situation
from hpo.study.ranking import Fitness
from hpo.study.trial import Metrics

_KEPT = 3
"""The best one in so many of each rung goes on, whatever the model says."""


class FreezeThaw(Pausing):
    """Pauses at rungs and asks what to resume.

    Args:
        measure: metrics -> fitness.
        ladder: the rungs; the last is the full resource.
        resume: the model's choice, a function of the study as it stands.
        by_trials: whether the number of trials is what ends the search. Then epochs cost nothing of the budget: the
            best of a rung go on at once, and so does any other that may become the best, and the next config is
            proposed by a model that has seen more.
        reference: a trial that never pauses.
    """

    def __init__(
        self,
        measure: Callable[[Mapping[str, float]], Fitness],
        ladder: Sequence[int],
        resume: Callable[[NDArray[np.intp], bool], int | None],
        by_trials: bool = False,
        reference: int | None = None,
    ) -> None:
        super().__init__()
        self._by_trials, self._reference = by_trials, reference
        self._measure, self._resume = measure, resume
        self._bracket = Bracket(ladder, _KEPT)
        self._answer: tuple[object, int | None] = (None, None)
        self._reports = 0

    def waits(self, number: int, epoch: int, metrics: Metrics, situation: Situation) -> bool:
        """At a rung, unless it is the reference, among the best there, or what the model would train next."""
        place = self.note(number, epoch, metrics)
        if place is None or epoch >= self._bracket.ladder[-1]:
            return False
        if (
            number == self._reference
            or number in self._kept(place, situation)
            or self._asked(situation, number) == number
        ):
            self.promote(number)
            return False
        return True

    def promote(self, number: int) -> None:
        """Another one of its rungs may be the next."""
        self._bracket.promote(number)

    def note(self, number: int, epoch: int, metrics: Metrics) -> int | None:
        """Notes what a trial is worth; the place on the ladder of a rung that it has just reached, else None."""
        self._reports += 1
        return self._bracket.record(number, epoch, self._measure(metrics))

    def waiting(self, situation: Situation) -> int | None:
        """The best of the highest rung that are kept, else the one that the model would train next.

        In the end one at least of each rung goes on, so one trial is trained in full.
        """
        if not self.paused:
            return None
        places = reversed(range(len(self._bracket.ladder) - 1))
        kept = (number for place in places for number in self._kept(place, situation) if number in self.paused)
        first = next(kept, None)
        return self._asked(situation) if first is None else first

    def forget(self, number: int) -> None:
        """It is compared no more."""
        self._bracket.forget(number)

    def _kept(self, place: int, situation: Situation) -> list[int]:
        """Those of a rung that go on now and have not yet, the best first."""
        if not (situation.no_new or self._by_trials):
            return []
        return self._bracket.promotable(place, closing=situation.no_new and situation.idle)

    def _asked(self, situation: Situation, *reported: int) -> int | None:
        """The model's choice of the paused trials and who has just reported.

        Before the next report it is not asked again about the same trials.
        """
        numbers = self._numbers.array()
        if reported:
            numbers = np.sort(np.append(numbers, reported))
        question = (numbers.tobytes(), self._reports, situation.no_new)
        if self._answer[0] != question:
            self._answer = (question, self._resume(numbers, not (situation.no_new or self._by_trials)))
        return self._answer[1]
