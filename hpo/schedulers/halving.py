"""Asynchronous successive halving of the promotion type: a trial pauses at its rung and goes on when it is promoted.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2. Ray's own ASHA is of the stopping
type: there the first arrivals at every rung run on, good or not, since nobody stands beside them yet.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence

from hpo.schedulers.pausing import Pausing
from hpo.schedulers.rungs import bracket_sizes, rungs, turns
from hpo.schedulers.scheduler import Situation
from hpo.study.ranking import Fitness, best_first
from hpo.study.trial import Metrics

_COMPARED = 1000
"""The last to reach a rung, of several objectives."""


class Rung:
    """The trials that reached a rung, in order; with one objective nothing is ever sorted anew.

    With several objectives a front changes with everybody who arrives, so that only the last thousand are compared.
    """

    def __init__(self) -> None:
        self._worth: dict[int, Fitness] = {}
        self._order: list[tuple[Fitness, int]] = []
        self._staying: list[tuple[Fitness, int]] = []
        """Those in `_order` that were not promoted."""
        self._promoted: set[int] = set()
        self._ranked: list[int] | None = None

    @property
    def compared(self) -> int:
        """How many trials are compared."""
        return min(len(self._worth), _COMPARED) if self._many else len(self._worth)

    @property
    def _many(self) -> bool:
        return bool(self._order) and len(self._order[0][0].costs) > 1

    def __contains__(self, number: int) -> bool:
        return number in self._worth

    def add(self, number: int, worth: Fitness) -> None:
        """A trial has reached the rung."""
        self._worth[number] = worth
        self._ranked = None
        for ordered in (self._order, self._staying):
            insort(ordered, (worth, number))

    def promote(self, number: int) -> None:
        """A trial goes on from here, if it is here."""
        if number in self._worth and number not in self._promoted:
            self._promoted.add(number)
            _take(self._staying, (self._worth[number], number))

    def remove(self, number: int) -> None:
        """A trial is compared no more."""
        if number not in self._worth:
            return
        row = (self._worth.pop(number), number)
        self._ranked = None
        _take(self._order, row)
        if number not in self._promoted:
            _take(self._staying, row)
        self._promoted.discard(number)

    def staying_among(self, best: int) -> list[int]:
        """Those among the best so many that were not promoted, the best first."""
        if self._many:
            return [number for number in self._fronts()[:best] if number not in self._promoted]
        if not best or not self._order:
            return []
        return [number for _, number in self._staying[: bisect_right(self._staying, self._order[best - 1])]]

    def _fronts(self) -> list[int]:
        if self._ranked is None:
            recent = list(self._worth)[-_COMPARED:]
            self._ranked = best_first({number: self._worth[number] for number in sorted(recent)})
        return self._ranked


def _take(rows: list[tuple[Fitness, int]], row: tuple[Fitness, int]) -> None:
    del rows[bisect_left(rows, row)]


class Bracket:
    """One ladder of rungs: who reached which, at what cost, and who has been promoted from there."""

    def __init__(self, ladder: Sequence[int], eta: int) -> None:
        self.ladder = tuple(ladder)
        self._eta = eta
        self._rungs = [Rung() for _ in ladder]
        self._best: dict[int, Fitness] = {}

    def record(self, number: int, epoch: int, worth: Fitness) -> int | None:
        """Notes what a trial is worth; returns the rung (its place on the ladder) that it has just reached, if any.

        A rung compares the best that each trial had until it got there.
        """
        worth = self._best[number] = min(worth, self._best.get(number, worth))
        arrived = None
        for place, rung in enumerate(self.ladder):
            if epoch >= rung and number not in self._rungs[place]:
                self._rungs[place].add(number, worth)
                arrived = place
        return arrived

    def promotable(self, place: int, closing: bool = False) -> list[int]:
        """The trials in the best 1/eta of a rung that were not promoted yet, the best first.

        While the search is closing at least one trial of each rung goes on, so that one is trained to the end.
        """
        rung = self._rungs[place]
        return rung.staying_among(max(rung.compared // self._eta, int(closing)))

    def promote(self, number: int) -> None:
        """Notes that a trial goes on beyond the rungs that it has reached."""
        for rung in self._rungs:
            rung.promote(number)

    def forget(self, number: int) -> None:
        """Takes a trial off its rungs."""
        self._best.pop(number, None)
        for rung in self._rungs:
            rung.remove(number)


class Asha(Pausing):
    """Promotion-type ASHA, in one bracket or in several at once (asynchronous Hyperband).

    The bracket of a trial follows from its number alone.

    Args:
        measure: metrics -> fitness. Compared is a trial's best up to the rung; several objectives by Pareto front.
        epochs: the full resource.
        grace: the first rung of the first bracket.
        eta: one in eta goes on at each rung.
        brackets: how many; each begins one rung later than the one before.
    """

    def __init__(
        self,
        measure: Callable[[Mapping[str, float]], Fitness],
        epochs: int,
        grace: int,
        eta: int,
        brackets: int = 1,
    ) -> None:
        super().__init__()
        self._measure, self._epochs = measure, epochs
        ladder = rungs(epochs, grace, eta)
        if not 1 <= brackets <= len(ladder):
            raise ValueError(f"brackets must be 1 to {len(ladder)}, the number of rungs, got {brackets}")
        self._brackets = [Bracket(ladder[first:], eta) for first in range(brackets)]
        self._turns = turns(bracket_sizes(brackets, eta))

    def bracket(self, number: int) -> Bracket:
        """The bracket of a trial."""
        return self._brackets[self._turns[number % len(self._turns)]]

    def waiting(self, situation: Situation) -> int | None:
        """The paused trial that is to go on next: of the highest rung, and there the best. None where none is."""
        return min(self._candidates(situation.no_new and situation.idle), default=(0, 0, None))[2]

    def waits(self, number: int, epoch: int, metrics: Metrics, situation: Situation) -> bool:
        """At its rung, unless it is among the best there already."""
        place = self.note(number, epoch, metrics)
        if place is None or epoch >= self._epochs:
            return False
        if number in self.bracket(number).promotable(place):
            self.promote(number)
            return False
        return True

    def promote(self, number: int) -> None:
        """Gives up its places among those to be promoted."""
        self.bracket(number).promote(number)

    def forget(self, number: int) -> None:
        """Takes it off its rungs."""
        self.bracket(number).forget(number)

    def note(self, number: int, epoch: int, metrics: Metrics) -> int | None:
        """Notes what a trial is worth; the place on the ladder of a rung that it has just reached, else None."""
        return self.bracket(number).record(number, epoch, self._measure(metrics))

    def _candidates(self, closing: bool) -> Iterable[tuple[int, int, int]]:
        """Promotable paused trials, as (minus the rung's epoch, place among its bracket's promotable, number)."""
        for bracket in self._brackets:
            for place, rung in enumerate(bracket.ladder[:-1]):
                for order, number in enumerate(bracket.promotable(place, closing)):
                    if number in self._paused:
                        yield -rung, order, number
