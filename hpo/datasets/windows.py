"""Windows over series, in one array of steps: a step is held once, however many windows it is in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Index = slice | NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of equal length: window `i` is `values[begins[i]:begins[i] + length]`."""

    values: NDArray[Any]
    """The steps of all series, one series behind the other, `(steps, channels)`."""
    begins: NDArray[np.int64]
    """Where each window begins, `(windows,)`."""
    length: int
    """Steps of a window."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Windows, steps of each, channels."""
        return len(self), self.length, self.values.shape[1]

    @property
    def ndim(self) -> int:
        """Dimensions of the windows as one array."""
        return 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return self.values.dtype

    @property
    def size(self) -> int:
        """How many numbers the windows have as one array."""
        windows, steps, channels = self.shape
        return windows * steps * channels

    @property
    def nbytes(self) -> int:
        """Bytes of the steps and of the places of the windows."""
        return self.values.nbytes + self.begins.nbytes

    @property
    def covered(self) -> NDArray[Any]:
        """The steps that are in some window, each once, `(steps, channels)`."""
        ends = np.zeros(len(self.values) + 1, np.int64)
        np.add.at(ends, self.begins, 1)
        np.add.at(ends, self.begins + self.length, -1)
        return self.values[np.cumsum(ends)[:-1] > 0]

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, rows: Index) -> Self:
        """These windows, in this order, over the same steps."""
        return type(self)(self.values, self.begins[rows], self.length)

    def dense(self) -> NDArray[Any]:
        """All windows as one array `(windows, steps, channels)`."""
        dense: NDArray[Any] = self.values[self.begins[:, None] + np.arange(self.length)]
        return dense

    def joined(self, others: Iterable[Self]) -> Self:
        """These windows and those of others behind them; steps that they share are held once."""
        steps, begins, first = [self.values], [self.begins], len(self.values)
        for other in others:
            if other.values is self.values:
                begins.append(other.begins)
                continue
            steps.append(other.values)
            begins.append(other.begins + first)
            first += len(other.values)
        values = self.values if len(steps) == 1 else np.concatenate(steps)
        return type(self)(values, np.concatenate(begins), self.length)
