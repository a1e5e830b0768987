"""The times of a series: how far apart its steps are, which are missing, when the next ones are, and the calendar."""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import is_number, moment

Times = NDArray[np.float64]
"""Seconds since 1970 of dates, or numbers, in increasing order."""
Unit = Literal["seconds", "months", "month_ends", "numbers"]

_EPOCH = datetime.datetime(1970, 1, 1)
_HOUR, _DAY, _YEAR = 3600.0, 86_400.0, 31_556_952.0
_MONTH = (28 * _DAY, 31 * _DAY)
"""The shortest month and the longest."""
_SEASONS = {
    ("seconds", _HOUR): 24,
    ("seconds", _DAY): 7,
    **{(unit, months): int(12 / months) for unit in ("months", "month_ends") for months in (1.0, 3.0)},
}
"""What repeats, by the spacing: a day of hours, a week of days, a year of months or quarters."""
_ROUNDING = 1e-6
"""So far from a whole number of steps may a distance be, as a share of a step."""
_MOST_MISSING = 0.1
"""The most steps that may be missing of a grid, as a share, for it to be filled: else the steps have no grid."""


def time_of(cell: object) -> float | None:
    """Seconds since 1970 of a date, or a number; None where a cell is neither."""
    if is_number(cell):
        return float(str(cell))
    when = moment(cell)
    return None if when is None else (when - _EPOCH).total_seconds()


