"""Series in a file as windows: what is known at a moment, and the steps that follow it.

The past trains, what follows validates, and the last tests (rolling origins: Tashman 2000). A window is of the
part that all its forecast steps are in, so no step is forecast on two sides; its past may reach into the part before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hpo.datasets.columns import CellError, inferred, is_number, text
from hpo.datasets.dataset import Encoding, Examples, Source
from hpo.datasets.notes import Notes
from hpo.datasets.precision import check_targets, table_type
from hpo.datasets.series import Series, Track, gridded, tracks
from hpo.datasets.spacing import Spacing
from hpo.datasets.split import latest
from hpo.datasets.table_files import Rows, TableFormat, joined, read
from hpo.datasets.windows import Windows
from hpo.errors import DataError
from hpo.plugins import did_you_mean
from hpo.spec import IGNORED, DataSettings

PARTS = ("training", "validation", "test")
_TRAIN, _VALIDATION, _TEST = range(3)
_SAYS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2}
"""What a cell of `data.split` may say."""
_PAST = 4
"""Steps that a model is given for each step that it forecasts, where nobody says how many."""


def forecasting(settings: DataSettings) -> Source:
    """Reads the series of a table as windows, `data.window` steps each, with the `data.horizon` steps that follow.

    Raises:
        DataError: a file cannot be read, a column is not there, a cell is not what its column is, times do not
            increase, or there are too few steps.
    """
    return _Reading(settings).source()


class _Reading:
    """One reading of series."""

    def __init__(self, settings: DataSettings) -> None:
        self._settings, self._notes = settings, Notes()
        self._path = Path(str(settings.path))
        target = settings.target if isinstance(settings.target, str) else (settings.target or ("",))[0]
        if not target or settings.time is None or settings.horizon is None:
            raise DataError(f"{self._path}: data.target, data.time and data.horizon must say what is forecast")
        self._target, self._time, self._horizon = target, settings.time, settings.horizon
        self._window = settings.window or _PAST * settings.horizon

    def source(self) -> Source:
        rows, given = self._rows()
        self._check_named(rows)
        covariates = tuple(self._covariates(rows))
        columns = (self._target, *covariates, *self._settings.known)
        read_tracks = tracks(rows, self._time, self._settings.series, columns, str(self._path))
        spacing = self._spacing(rows, read_tracks)
        whole = [self._whole(track, spacing) for track in read_tracks]
        longest, needed = max(map(len, whole)), f"{self._window} + {self._horizon}"
        if longest < self._window + self._horizon:
            raise DataError(
                f"{self._path}: has {longest} steps, and window and horizon need {needed}; lower data.window or"
                " data.horizon"
            )
        parts = self._parts(rows, whole, given)
        series = self._series(whole, parts, spacing, covariates)
        examples, overlap = self._examples(series, whole, parts)
        series = replace(series, overlap=overlap)
        return Source(
            examples[_TRAIN],
            examples[_TEST],
            series.outputs,
            str(self._path),
            Encoding(series=series, missing=self._settings.missing, header=self._settings.header),
            self._notes.lines(),
            validation=examples[_VALIDATION],
        )

    def _rows(self) -> tuple[Rows, NDArray[np.intp] | None]:
        """All rows, one file behind the other, and where there are several files the part of each row."""
        settings = self._settings
        files: dict[int, Path] = {_TRAIN: self._path}
        for part, value in ((_VALIDATION, settings.validation), (_TEST, settings.test)):
            if isinstance(value, str):
                files[part] = Path(value)
        form = TableFormat(settings.header, settings.missing)
        read_rows = [read(path, form, self._notes) for path in files.values()]
        for path, rows in zip(files.values(), read_rows, strict=True):
            if not len(rows):
                raise DataError(f"{path}: has no rows")
        if len(files) == 1:
            return read_rows[0], None
        return joined(read_rows), np.repeat(list(files), [len(rows) for rows in read_rows])

    def _check_named(self, rows: Rows) -> None:
        """Refuses settings that name a column which is not there, or one for two things."""
        settings, roles = self._settings, dict[str, str]()
        named: Iterable[tuple[str, str | None]] = (
            ("target", self._target),
            ("time", self._time),
            ("series", settings.series),
            ("split", settings.split),
            *(("known", name) for name in settings.known),
            *(("columns", name) for name in settings.columns if name not in settings.known),
        )
        for key, name in named:
            if name is None:
                continue
            if name not in rows.columns:
                raise DataError(
                    f"{self._path}: has no column {name!r}, which data.{key} names.{did_you_mean(name, rows.columns)}"
                )
            if name in roles:
                raise DataError(f"data.{key}: column {name!r} is data.{roles[name]} already; leave one out")
            roles[name] = key

    def _covariates(self, rows: Rows) -> Iterable[str]:
        """The other columns of numbers, of which the past is known; what else there is, is noted."""
        settings = self._settings
        taken = {self._target, self._time, settings.series, settings.split, *settings.known}
        for name, cells in rows.columns.items():
            stated = settings.columns.get(name)
            if name in taken or stated == IGNORED:
                continue
            try:
                kind = stated or inferred(name, cells, self._notes)
            except CellError as error:
                raise rows.told(error) from None
            switches = kind == "category" and all(cell is None or isinstance(cell, bool) for cell in cells)
            if kind == "number" or switches:
                yield name
            elif stated is not None:
                raise DataError(
                    f"data.columns.{name}: forecasts take numbers, got {stated}; ignore it, or leave it out"
                )
            elif kind is not None:
                self._notes.add("columns left out, since forecasts take numbers alone", name)

    def _spacing(self, rows: Rows, found: Sequence[Track]) -> Spacing:
        long = [track.times for track in found if len(track) > 1]
        if not long:
            raise DataError(f"{self._path}: no series has two steps; name the column of several series in data.series")
        return Spacing.of(long, dated=not is_number(rows.columns[self._time][0]))

    def _whole(self, track: Track, spacing: Spacing) -> Track:
        """The series with its missing steps, where its times are on a grid."""
        whole = gridded(track, spacing)
        what = track.name or str(self._path)
        if whole is None:
            self._notes.add(
                f"series whose steps are not evenly {spacing.told()} apart, taken one by one as they are", what
            )
            return track
        for step in np.flatnonzero(whole.rows < 0):
            self._notes.add("steps that are missing between others", spacing.written(float(whole.times[step])))
        return whole

    def _parts(self, rows: Rows, whole: Sequence[Track], given: NDArray[np.intp] | None) -> list[NDArray[np.intp]]:
        """The part of each step of each series: by a column, by files, or by the time."""
        settings = self._settings
        if settings.split is not None:
            said = np.array([self._said(rows, row, settings.split) for row in range(len(rows))], np.intp)
            return [_in_order(_of_rows(track, said), self._path) for track in whole]
        parts = [np.zeros(len(track), np.intp) if given is None else _of_rows(track, given) for track in whole]
        times = np.concatenate([track.times for track in whole])
        joined_parts = np.concatenate(parts)
        for part, share in ((_TEST, settings.test), (_VALIDATION, settings.validation)):
            if isinstance(share, str):
                continue
            others = np.flatnonzero(joined_parts == _TRAIN)
            try:
                _, last = latest(times[others], share)
            except ValueError as error:
                raise DataError(f"{self._path}: data.{PARTS[part]} {share:g} is not possible: {error}") from None
            joined_parts[others[last]] = part
        ends = np.cumsum([len(track) for track in whole])[:-1]
        return [_in_order(part, self._path) for part in np.split(joined_parts, ends)]

    def _said(self, rows: Rows, row: int, name: str) -> int:
        cell = rows.columns[name][row]
        part = None if cell is None else _SAYS.get(text(cell).lower())
        if part is None:
            raise DataError(
                f"{rows.place(row)}: column {name!r} (data.split) must say train, validation or test, got"
                f" {'nothing' if cell is None else repr(text(cell))}"
            )
        return part

    def _series(
        self, whole: Sequence[Track], parts: Sequence[NDArray[np.intp]], spacing: Spacing, covariates: tuple[str, ...]
    ) -> Series:
        """What is known of the series, by their training steps."""
        settings = self._settings
        trained = [track.values[part == _TRAIN, 0] for track, part in zip(whole, parts, strict=True)]
        values = np.concatenate(trained)
        where = f"{self._path}: column {self._target!r}, the target,"
        there = values[~np.isnan(values)]
        if not len(there):
            raise DataError(f"{where} has no value in training steps")
        if there.min() == there.max():
            raise DataError(f"{where} is {there[0]:g} in all training steps: there is nothing to forecast")
        check_targets(values[:, None], str(self._path))
        season = settings.season or spacing.season
        error = naive_error(trained, season)
        if error is None:
            raise DataError(
                f"{where} has no two training steps that are a season of {season} apart; state a shorter one as"
                " data.season"
            )
        if error == 0:
            raise DataError(
                f"{where} repeats itself exactly after {season} training steps, so MASE has no measure; state another"
                " data.season, such as 1"
            )
        return Series(
            self._target,
            self._time,
            settings.series,
            covariates,
            settings.known,
            self._window,
            self._horizon,
            season,
            settings.normalize,
            spacing,
            error,
        )

    def _examples(
        self, series: Series, whole: Sequence[Track], parts: Sequence[NDArray[np.intp]]
    ) -> tuple[list[Examples], int]:
        """The windows of each part in the order of their times, and how many of validation overlap with one at most."""
        steps = np.concatenate([series.steps(track) for track in whole])
        steps = steps.astype(table_type(steps, str(self._path)))
        first, found = 0, []
        for track, part in zip(whole, parts, strict=True):
            places, own = self._windows_of(track, part, series.spacing)
            begin = places + self._window
            found.append((first + places, own, track.times[begin], track.times[begin + self._horizon - 1]))
            first += len(track)
        joined_windows = [np.concatenate(each) for each in zip(*found, strict=True)]
        order = np.lexsort((joined_windows[0], joined_windows[2]))
        begins, own, begin, end = (each[order] for each in joined_windows)
        target, examples = steps[:, 0].astype(np.float32), []
        for number in range(len(PARTS)):
            chosen = begins[own == number]
            if not len(chosen):
                raise DataError(self._too_short(number, parts))
            futures = target[chosen[:, None] + self._window + np.arange(self._horizon)]
            examples.append(Examples(Windows(steps, chosen, self._window), futures))
        begin, end = begin[own == _VALIDATION], end[own == _VALIDATION]
        return examples, int((np.searchsorted(begin, end, side="right") - np.arange(len(begin)) - 1).max())

    def _windows_of(
        self, track: Track, part: NDArray[np.intp], spacing: Spacing
    ) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Where the windows of a series begin, and the part of each; those that lack values are left out and noted."""
        window, horizon, none = self._window, self._horizon, np.zeros(0, np.int64)
        if len(track) < window + horizon:
            if track.name:
                self._notes.add(f"series with fewer steps than window and horizon ({window + horizon})", track.name)
            return none, none.astype(np.intp)
        missing = np.isnan(track.values[:, 0])
        ahead = sliding_window_view(part[window:], horizon)
        unknown = sliding_window_view(missing[window:], horizon).any(axis=1)
        blank = sliding_window_view(missing[: len(missing) - horizon], window).all(axis=1)
        one = ahead.min(axis=1) == ahead.max(axis=1)
        whole = one & ~unknown & ~blank
        begins = []
        for number in range(len(PARTS)):
            own = np.flatnonzero(one & (ahead[:, 0] == number))
            own = own[:: self._settings.stride]
            begins.append(own[whole[own]])
            for place in own[~whole[own]]:
                first = spacing.written(float(track.times[place + window]))
                self._notes.add("windows left out, since a step that they forecast, or all before, are missing", first)
        counts = [len(each) for each in begins]
        return np.concatenate(begins).astype(np.int64), np.repeat(np.arange(len(PARTS)), counts)

    def _too_short(self, part: int, parts: Sequence[NDArray[np.intp]]) -> str:
        """Why a part has no windows."""
        steps = max(int((each == part).sum()) for each in parts)
        needed = self._horizon + (self._window if part == _TRAIN else 0)
        return (
            f"{self._path}: has no {PARTS[part]} window: {steps} steps are for {PARTS[part]}, and {needed} without a"
            f" missing {self._target!r} are needed; change {_SHARES[part]}, or lower data.horizon"
        )


_SHARES = ("data.window", "data.validation", "data.test")


def naive_error(series: Sequence[NDArray[np.float64]], season: int) -> float | None:
    """The mean absolute error of the forecast that each step is as a season before; None where there are no two steps.

    Hyndman and Koehler 2006, "Another look at measures of forecast accuracy", the denominator of MASE; of several
    series that of all steps together.

    Args:
        series: training values of each, `(steps,)`; NaN is a missing one.
        season: in steps.
    """
    errors = np.concatenate([np.abs(values[season:] - values[:-season]) for values in series])
    errors = errors[~np.isnan(errors)]
    return float(errors.mean()) if len(errors) else None


def _of_rows(track: Track, parts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The part of each step by that of its row; a missing step is of the part before it."""
    last = np.maximum.accumulate(np.where(track.rows >= 0, np.arange(len(track)), 0))
    return parts[track.rows[last]]


def _in_order(part: NDArray[np.intp], path: Path) -> NDArray[np.intp]:
    """The parts of the steps of a series, if each follows the one before."""
    if (np.diff(part) < 0).any():
        raise DataError(
            f"{path}: in a series training must come before validation, and that before the test; sort its rows, or"
            " leave data.split out"
        )
    return part
