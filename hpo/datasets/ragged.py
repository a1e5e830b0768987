"""Inputs of different lengths, such as texts and clips, in one array of values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.filed import Filed
from hpo.datasets.windows import Windows

Index = slice | NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of values, each as long as it is: row `i` is `values[offsets[i]:offsets[i + 1]]`."""

    values: NDArray[Any]
    """The values of all rows, one row behind the other, `(values,)`."""
    offsets: NDArray[np.int64]
    """Where each row begins, and where the last one ends, `(rows + 1,)`."""
    limit: int
    """The most values of a row."""
    padding: float
    """The value behind the end of a row, where it stands beside longer ones; no row holds it."""

    @classmethod
    def of(cls, rows: Sequence[NDArray[Any]], limit: int, padding: float, dtype: Any) -> Self:
        """Joins rows `(length,)`, of each the first `limit` values.

        Args:
            rows: each of one value at least.
            limit: the most values that are kept of a row.
            padding: a value that no row holds.
            dtype: of the values.
        """
        cut = [np.asarray(row, dtype)[:limit] for row in rows]
        offsets = np.zeros(len(cut) + 1, np.int64)
        np.cumsum([len(row) for row in cut], out=offsets[1:])
        return cls(np.concatenate([np.zeros(0, dtype), *cut]), offsets, limit, padding)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many values each row has, `(rows,)`."""
        return np.diff(self.offsets)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and the most values of one."""
        return len(self), self.limit

    @property
    def ndim(self) -> int:
        """Dimensions of the padded rows."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return self.values.dtype

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.values.size

    @property
    def nbytes(self) -> int:
        """Bytes of the values and of the places of the rows."""
        return self.values.nbytes + self.offsets.nbytes

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: Index) -> Self:
        """These rows, in this order."""
        chosen = np.arange(len(self))[rows]
        lengths = self.lengths[chosen]
        offsets = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return type(self)(self.values[places], offsets, self.limit, self.padding)

    def padded(self, length: int | None = None) -> NDArray[Any]:
        """All rows as one array `(rows, length)`; as long as the longest row where no length is given."""
        lengths = self.lengths
        width = max(int(lengths.max(initial=0)), 1) if length is None else length
        padded = np.full((len(self), width), self.padding, self.dtype)
        padded[np.arange(width) < lengths[:, None]] = self.values
        return padded

    def joined(self, others: Iterable[Self]) -> Self:
        """These rows and those of others behind them."""
        parts = [self, *others]
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return type(self)(np.concatenate([part.values for part in parts]), offsets, self.limit, self.padding)


def joined(parts: Sequence[Any]) -> Any:
    """Arrays of rows, ragged rows, windows, or rows in one file, one behind the other."""
    first = parts[0]
    if isinstance(first, Ragged | Windows):
        return first.joined(parts[1:])
    if isinstance(first, Filed) and all(isinstance(part, Filed) and part.path == first.path for part in parts):
        return Filed(first.path, np.concatenate([part.rows for part in parts]))
    return np.concatenate(parts)
