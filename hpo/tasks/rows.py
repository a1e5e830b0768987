"""Rows that are no single tensor: ragged ones, padded to the longest of a batch, windows, and rows in a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Rows(Protocol):
    """Rows of which batches are made."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where batches are made."""

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take on a device."""

    def to(self, device: torch.device) -> "Rows":
        """The same rows on a device."""

    def take(self, rows: NDArray[np.integer]) -> Tensor:
        """These rows in this order, as one tensor."""

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """All rows in some order, so many at a time: their numbers, and the rows."""


@dataclass(frozen=True)
class FiledRows:
    """Images `(rows, h, w, c)` in a file, of which each batch is read when it is made, into the host's memory."""

    array: NDArray[Any]
    """The array of the file, mapped."""
    rows: NDArray[np.intp]
    """The numbers of the rows that these are."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """The host, which reads files."""
        return torch.device("cpu")

    @property
    def nbytes(self) -> int:
        """None: only batches take memory."""
        return 0

    def to(self, device: torch.device) -> "FiledRows":
        """The same rows, which stay in their file."""
        return self

    def take(self, rows: NDArray[np.integer]) -> Tensor:
        """These rows in this order, `(n, h, w, c)`."""
        return torch.from_numpy(self.array[self.rows[rows]])

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """All rows in their order, so many at a time, as a network sees images: `(n, c, h, w)`."""
        for rows, images in _batches(self, np.arange(len(self)), size):
            yield rows, images.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class RaggedRows:
    """Rows of different lengths: row `i` is `values[begins[i]:begins[i] + lengths[i]]`."""

    values: Tensor
    """The values of all rows `(values,)`, on a device."""
    begins: NDArray[np.int64]
    """Where each row begins, `(rows,)`; it stays with the host, which makes batches."""
    lengths: NDArray[np.int64]
    """How many values each row has, `(rows,)`."""
    padding: float
    """What stands behind the end of a row."""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.values.nbytes

    def to(self, device: torch.device) -> "RaggedRows":
        """The same rows with their values on a device."""
        return RaggedRows(self.values.to(device), self.begins, self.lengths, self.padding)

    def take(self, rows: NDArray[np.integer]) -> Tensor:
        """These rows in this order, padded to the longest of them: `(rows, length)`."""
        lengths = torch.from_numpy(self.lengths[rows]).to(self.device)
        begins = torch.from_numpy(self.begins[rows]).to(self.device)
        steps = torch.arange(max(1, int(self.lengths[rows].max(initial=0))), device=self.device)
        inside = steps < lengths[:, None]
        values = self.values[torch.where(inside, begins[:, None] + steps, 0)]
        return torch.where(inside, values, torch.tensor(self.padding, dtype=values.dtype, device=self.device))

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """All rows, from the shortest to the longest, so many at a time: their numbers, and the padded rows."""
        return _batches(self, np.argsort(self.lengths, kind="stable"), size)


@dataclass(frozen=True)
class WindowRows:
    """Windows over series: window `i` is `values[begins[i]:begins[i] + length]`."""

    values: Tensor
    """The steps of all series `(steps, channels)`, on a device."""
    begins: NDArray[np.int64]
    """Where each window begins, `(windows,)`; it stays with the host, which makes batches."""
    length: int
    """Steps of a window."""

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def device(self) -> torch.device:
        """Where the steps are."""
        return self.values.device

    @property
    def nbytes(self) -> int:
        """Bytes of the steps, each of which is held once."""
        return self.values.nbytes

    def to(self, device: torch.device) -> "WindowRows":
        """The same windows with their steps on a device."""
        return WindowRows(self.values.to(device), self.begins, self.length)

    def take(self, rows: NDArray[np.integer]) -> Tensor:
        """These windows in this order, `(rows, length, channels)`."""
        begins = torch.from_numpy(self.begins[rows]).to(self.device)
        return self.values[begins[:, None] + torch.arange(self.length, device=self.device)]

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """All windows in their order, so many at a time: their numbers, and the windows."""
        return _batches(self, np.arange(len(self)), size)


def _batches(rows: Rows, order: NDArray[np.intp], size: int) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
    """Rows in an order, so many at a time: their numbers, and the rows; one empty batch where there are none."""
    for first in range(0, max(len(order), 1), size):
        chosen = order[first : first + size]
        yield chosen, rows.take(chosen)
