"""The series in a table of rows: which columns are their times, values and names, and what a model is given of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import CellError, is_number, text
from hpo.datasets.columns.number import Number
from hpo.datasets.spacing import Spacing, Times, time_of
from hpo.datasets.table_files import Rows
from hpo.errors import DataError
from hpo.tasks.features import History

_QUIET = 0.1
"""The least naive error of a window, as a share of that on training steps."""
NORMALIZE = ("window", "last", "none")
"""What a window may be given in relation to; `hpo.tasks.features.History` says what they are."""


@dataclass(frozen=True, eq=False)
class Track:
    """One series of a table: its steps, from the first to the last."""

    name: str
    """The value of the column that names series; empty where there is none."""
    times: Times
    """When each step was, `(steps,)`."""
    values: NDArray[np.float64]
    """What is forecast and the covariates as they were, `(steps, columns)`; NaN is a missing value."""
    rows: NDArray[np.intp]
    """The row of the table that each step is, `(steps,)`; -1 of one that is missing there."""

    def __len__(self) -> int:
        return len(self.times)


class Latest(NamedTuple):
    """What the next steps of a series are forecast from."""

    name: str
    """The value of the column that names series; empty where there is none."""
    time: float
    """When its last step was."""
    numbers: NDArray[np.floating[Any]]
    """The numbers of its last steps, `(window, channels)`."""


@dataclass(frozen=True)
class Series:
    """What was learned of the training rows, by which later rows are read."""

    target: str
    """The column that is forecast."""
    time: str
    """The column of the times."""
    series: str | None
    """The column that names series; None of a single one."""
    covariates: tuple[str, ...]
    """Columns of which a model is given the past."""
    known: tuple[str, ...]
    """Columns of which it is given the future too, as far as forecasts go."""
    window: int
    """Steps that a model is given."""
    horizon: int
    """Steps that it forecasts."""
    season: int
    """After how many steps things repeat."""
    normalize: str
    """What a window is given in relation to, one of NORMALIZE."""
    spacing: Spacing
    """How far apart steps are."""
    naive_error: float = 1.0
    """The mean error of the seasonal naive forecast on training steps."""
    overlap: int = 0
    """How many validation windows that follow a window forecast some of the steps that it does, at most."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of values, in the order of `Track.values`."""
        return (self.target, *self.covariates, *self.known)

    @property
    def channels(self) -> tuple[str, ...]:
        """The numbers of a step: those of the columns, of known ones also `horizon` steps later, and the calendar."""
        later = (f"{name} (+{self.horizon})" for name in self.known)
        turns = (f"{cycle} ({turn})" for cycle in self.spacing.cycles for turn in ("sine", "cosine"))
        return (*self.columns, *later, *turns)

    @property
    def features(self) -> tuple[History]:
        """What a model is told of its inputs."""
        own = History(
            self.target,
            channels=self.channels,
            normalize=self.normalize,
            naive_error=self.naive_error,
            overlap=self.overlap,
        )
        return (own,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the forecast steps."""
        return tuple(f"{self.target}+{step}" for step in range(1, self.horizon + 1))

    def told(self) -> Iterator[str]:
        """What the columns are taken for, a line each."""
        yield f"column {self.time!r}: times, {self.spacing.told()} apart, a season of {self.season} steps"
        yield f"column {self.target!r}: forecast {self.horizon} steps ahead, of the {self.window} before"
        if self.series is not None:
            yield f"column {self.series!r}: names the series"
        for name in self.covariates:
            yield f"column {name!r}: a covariate, whose past is known"
        for name in self.known:
            yield f"column {name!r}: a covariate that is known as far as forecasts go"

    def steps(self, track: Track) -> NDArray[np.float64]:
        """The numbers of each step that a model is given, `(steps, channels)`."""
        known = track.values[:, len(track.values[0]) - len(self.known) :] if self.known else track.values[:, :0]
        later = np.full(known.shape, math.nan)
        later[: -self.horizon] = known[self.horizon :]
        return np.concatenate([track.values, later, self.spacing.calendar(track.times)], axis=1)

    def spread(self, windows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The mean error of the naive forecast within each window, by which its own forecasts may be off, `(n,)`.

        It is the seasonal one where a window is longer than a season, else that each step is as the one before. A quiet
        window has a tenth of the error on training steps at least, one without values has just that.

        Args:
            windows: `(n, window, channels)`; the target comes first, NaN is a missing value.
        """
        lag = self.season if self.season < self.window else 1
        values = windows[:, :, 0].astype(np.float64)
        errors = np.abs(values[:, lag:] - values[:, :-lag])
        there = ~np.isnan(errors)
        total, count = np.where(there, errors, 0.0).sum(axis=1), there.sum(axis=1)
        mean = np.where(count > 0, total / np.maximum(count, 1), self.naive_error)
        return np.maximum(mean, _QUIET * self.naive_error)

    def latest(self, rows: Rows, where: str) -> list[Latest]:
        """The window of each series from which its next steps are forecast.

        A window ends with the last row that has a value of the target; what follows is the future of known columns.

        Raises:
            DataError: a column is not there, a cell is not what its column is, or a series is too short.
        """
        found = []
        for track in tracks(rows, self.time, self.series, self.columns, where):
            whole = gridded(track, self.spacing) or track
            there = np.flatnonzero(~np.isnan(whole.values[:, 0]))
            end = int(there[-1]) + 1 if len(there) else 0
            if end < self.window:
                named = "" if self.series is None else f"series {track.name!r} "
                raise DataError(
                    f"{where}: {named}has {end} steps up to its last {self.target!r}, and a forecast needs the"
                    f" {self.window} before it (data.window)"
                )
            numbers = self.steps(whole)[end - self.window : end]
            found.append(Latest(track.name, float(whole.times[end - 1]), numbers))
        return found

    def decode(self, window: NDArray[np.floating[Any]]) -> dict[str, list[Any]]:
        """Columns of rows that give the numbers of a window `(window, channels)`, its known future aside."""
        times = self.spacing.grid(0.0, self.window)
        columns: dict[str, list[Any]] = {self.time: [self._cell(time) for time in times]}
        if self.series is not None:
            columns[self.series] = ["1"] * self.window
        for place, name in enumerate(self.columns):
            columns[name] = [None if math.isnan(value) else float(value) for value in window[:, place]]
        return columns

    def _cell(self, time: float) -> str | float:
        return self.spacing.written(time) if self.spacing.dated else time

    def to_json(self) -> dict[str, Any]:
        """What was learned, as JSON has it."""
        return {
            "target": self.target,
            "time": self.time,
            "series": self.series,
            "covariates": list(self.covariates),
            "known": list(self.known),
            "window": self.window,
            "horizon": self.horizon,
            "season": self.season,
            "normalize": self.normalize,
            "spacing": self.spacing.to_json(),
            "naive_error": self.naive_error,
            "overlap": self.overlap,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Back from JSON.

        Raises:
            ValueError, TypeError, KeyError: it is damaged.
        """
        target, time, series = document["target"], document["time"], document["series"]
        covariates, known = tuple(document["covariates"]), tuple(document["known"])
        sizes = [document[name] for name in ("window", "horizon", "season")]
        names = [target, time, *([] if series is None else [series]), *covariates, *known]
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError("names of columns must be different texts")
        if not all(type(size) is int and size > 0 for size in sizes) or document["normalize"] not in NORMALIZE:
            raise ValueError(f"window, horizon and season must be above 0, and normalize one of {', '.join(NORMALIZE)}")
        naive_error = float(document["naive_error"])
        overlap = document["overlap"]
        if not 0 < naive_error < math.inf or type(overlap) is not int or overlap < 0:
            raise ValueError("naive_error must be above 0, and overlap a whole number")
        spacing = Spacing.from_json(document["spacing"])
        window, horizon, season = sizes
        given = document["normalize"]
        return cls(
            target, time, series, covariates, known, window, horizon, season, given, spacing, naive_error, overlap
        )


def tracks(rows: Rows, time: str, series: str | None, columns: Sequence[str], where: str) -> list[Track]:
    """The series of a table, in the order of their first rows.

    Args:
        rows: of the table; those of one series are in the order of their times.
        time: the column of the times.
        series: the column that names series; None of a single one.
        columns: of values.
        where: of messages.

    Raises:
        DataError: a column is not there, a cell is not what its column is, or times do not increase within a series.
    """
    for name in (time, *([] if series is None else [series]), *columns):
        if name not in rows.columns:
            raise DataError(f"{where}: lacks column {name!r:.60}, which forecasts are made from")
    times = _times(rows, time)
    names = [""] * len(rows) if series is None else [_name(rows, row, series) for row in range(len(rows))]
    members: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        members.setdefault(name, []).append(row)
    values = np.concatenate([numbers(rows, name) for name in columns], axis=1)
    found = []
    for name, own in members.items():
        chosen = np.array(own, np.intp)
        stuck = np.flatnonzero(np.diff(times[chosen]) <= 0)
        if len(stuck):
            _not_increasing(rows, time, name if series is not None else None, chosen[stuck[0]], chosen[stuck[0] + 1])
        found.append(Track(name, times[chosen], values[chosen], chosen))
    return found


def gridded(track: Track, spacing: Spacing) -> Track | None:
    """The series with a step at each place of the grid of its times, missing ones of NaN; None where there is none."""
    places = spacing.places(track.times)
    if places is None:
        return None
    steps = int(places[-1]) + 1
    values, rows = np.full((steps, track.values.shape[1]), math.nan), np.full(steps, -1, np.intp)
    values[places], rows[places] = track.values, track.rows
    return Track(track.name, spacing.grid(float(track.times[0]), steps), values, rows)


def numbers(rows: Rows, name: str) -> NDArray[np.float64]:
    """The numbers of a column `(rows, 1)`; NaN is a missing one.

    Raises:
        DataError: a cell is no number.
    """
    try:
        return Number(name).encode(rows.columns[name])
    except CellError as error:
        raise rows.told(error) from None


def _times(rows: Rows, name: str) -> Times:
    """When each row was.

    Raises:
        DataError: a cell is no time, or some are dates and others numbers.
    """
    cells = rows.columns[name]
    found = [None if cell is None else time_of(cell) for cell in cells]
    if None in found:
        row = found.index(None)
        got = "nothing" if cells[row] is None else repr(text(cells[row]))
        raise DataError(
            f"{rows.place(row)}: column {name!r} (data.time) must have a date such as 2024-12-31T23:00 or a number in"
            f" each row, got {got:.60}"
        )
    dated = [not is_number(cell) for cell in cells]
    if True in dated and False in dated:
        row = dated.index(not dated[0])
        kinds = ("a number", "dates") if dated[0] else ("a date", "numbers")
        raise DataError(
            f"{rows.place(row)}: column {name!r} (data.time) has {kinds[0]}, {text(cells[row])!r:.40}, among {kinds[1]}"
        )
    return np.array(found, np.float64)


def _name(rows: Rows, row: int, series: str) -> str:
    cell = rows.columns[series][row]
    if cell is None:
        raise DataError(
            f"{rows.place(row)}: column {series!r} (data.series) must name the series of each row, got nothing"
        )
    return text(cell)


def _not_increasing(rows: Rows, time: str, name: str | None, before: int, row: int) -> None:
    cells = rows.columns[time]
    of = "" if name is None else f" of series {name!r:.60}"
    way = "sort the rows by time" if text(cells[row]) != text(cells[before]) else "leave one of both rows out"
    if name is None:
        way += ", or name the column of several series in data.series"
    raise DataError(
        f"{rows.place(row)}: time {text(cells[row])!r:.40}{of} does not follow {text(cells[before])!r:.40} of the row"
        f" before; {way}"
    )
