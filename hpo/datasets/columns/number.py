"""Quantities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import CellError, Cells, text
from hpo.spec import DataSettings
from hpo.tasks.features import Feature


@dataclass(frozen=True)
class Number:
    """A column of numbers; a switch is 0 or 1."""

    kind: ClassVar[str] = "number"
    name: str
    may_miss: bool = False
    """Whether a training row lacks it: then the model is told where it is missing."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """The number itself."""
        return (Feature(self.name, may_miss=self.may_miss),)

    def encode(self, cells: Cells) -> NDArray[np.float64]:
        """The numbers `(rows, 1)`; NaN is a missing one.

        Raises:
            CellError: a cell is no number, or infinite.
        """
        try:
            numbers = np.array([math.nan if cell is None else float(cell) for cell in cells], np.float64)
        except (TypeError, ValueError, OverflowError):
            row = next(row for row, cell in enumerate(cells) if cell is not None and not _is_float(cell))
            raise CellError(
                row,
                f"column {self.name!r} must have numbers, got {text(cells[row])!r:.40}; leave a missing one empty, or"
                " name its text in `data.missing`",
            ) from None
        infinite = np.flatnonzero(np.isinf(numbers))
        if len(infinite):
            raise CellError(int(infinite[0]), f"column {self.name!r} has an infinite number; leave a missing one empty")
        return numbers[:, None]

    def decode(self, numbers: Sequence[float]) -> float | None:
        """The number; None of a missing one."""
        return None if math.isnan(numbers[0]) else float(numbers[0])

    def told(self) -> str:
        """What it is."""
        return "number, missing in some rows" if self.may_miss else "number"

    def to_json(self) -> dict[str, Any]:
        """Whether it may be missing."""
        return {"may_miss": self.may_miss}

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> Self:
        """Looks whether training rows lack it.

        Raises:
            CellError: a cell is no number.
        """
        return cls(name, bool(np.isnan(cls(name).encode(cells)).any()))

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """Back from JSON.

        Raises:
            TypeError, KeyError: it is damaged.
        """
        if not isinstance(document["may_miss"], bool):
            raise TypeError("may_miss must be true or false")
        return cls(name, document["may_miss"])


def _is_float(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
