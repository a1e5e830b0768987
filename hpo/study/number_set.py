"""Sets of trials' numbers that are large, and asked for again and again."""

import numpy as np
from numpy.typing import NDArray

_ROOM = 64


class NumberSet:
    """A set of numbers from 0 on, whose array costs little however many there are."""

    def __init__(self) -> None:
        self._among = np.zeros(_ROOM, bool)

    def add(self, number: int) -> None:
        """It is there now."""
        if number >= len(self._among):
            self._among = np.concatenate([self._among, np.zeros(number + 1, bool)])
        self._among[number] = True

    def discard(self, number: int) -> None:
        """It is there no more."""
        if number < len(self._among):
            self._among[number] = False

    def array(self) -> NDArray[np.intp]:
        """All of them, in order."""
        return np.flatnonzero(self._among)
