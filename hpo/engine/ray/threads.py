"""How many threads of torch a worker trains with: its trial's CPUs, and of idle ones as many as make it faster."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_WORTH = 0.9
"""Twice the threads are kept where an epoch takes no more than this share of the seconds."""
_LEAST_SECONDS = 0.1
"""Seconds that an epoch must take for more threads to gain anything."""
_MOST = 1024
"""More threads than any machine has cores."""


class Threads:
    """The threads of one trial; with more of them its sums are in another order, and its reports differ in last digits.

    Args:
        own: what its CPUs are.
    """

    def __init__(self, own: int) -> None:
        self._own = self._most = self._count = own
        self._set: int | None = None
        self._seconds = 0.0
        self._enough: int | None = None
        """The number of threads at which twice as many brought nothing."""

    def allow(self, most: int) -> None:
        """So many may be used from the next epoch on, never fewer than its own."""
        self._most, self._enough = max(self._own, most), None

    @contextmanager
    def of_an_epoch(self, exactly: int | None = None) -> Iterator[int]:
        """Sets and gives how many this epoch has, and learns from how long it takes.

        Args:
            exactly: so many, where it is an epoch that is trained once more.
        """
        count = self._next() if exactly is None else exactly
        self.use(count)
        started = time.perf_counter()
        yield count
        if exactly is None:
            self._learn(count, time.perf_counter() - started)

    def use(self, count: int) -> None:
        """Sets them, unless they are set: a training function may have set others of its own.

        A record may say any number; OpenMP ends the process where it is too large.
        """
        count = max(1, min(count, _MOST))
        if count != self._set:
            torch.set_num_threads(count)
        self._set = count

    def _next(self) -> int:
        if self._count > self._most:
            self._count, self._seconds, self._enough = self._own, 0.0, None
        twice = min(2 * self._count, self._most)
        gains = self._seconds >= _LEAST_SECONDS and self._count != self._enough
        return twice if gains else self._count

    def _learn(self, count: int, seconds: float) -> None:
        if count > self._count and seconds > _WORTH * self._seconds:
            self._enough = self._count
            return
        self._count, self._seconds = count, seconds
