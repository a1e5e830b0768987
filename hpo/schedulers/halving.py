"""Asynchronous successive halving of the promotion type: a trial pauses at its rung and goes on when it is promoted.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2. Ray's own ASHA is of the stopping
type: there the first arrivals at every rung run on, good or not, since nobody stands beside them yet.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hpo.fitness import Fitness, ranking
from hpo.schedulers.pausing import Pausing
from hpo.schedulers.rungs import bracket_sizes, rungs, turns

Reports = Mapping[int, Mapping[str, float]]
"""Epoch -> metrics."""


class Bracket:
    """One ladder of rungs: who reached which, at what cost, and who has been promoted from there."""

    def __init__(self, ladder: Sequence[int], eta: int) -> None:
        self.ladder = tuple(ladder)
        self._eta = eta
        self._reached: list[dict[int, Fitness]] = [{} for _ in ladder]
        self._promoted: list[set[int]] = [set() for _ in ladder]
        self._ranked: list[list[int] | None] = [None for _ in ladder]

    def record(self, number: int, epoch: int, worth: Fitness) -> int | None:
        """Notes what a trial is worth; returns the rung (its place on the ladder) that it has just reached, if any."""
        arrived = None
        for place, rung in enumerate(self.ladder):
            if epoch >= rung and number not in self._reached[place]:
                self._reached[place][number] = worth
                self._ranked[place] = None
                arrived = place
        return arrived

    def promotable(self, place: int, closing: bool = False) -> list[int]:
        """The trials in the best 1/eta of a rung that were not promoted yet, the best first.

        While the search is closing at least one trial of each rung goes on, so that one is trained to the end.
        """
        ranked = self._ranked[place]
        if ranked is None:
            ranked = self._ranked[place] = ranking(dict(sorted(self._reached[place].items())))
        best = ranked[: max(len(ranked) // self._eta, int(closing))]
        return [number for number in best if number not in self._promoted[place]]

    def promote(self, number: int) -> None:
        """Notes that a trial goes on beyond the rungs that it has reached."""
        for reached, promoted in zip(self._reached, self._promoted, strict=True):
            if number in reached:
                promoted.add(number)

    def forget(self, number: int) -> None:
        """Takes a trial off its rungs."""
        for place, reached in enumerate(self._reached):
            if reached.pop(number, None) is not None:
                self._ranked[place] = None


class Asha(Pausing):
    """Promotion-type ASHA, in one bracket or in several at once (asynchronous Hyperband).

    Trials are known by `config["number"]`; the bracket of a trial follows from its number alone.

    Args:
        measure: metrics -> fitness. Compared is a trial's best up to the rung; several objectives by Pareto front.
        epochs: the full resource.
        grace: the first rung of the first bracket.
        eta: one in eta goes on at each rung.
        brackets: how many; each begins one rung later than the one before.
        history: trials of an earlier search of the study, number -> epoch -> value; they keep their places.
    """

    def __init__(
        self,
        measure: Callable[[Mapping[str, float]], Fitness],
        epochs: int,
        grace: int,
        eta: int,
        brackets: int = 1,
        history: Mapping[int, Reports] | None = None,
    ) -> None:
        super().__init__()
        self._measure, self._epochs = measure, epochs
        ladder = rungs(epochs, grace, eta)
        if not 1 <= brackets <= len(ladder):
            raise ValueError(f"brackets must be 1 to {len(ladder)}, the number of rungs, got {brackets}")
        self._brackets = [Bracket(ladder[first:], eta) for first in range(brackets)]
        self._turns = turns(bracket_sizes(brackets, eta))
        self._best: dict[int, Fitness] = {}
        for number, reports in (history or {}).items():
            for epoch, metrics in sorted(reports.items()):
                self._record(number, epoch, metrics)

    def bracket(self, number: int) -> Bracket:
        """The bracket of a trial."""
        return self._brackets[self._turns[number % len(self._turns)]]

    def waiting(self) -> int | None:
        """The paused trial that is to go on next: of the highest rung, and there the best. None where none is."""
        return next((number for *_, number in sorted(self._candidates())), None)

    def pauses(self, number: int, epoch: int, metrics: dict[str, Any]) -> bool:
        """At its rung, unless it is among the best there already."""
        place = self._record(number, epoch, metrics)
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
        self._best.pop(number, None)
        self.bracket(number).forget(number)

    def _record(self, number: int, epoch: int, metrics: Mapping[str, float]) -> int | None:
        worth = self._measure(metrics)
        self._best[number] = min(worth, self._best.get(number, worth))
        return self.bracket(number).record(number, epoch, self._best[number])

    def _candidates(self) -> Iterable[tuple[int, int, int]]:
        """Promotable paused trials, as (minus the rung's epoch, place among its bracket's promotable, number)."""
        for bracket in self._brackets:
            for place, rung in enumerate(bracket.ladder[:-1]):
                for order, number in enumerate(bracket.promotable(place, closing=self.no_new and self.idle)):
                    if number in self.paused:
                        yield -rung, order, number
