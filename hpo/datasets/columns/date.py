"""Dates and times: when, in which month, on which day of the week, at what hour."""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import CellError, Cells, moment, text
from hpo.spec import DataSettings
from hpo.tasks.features import Feature

_EPOCH = datetime.datetime(1970, 1, 1)
_DAY = 86_400.0


@dataclass(frozen=True)
class Date:
    """A column of dates, or of dates with times, in the form of ISO 8601."""

    kind: ClassVar[str] = "date"
    name: str
    may_miss: bool = False
    """Whether a training row lacks it."""
    timed: bool = False
    """Whether a training row has an hour."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """Days since 1970, then the codes of the month and of the weekday, and where there is a time of the hour."""
        return (
            Feature(f"{self.name} (days)", may_miss=self.may_miss),
            Feature(f"{self.name} (month)", categories=12),
            Feature(f"{self.name} (weekday)", categories=7),
            *([Feature(f"{self.name} (hour)", categories=24)] if self.timed else []),
        )

    def encode(self, cells: Cells) -> NDArray[np.float64]:
        """The numbers `(rows, features)`; of a missing date NaN days, and 0 as codes.

        Raises:
            CellError: a cell is no date.
        """
        rows = np.zeros((len(cells), len(self.features)))
        for row, cell in enumerate(cells):
            if cell is None:
                rows[row, 0] = math.nan
                continue
            when = moment(cell)
            if when is None:
                raise CellError(
                    row,
                    f"column {self.name!r} must have dates such as 2024-12-31 or 2024-12-31T23:59, got"
                    f" {text(cell)!r:.40}",
                )
            days = (when - _EPOCH).total_seconds() / _DAY
            rows[row] = (days, when.month, when.weekday() + 1, when.hour + 1)[: rows.shape[1]]
        return rows

    def decode(self, numbers: Sequence[float]) -> str | None:
        """The date in ISO form; None of a missing one."""
        if math.isnan(numbers[0]):
            return None
        when = _EPOCH + datetime.timedelta(days=float(numbers[0]))
        return when.isoformat(timespec="seconds") if self.timed else when.date().isoformat()

    def told(self) -> str:
        """What it is."""
        return f"date{' with time' if self.timed else ''}{', missing in some rows' if self.may_miss else ''}"

    def to_json(self) -> dict[str, Any]:
        """Whether it may be missing, and has hours."""
        return {"may_miss": self.may_miss, "timed": self.timed}

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> Self:
        """Looks whether training rows lack it, and whether any has a time.

        Raises:
            CellError: a cell is no date.
        """
        hours = cls(name, timed=True).encode(cells)
        return cls(name, bool(np.isnan(hours[:, 0]).any()), bool((hours[:, 0] % 1 > 0).any()))

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """Back from JSON.

        Raises:
            TypeError, KeyError: it is damaged.
        """
        known = document["may_miss"], document["timed"]
        if not all(isinstance(one, bool) for one in known):
            raise TypeError("may_miss and timed must be true or false")
        return cls(name, *known)
