"""Categories: texts, switches and numbers that are names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import MOST_CATEGORIES, CellError, Cells, text
from hpo.spec import DataSettings
from hpo.tasks.features import Feature

_MISSING = ""
"""The category of a missing value, where training rows have one."""


@dataclass(frozen=True)
class Category:
    """A column of a few different texts. One that no training row has is none of them, and no network is told it."""

    kind: ClassVar[str] = "category"
    most: ClassVar[int] = MOST_CATEGORIES
    """How many are kept."""
    name: str
    values: tuple[str, ...]
    """The categories, at most `most`, of which the codes are 1, 2, ...; "" is a missing value."""
    others: int = 0
    """How many rarer ones the training rows have, which are none of them."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """The code of the category."""
        return (Feature(self.name, categories=len(self.values)),)

    def encode(self, cells: Cells) -> NDArray[np.float64]:
        """The codes `(rows, 1)`: 0 of a category that is not known."""
        codes = (self._codes.get(_MISSING if cell is None else text(cell), 0) for cell in cells)
        return np.fromiter(codes, np.float64, len(cells))[:, None]

    def decode(self, numbers: Sequence[float]) -> str | None:
        """The category of a code; None of a missing or an unknown one."""
        code = int(numbers[0])
        return self.values[code - 1] or None if code else None

    def told(self) -> str:
        """What it is, with the first of its categories."""
        shown = ", ".join(value or "(missing)" for value in self.values[:3])
        more = ", ..." if len(self.values) > 3 else ""
        rest = f", and {self.others} rarer ones as one" if self.others else ""
        return f"{self.kind}, {len(self.values):,}: {shown:.60}{more}{rest}"

    def to_json(self) -> dict[str, Any]:
        """The categories."""
        return {"values": list(self.values), "others": self.others}

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> Self:
        """Takes the most frequent categories of the training rows, in the order of their texts.

        Raises:
            CellError: there is no row.
        """
        counted = Counter(_MISSING if cell is None else text(cell) for cell in cells)
        if not counted:
            raise CellError(0, f"column {name!r} has no rows")
        frequent = sorted(counted, key=lambda value: (-counted[value], value))[: cls.most]
        return cls(name, tuple(sorted(frequent)), len(counted) - len(frequent))

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """Back from JSON.

        Raises:
            ValueError, TypeError, KeyError: it is damaged.
        """
        values, others = tuple(document["values"]), document["others"]
        if not all(isinstance(value, str) for value in values) or type(others) is not int:
            raise TypeError("categories are texts, and the others are counted")
        if not 0 < len(set(values)) == len(values) <= cls.most:
            raise ValueError(f"there must be 1 to {cls.most} categories, all different")
        return cls(name, values, others)

    @cached_property
    def _codes(self) -> Mapping[str, int]:
        return {value: code for code, value in enumerate(self.values, start=1)}
