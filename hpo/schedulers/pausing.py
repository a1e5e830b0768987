"""What schedulers that pause have in common: trials stop at rungs, and somebody says which of them goes on."""

from abc import abstractmethod
from collections.abc import Set

from hpo.schedulers.scheduler import Decision, Scheduler, Situation
from hpo.study.number_set import NumberSet
from hpo.study.trial import Metrics


class Pausing(Scheduler):
    """A scheduler under which trials wait at rungs."""

    pauses = True

    def __init__(self) -> None:
        self._paused: dict[int, None] = {}
        self._numbers = NumberSet()
        """The same as an array that is cheap to ask for; long studies have thousands."""

    @property
    def paused(self) -> Set[int]:
        """The trials that wait, in the order in which they paused."""
        return self._paused.keys()

    @abstractmethod
    def waits(self, number: int, epoch: int, metrics: Metrics, situation: Situation) -> bool:
        """Whether a trial that has just reported waits now."""

    @abstractmethod
    def note(self, number: int, epoch: int, metrics: Metrics) -> object:
        """Notes what a trial is worth, and decides nothing."""

    @abstractmethod
    def waiting(self, situation: Situation) -> int | None:
        """The paused trial that is to be resumed before a new one starts; None where a new one is to start.

        `situation.reserved_for` need not be heeded.
        """

    def promote(self, number: int) -> None:
        """A trial goes on beyond the rungs that it has reached."""

    def forget(self, number: int) -> None:
        """A trial failed, diverged or was removed: others are compared with it no more."""

    def report(self, number: int, epoch: int, metrics: Metrics, situation: Situation) -> Decision:
        """Pauses the trial, or lets it go on."""
        if number == situation.reserved_for:
            self.replay(number, epoch, metrics, 0.0, paused=False)
            return Decision.CONTINUE
        if not self.waits(number, epoch, metrics, situation):
            return Decision.CONTINUE
        self._keep(number)
        return Decision.PAUSE

    def replay(self, number: int, epoch: int, metrics: Metrics, at: float, paused: bool) -> None:
        """Notes the report; the trial had been promoted from its earlier rungs, or it would not have trained."""
        self.promote(number)
        self.note(number, epoch, metrics)
        if paused:
            self._keep(number)

    def next(self, situation: Situation) -> int | None:
        """The trial that is waiting; once the last epochs are reserved, only the one that they are for."""
        if situation.reserved_for is None:
            return self.waiting(situation)
        return situation.reserved_for if situation.reserved_for in self._paused else None

    def resumed(self, number: int) -> None:
        """It is promoted, and waits no more."""
        self.promote(number)
        self._release(number)

    def ended(self, number: int, comparable: bool) -> None:
        """It waits no more."""
        self._release(number)
        if not comparable:
            self.forget(number)

    def _keep(self, number: int) -> None:
        self._paused[number] = None
        self._numbers.add(number)

    def _release(self, number: int) -> None:
        self._paused.pop(number, None)
        self._numbers.discard(number)
