"""Inputs that stay in a file: what is needed of them is read when it is needed, and memory stays flat."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hpo.errors import DataError


@dataclass(frozen=True, eq=False)
class Filed:
    """Rows of an array in an .npy file, which each process of a machine maps into its memory.

    Another machine must see the file at the same path.
    """

    path: Path
    """The file, whose array is `(rows in all, ...)`."""
    rows: NDArray[np.intp]
    """The numbers of the rows that these are, in their order."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """All rows of a file.

        Raises:
            DataError: it cannot be read.
        """
        return cls(path, np.arange(len(cls(path, np.zeros(0, np.intp)).array)))

    @cached_property
    def array(self) -> NDArray[Any]:
        """The whole array, mapped.

        Raises:
            DataError: it cannot be read.
        """
        try:
            mapped: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path}: cannot be read ({error}); each machine that trains must see this file: let --data-dir be"
                " a folder that all share"
            ) from error
        return mapped

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "rows": self.rows}  # the mapped array would be copied

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the rows together."""
        return len(self.rows), *self.array.shape[1:]

    @property
    def ndim(self) -> int:
        """Dimensions of the array."""
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the array."""
        return self.array.dtype

    @property
    def size(self) -> int:
        """How many numbers the rows have."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in memory: none, as they are in the file."""
        return 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | NDArray[np.integer[Any]]) -> Self:
        """These rows, in this order, still in the file."""
        return type(self)(self.path, self.rows[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The rows in memory."""
        rows: NDArray[Any] = np.asarray(self.array[self.rows], dtype)
        return rows


def blocks(rows: Any, size: int = 1024) -> Iterator[NDArray[Any]]:
    """Rows of an array in memory or in a file, so many at a time."""
    for first in range(0, len(rows), size):
        yield np.asarray(rows[first : first + size])