@dataclass(frozen=True)
class Spacing:
    """How far apart the steps of a series are."""

    unit: Unit
    """Seconds of dates, months from a day to the same day or from a last day to a last day, or what numbers count."""
    size: float
    """How many units from one step to the next; of uneven steps the most frequent."""

    @classmethod
    def of(cls, series: Sequence[Times], dated: bool) -> Self:
        """The spacing of series that have two steps at least, taken together.

        Args:
            series: the times of each.
            dated: whether they are dates.
        """
        distances = np.concatenate([np.diff(times) for times in series])
        if dated and _MONTH[0] <= float(np.median(distances)) and all(map(_monthly, series)):
            months = np.concatenate([np.diff(_months(times)) for times in series])
            ends = all(_ends_month(_date(time)) for times in series for time in times)
            return cls("month_ends" if ends else "months", _most_frequent(months))
        return cls("seconds" if dated else "numbers", _most_frequent(distances))

    @property
    def dated(self) -> bool:
        """Whether times are dates."""
        return self.unit != "numbers"

    @property
    def monthly(self) -> bool:
        """Whether steps are months, which differ in length."""
        return self.unit in ("months", "month_ends")

    @property
    def season(self) -> int:
        """After how many steps things repeat: 24 hours, 7 days, 12 months, 4 quarters; else 1."""
        return _SEASONS.get((self.unit, self.size), 1)

    def places(self, times: Times) -> NDArray[np.int64] | None:
        """The place of each step on a grid that begins with the first; None where they stand on none.

        They stand on none where a distance is no whole number of steps, or where a tenth of the grid has no step.
        """
        position = _months(times) - _months(times[:1]) if self.monthly else times - times[0]
        steps = position / self.size
        places = np.rint(steps)
        if np.abs(steps - places).max() > _ROUNDING or (len(times) > 1 and np.diff(places).min() < 1):
            return None
        if 1 - len(times) / (places[-1] + 1) > _MOST_MISSING:
            return None
        return places.astype(np.int64)

    def grid(self, first: float, steps: int) -> Times:
        """The times of so many steps, the first of which is given."""
        if not self.monthly:
            return np.asarray(first + self.size * np.arange(steps), np.float64)
        begin, ends = _date(first), self.unit == "month_ends"
        return np.array([_later(begin, int(self.size) * step, ends) for step in range(steps)], np.float64)

    def after(self, last: float, steps: int) -> Times:
        """The times of the next so many steps."""
        return self.grid(last, steps + 1)[1:]

    def written(self, time: float) -> str:
        """A time as text: a date, with the time of the day where steps are no whole days; a number."""
        if not self.dated:
            return f"{time:.15g}"
        when = _date(time)
        days = self.monthly or self.size % _DAY == 0
        midnight = time % _DAY == 0
        return when.date().isoformat() if days and midnight else when.isoformat()

    @property
    def cycles(self) -> tuple[str, ...]:
        """The turns of the calendar that steps go through: of the day, the week and the year."""
        if not self.dated:
            return ()
        lengths = {"day": _DAY, "week": 7 * _DAY, "year": _YEAR}
        size = self.size * _MONTH[0] if self.monthly else self.size
        return tuple(name for name, length in lengths.items() if size < length / 2)

    def calendar(self, times: Times) -> NDArray[np.float64]:
        """Sine and cosine of the place in each of the `cycles`, `(steps, 2 * cycles)`."""
        turns = {
            "day": lambda: times / _DAY,
            "week": lambda: (times / _DAY + 3) / 7,  # 1970 began on a Thursday
            "year": lambda: times / _YEAR,
        }
        angles = [2 * math.pi * turns[name]() for name in self.cycles]
        numbers = np.zeros((len(times), 2 * len(angles)))
        for place, angle in enumerate(angles):
            numbers[:, 2 * place], numbers[:, 2 * place + 1] = np.sin(angle), np.cos(angle)
        return numbers

    def told(self) -> str:
        """The distance in a few words."""
        if self.unit == "numbers":
            return f"{self.size:g}"
        named = {_DAY: "day", _HOUR: "hour", 60.0: "minute", 1.0: "second"}
        unit, size = ("month", self.size) if self.monthly else ("second", self.size)
        if not self.monthly:
            whole = (each for each in named if self.size % each == 0)
            each = next(whole, 1.0)
            unit, size = named[each], self.size / each
        return f"{size:g} {unit}{'' if size == 1 else 's'}"

    def to_json(self) -> dict[str, Any]:
        """The unit and the size."""
        return {"unit": self.unit, "size": self.size}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Back from JSON.

        Raises:
            ValueError, TypeError, KeyError: it is damaged.
        """
        unit, size = document["unit"], float(document["size"])
        if unit not in get_args(Unit) or not 0 < size < math.inf:
            raise ValueError(f"a spacing must be of {', '.join(get_args(Unit))}, and its size above 0")
        if unit in ("months", "month_ends") and not size.is_integer():
            raise ValueError("a spacing of months must be a whole number of them")
        return cls(unit, size)


def _most_frequent(distances: NDArray[np.float64]) -> float:
    sizes, counts = np.unique(distances, return_counts=True)
    return float(sizes[counts.argmax()])


def _date(time: float) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(seconds=float(time))


def _months(times: Times) -> NDArray[np.float64]:
    """Months since 1970."""
    dates = [_date(time) for time in times]
    return np.array([(date.year - 1970) * 12 + date.month - 1 for date in dates], np.float64)


def _monthly(times: Times) -> bool:
    """Whether all times are of one day of the month, or of the last one, and of one time of the day."""
    dates = [_date(time) for time in times]
    one_day = len({date.day for date in dates}) == 1 or all(map(_ends_month, dates))
    return one_day and len({date.time() for date in dates}) == 1


def _ends_month(date: datetime.datetime) -> bool:
    return (date + datetime.timedelta(days=1)).day == 1


def _later(begin: datetime.datetime, months: int, ends: bool) -> float:
    """Seconds since 1970 so many months later, on the same day of the month, or on its last one."""
    year, month = divmod(begin.year * 12 + begin.month - 1 + months, 12)
    following = datetime.datetime(year + (month == 11), (month + 1) % 12 + 1, 1)
    longest = (following - datetime.timedelta(days=1)).day
    day = longest if ends else min(begin.day, longest)
    return (begin.replace(year=year, month=month + 1, day=day) - _EPOCH).total_seconds()
