"""The slots in which trials run: who holds one, whether one is free, and which are lent meanwhile."""

import time
from collections.abc import Callable

from hpo.controller.limits import Limits
from hpo.controller.live_trial import IN_SLOT, LiveTrial, LiveTrials, Phase


class Slots:
    """Moves trials into slots and out of them.

    Args:
        live: the trials that have not ended.
        limits: count what a trial in a slot uses.
        capacity: says how many slots there are now.
    """

    def __init__(self, live: LiveTrials, limits: Limits, capacity: Callable[[], int]) -> None:
        self._live, self._limits, self._capacity = live, limits, capacity

    def take(self, live: LiveTrial) -> None:
        """Gives a trial a slot, in which it trains."""
        self._live.move(live.number, Phase.TRAINING)
        live.heard, live.stored = time.monotonic(), False
        self._limits.begin(live.number)

    def free(self, live: LiveTrial, phase: Phase) -> None:
        """Takes a trial's slots back; the trial goes on to a phase without one."""
        self._live.move(live.number, phase)
        live.lent = 0
        self._limits.rest(live.number)

    def leave(self, number: int) -> None:
        """Takes the slots of a trial back that is live no more."""
        self._live.remove(number)
        self._limits.rest(number)

    @property
    def running(self) -> int:
        """How many trials run, or restart as soon as they may."""
        return self._live.count(*IN_SLOT, Phase.LOST)

    @property
    def busy(self) -> bool:
        """Whether a trial holds a slot."""
        return self._live.count(*IN_SLOT) > 0

    @property
    def is_one_free(self) -> bool:
        """Whether another trial may take a slot now: one is free, and no trial runs that must be alone."""
        held = self._live.count(*IN_SLOT)
        if held + self._live.lent >= self._capacity():
            return False
        return not (held and any(live.alone for live in self._live.among(*IN_SLOT, Phase.LOST)))

    @property
    def share(self) -> int:
        """How many free slots a running trial may use beside its own; none while a trial is to restart."""
        if self._live.count(Phase.LOST):
            return 0
        slots, running = self._capacity(), self.running
        return max(0, min(slots - running - self._live.lent, slots // max(1, running) - 1))

    def lend(self, number: int) -> int:
        """Lends a trial its share until its next report.

        Returns:
            How many slots it has beside its own.
        """
        live = self._live[number]
        live.lent = self.share
        return live.lent

    def lent(self, number: int) -> int:
        """How many slots a trial has beside its own."""
        live = self._live.get(number)
        return 0 if live is None else live.lent
