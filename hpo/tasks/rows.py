"""Ragged rows and windows on a device: rows are padded to the longest of a batch, windows are cut for a batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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

    @property
    def by_length(self) -> NDArray[np.intp]:
        """The numbers of the rows, from the shortest to the longest: neighbours need little padding."""
        return np.argsort(self.lengths, kind="stable")

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """All rows, from the shortest to the longest, so many at a time: their numbers, and the padded rows."""
        order = self.by_length
        for first in range(0, max(len(order), 1), size):
            rows = order[first : first + size]
            yield rows, self.take(rows)


@dataclass(frozen=True)
class WindowRows:
    """Windows over series: window `i` is `values[begins[i]:begins[i] + length]`."""

    values: Tensor
    """The steps of all series `(steps, channels)`, on a device."""
    begins: Tensor
    """Where each window begins, int64 `(windows,)`, on the same device."""
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
        """Bytes of the steps and of the places of the windows."""
        return self.values.nbytes + self.begins.nbytes

    def to(self, device: torch.device) -> "WindowRows":
        """The same windows with their steps on a device."""
        return WindowRows(self.values.to(device), self.begins.to(device), self.length)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """These windows in this order, `(rows, length, channels)`."""
        return self.values[self.begins[rows][:, None] + torch.arange(self.length, device=self.device)]

    def split(self, size: int) -> Iterator[Tensor]:
        """All windows in their order, so many at a time."""
        for rows in torch.arange(len(self), device=self.device).split(size):
            yield self[rows]
