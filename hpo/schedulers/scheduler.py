"""What a scheduler is: it decides after each report whether a trial goes on, and which paused trial is resumed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum

from hpo.spec import Config
from hpo.study.trial import Metrics


class Decision(Enum):
    """What becomes of a trial that has reported."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True)
class Situation:
    """What a scheduler must know of the search to decide."""

    no_new: bool = False
    """Whether the last trial of the budget has started."""
    idle: bool = False
    """Whether no trial is running."""
    reserved_for: int | None = None
    """The trial that all remaining epochs are kept for: it pauses no more, and no other is resumed."""


@dataclass(frozen=True)
class Child:
    """A trial to come: trial `replaces` ends for it, and `parent` lends it its state after `epoch`."""

    replaces: int
    parent: int
    epoch: int
    config: Config


class Scheduler(ABC):
    """Decides on the trials of one search. Trials are known by their numbers.

    A search that goes on with a study tells a new scheduler everything again: `started`, then `replay` for each report
    in the order in which they were recorded, and `ended` where a trial has ended.
    """

    pauses = False
    """Whether trials wait at rungs, and any paused trial may be resumed."""
    breeds = False
    """Whether a child may take the place of a paused trial."""

    def started(self, number: int, config: Config, at: float) -> None:  # noqa: B027 - most need not know
        """A trial has begun for the first time, at this time of the study's clock."""

    @abstractmethod
    def report(self, number: int, epoch: int, metrics: Metrics, situation: Situation) -> Decision:
        """A trial has trained an epoch: what becomes of it.

        Args:
            number: the trial's.
            epoch: the last one.
            metrics: of that epoch; the objectives are finite.
            situation: of the search.
        """

    @abstractmethod
    def replay(self, number: int, epoch: int, metrics: Metrics, at: float, paused: bool) -> None:
        """A report of an earlier search, on which was decided there.

        Args:
            number: the trial's.
            epoch: the last one.
            metrics: of that epoch; the objectives are finite.
            at: the study's clock then, in seconds.
            paused: whether the trial waits since.
        """

    def next(self, situation: Situation) -> int | None:
        """The paused trial that is to be resumed before a new one starts; None where a new one is to start.

        Where no new one may start and nothing runs, None ends the search.
        """
        return None

    def resumed(self, number: int) -> None:  # noqa: B027 - most need not know
        """A paused trial goes on."""

    def stored(self, number: int, epoch: int | None) -> None:  # noqa: B027 - most need not know
        """The state of this trial is stored as it was after `epoch`; None where no state is stored."""

    def offspring(self, situation: Situation) -> Child | None:
        """A child in whose favour a paused trial is to end; None where there is none. It is asked before `next`."""
        return None

    def dismissed(self) -> list[int]:
        """Other paused trials that the scheduler has stopped since it was asked last."""
        return []

    def ended(self, number: int, comparable: bool) -> None:  # noqa: B027 - most need not know
        """A trial has ended.

        Args:
            number: the trial's.
            comparable: whether others are still compared with it; not with one that failed, diverged or was removed.
        """
