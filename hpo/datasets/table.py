"""A user's own table in a file: columns with names, of which some are to be predicted from the others."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets import columns
from hpo.datasets.columns import CellError, Column, moment, text
from hpo.datasets.dataset import Encoding, Examples, FloatType, Inputs, Source
from hpo.datasets.forecasting import forecasting
from hpo.datasets.notes import Notes
from hpo.datasets.precision import table_type
from hpo.datasets.split import Parts, grouped, latest, stratified
from hpo.datasets.table_files import Rows, TableFormat, read
from hpo.datasets.target_columns import classes_of, targets_of
from hpo.errors import DataError
from hpo.plugins import did_you_mean
from hpo.spec import DataSettings

_TEST_SEED = 0
"""The test rows never change, whatever the study's seed: results of all studies compare."""
_LEAKS = "columns that tell the target by themselves; `data.columns` ignores those that are not known before it"
_FEW_ROWS = 10
"""Rows of a category, on average, of which a coincidence is not to be expected."""
_SPLITS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2}
"""What a cell of `data.split` may say."""


def table(settings: DataSettings, data_dir: Path, task: str) -> Source:
    """Reads a CSV, TSV, Parquet or JSON-lines file with named columns, and what the settings say of them.

    What each column is, a number, a category or a date, is inferred from the training rows, or stated in
    `data.columns`. Test rows are those of a file, of a share that never changes, or of a column that says so. For
    forecasting the rows are steps of series, which become windows.

    Raises:
        DataError: a file cannot be read, a column is not there, or a cell is not what its column is.
    """
    return forecasting(settings) if task == "forecasting" else _Table(settings, data_dir, task).source()


class _Table:
    """One reading of a table."""

    def __init__(self, settings: DataSettings, data_dir: Path, task: str) -> None:
        self._settings, self._data_dir, self._task, self._notes = settings, data_dir, task, Notes()
        self._path = Path(str(settings.path))
        if not settings.target:
            raise DataError(f"{self._path}: data.target must name the column that is to be predicted")

    def source(self) -> Source:
        whole = self._read(self._path)
        self._check_named(whole)
        whole = self._with_targets(whole, self._path)
        if not len(whole):
            raise DataError(f"{self._path}: no row has a target")
        if self._task == "classification" and len(self._targets) == 1:
            classes_of(self._targets[0], whole.columns[self._targets[0]])  # told before they are split
        train, validation, test = self._parts(whole)
        parts = [rows for rows in (train, test, validation) if rows is not None]
        outputs, targets = targets_of(self._targets, train, parts[1:], self._task, self._notes)
        fitted = self._fitted(train)
        tables = self._inputs(fitted, parts)
        examples = [
            Examples(inputs, target, groups=self._groups_of(rows))
            for rows, inputs, target in zip(parts, tables, targets, strict=True)
        ]
        return Source(
            examples[0],
            examples[1],
            outputs,
            str(self._path),
            Encoding(columns=fitted, missing=self._settings.missing, header=self._settings.header),
            self._notes.lines(),
            validation=examples[2] if validation is not None else None,
            times=None if self._settings.time is None else _times(self._settings.time, train),
        )

    def _inputs(self, fitted: Sequence[Column], parts: Sequence[Rows]) -> list[Inputs]:
        """What a model is given for the rows of each part, of one type."""
        encoded = [_encoded(fitted, rows) for rows in parts]
        if any(columns.is_whole(column) for column in fitted):
            return encoded
        kinds = [table_type(part, rows.file) for part, rows in zip(encoded, parts, strict=True)]
        numbers: FloatType = np.float64 if np.float64 in kinds else np.float32
        return [_rounded(inputs, numbers) for inputs in encoded]

    @property
    def _targets(self) -> tuple[str, ...]:
        target = self._settings.target
        return (target,) if isinstance(target, str) else target or ()

    def _read(self, path: Path) -> Rows:
        return read(path, TableFormat(self._settings.header, self._settings.missing), self._notes)

    def _check_named(self, rows: Rows) -> None:
        """Refuses settings that name a column which is not there."""
        settings = self._settings
        named: Iterable[tuple[str, str | None]] = (
            *(("target", name) for name in self._targets),
            *(("columns", name) for name in settings.columns),
            ("groups", settings.groups),
            ("time", settings.time),
            ("split", settings.split),
        )
        for key, name in named:
            if name is not None and name not in rows.columns:
                raise DataError(
                    f"{self._path}: has no column {name!r}, which data.{key} names.{did_you_mean(name, rows.columns)}"
                )
        if not len(rows):
            raise DataError(f"{self._path}: has no rows")

    def _with_targets(self, rows: Rows, path: Path) -> Rows:
        """The rows that have all targets; those that lack one are left out and counted."""
        for name in self._targets:
            if name not in rows.columns:
                raise DataError(f"{path}: has no column {name!r}, the target.{did_you_mean(name, rows.columns)}")
        cells = [rows.columns[name] for name in self._targets]
        kept = [row for row in range(len(rows)) if all(column[row] is not None for column in cells)]
        for row in sorted(set(range(len(rows))) - set(kept)):
            self._notes.add("rows without a target left out", rows.place(row).rpartition("/")[2])
        return rows if len(kept) == len(rows) else rows.take(kept)

    def _parts(self, whole: Rows) -> tuple[Rows, Rows | None, Rows]:
        """Training rows, from which validation rows are split off later unless they are given here, and test rows."""
        settings = self._settings
        validation = test = None
        if settings.split is not None:
            whole, validation, test = self._as_said(whole, settings.split)
        if isinstance(settings.validation, str):
            validation = self._with_targets(self._read(Path(settings.validation)), Path(settings.validation))
        if isinstance(settings.test, str):
            test = self._with_targets(self._read(Path(settings.test)), Path(settings.test))
        elif test is None:
            whole, test = self._drawn(whole, settings.test)
        for what, rows in (("training", whole), ("validation", validation), ("test", test)):
            if rows is not None and not len(rows):
                raise DataError(f"{self._path}: there are no {what} rows with a target")
        return whole, validation, test

    def _as_said(self, rows: Rows, name: str) -> tuple[Rows, Rows | None, Rows | None]:
        """The parts that a column says rows to be of."""
        parts: tuple[list[int], list[int], list[int]] = ([], [], [])
        for row, cell in enumerate(rows.columns[name]):
            part = None if cell is None else _SPLITS.get(text(cell).lower())
            if part is None:
                raise DataError(
                    f"{rows.place(row)}: column {name!r} (data.split) must say train, validation or test, got"
                    f" {'nothing' if cell is None else repr(text(cell))}"
                )
            parts[part].append(row)
        train, *others = (rows.take(part) for part in parts)
        validation, test = (part if len(part) else None for part in others)
        return train, validation, test

    def _drawn(self, rows: Rows, share: float) -> tuple[Rows, Rows]:
        """Training and test rows: the latest are tested where there is a time, and groups are kept together."""
        settings = self._settings
        try:
            if settings.time is not None:
                parts = latest(_times(settings.time, rows), share)
            elif settings.groups is not None:
                parts = grouped(_groups(settings.groups, rows), share, _TEST_SEED)
            else:
                parts = self._stratified(rows, share)
        except ValueError as error:
            raise DataError(f"{self._path}: data.test {share:g} of {len(rows)} rows is not possible: {error}") from None
        train, test = parts
        return rows.take(train.tolist()), rows.take(test.tolist())

    def _stratified(self, rows: Rows, share: float) -> Parts:
        """Training and test rows drawn at random; each class keeps its share in both."""
        if self._task != "classification":
            return stratified(np.zeros(len(rows), np.intp), share, _TEST_SEED)
        labels = np.unique([text(cell) for cell in rows.columns[self._targets[0]]], return_inverse=True)[1]
        return stratified(labels, share, _TEST_SEED)

    def _fitted(self, train: Rows) -> tuple[Column, ...]:
        """What the columns are, which no setting keeps from the model."""
        settings, fitted = self._settings, []
        kept_back = {*self._targets, settings.split, settings.groups} - settings.columns.keys()
        for name in self._targets:
            if name in settings.columns:
                raise DataError(f"data.columns.{name}: is the target; leave it out")
        for name, cells in train.columns.items():
            if name in kept_back:
                continue
            try:
                column = columns.fit(name, cells, settings.columns.get(name), settings, self._notes)
            except CellError as error:
                raise train.told(error) from None
            if column is not None:
                fitted.append(column)
        fitted = self._whole_or_parts(fitted)
        if self._task == "classification":
            self._note_leaks(train, fitted)
        if not any(column.features for column in fitted):
            raise DataError(f"{self._path}: has no column that tells rows apart, beside the target; see data.columns")
        return tuple(fitted)

    def _whole_or_parts(self, fitted: Sequence[Column]) -> list[Column]:
        """The columns that a model is given: one that is the whole of an example, or those that make a row of numbers.

        A text that was not stated gives way to columns of numbers, and these to files of clips or pictures.
        """
        stated = self._settings.columns
        whole = [column for column in fitted if columns.is_whole(column)]
        parts = [column for column in fitted if column.features and not columns.is_whole(column)]
        said = [column for column in whole if column.name in stated or columns.takes_lists(column)]
        if not whole:
            return list(fitted)
        chosen = (said or whole)[0]
        if len(said) > 1 or (said and any(column.name in stated for column in parts)):
            others = [column.name for column in (*said, *parts) if column in said or column.name in stated]
            raise DataError(
                f"data.columns: {said[0].name!r} is {said[0].kind}, which is the whole of what a model is given, beside"
                f" {', '.join(repr(name) for name in others if name != said[0].name)}; state one of them, or ignore the"
                " others"
            )
        if not said and (parts or len(whole) > 1):
            for column in whole:
                self._notes.add(
                    "columns of texts left out, since a model is given one text alone or the other columns"
                    " (`data.columns: {NAME: tokens}` takes the text)",
                    column.name,
                )
            return [column for column in fitted if column not in whole]
        for column in parts:
            self._notes.add(f"columns left out, since a model is given {chosen.name!r} alone", column.name)
        return [column for column in fitted if column is chosen or not column.features]

    def _note_leaks(self, train: Rows, fitted: Sequence[Column]) -> None:
        """Notes categories that tell the target by themselves, as what is known only after it does."""
        labels = [text(cell) for cell in train.columns[self._targets[0]]]
        for column in fitted:
            if column.kind != "category":
                continue
            pairs = set(zip(train.columns[column.name], labels, strict=True))
            values = {value for value, _ in pairs}
            if len(pairs) == len(values) and len(values) * _FEW_ROWS < len(labels):
                self._notes.add(_LEAKS, column.name)

    def _groups_of(self, rows: Rows) -> NDArray[np.intp] | None:
        name = self._settings.groups
        return None if name is None or name not in rows.columns else _groups(name, rows)


def encode(fitted: Sequence[Column], rows: Rows) -> Any:
    """What a model is given for rows, by columns whose meaning is known: numbers `(rows, features)`, or texts or clips.

    Raises:
        DataError: a column is not there, or a cell is not what its column is.
    """
    missing = [column.name for column in fitted if column.name not in rows.columns]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"{rows.file}: lacks column {missing[0]!r:.60}{more}, which the model was trained with")
    return _encoded(fitted, rows)


def _encoded(fitted: Sequence[Column], rows: Rows) -> Any:
    parts = []
    for column in fitted:
        try:
            parts.append(column.encode(rows.columns[column.name]))
        except KeyError:
            raise DataError(f"{rows.file}: lacks column {column.name!r:.60}, which training rows have") from None
        except CellError as error:
            raise rows.told(error) from None
    whole = [part for part, column in zip(parts, fitted, strict=True) if columns.is_whole(column)]
    return whole[0] if whole else np.concatenate([np.asarray(part) for part in parts], axis=1)


def _rounded(inputs: NDArray[np.float64], numbers: FloatType) -> Inputs:
    return inputs if numbers is np.float64 else inputs.astype(np.float32)


def _whole(name: str, rows: Rows, key: str, known: Callable[[object], object]) -> list[object]:
    """What each cell of a column is known as.

    Raises:
        DataError: a row lacks it.
    """
    found = [None if cell is None else known(cell) for cell in rows.columns[name]]
    if None in found:
        row = found.index(None)
        got = "nothing" if rows.columns[name][row] is None else repr(text(rows.columns[name][row]))
        what = "a number or a date such as 2024-12-31" if key == "time" else "a value"
        raise DataError(f"{rows.place(row)}: column {name!r} (data.{key}) must have {what} in each row, got {got:.60}")
    return found


def _groups(name: str, rows: Rows) -> NDArray[np.intp]:
    """The number of each row's group."""
    texts = np.array(_whole(name, rows, "groups", text), np.str_)
    numbers: NDArray[np.intp] = np.unique(texts, return_inverse=True)[1]
    return numbers


def _times(name: str, rows: Rows) -> NDArray[np.float64]:
    """When each row was, in an order that is the time's."""

    def known(cell: object) -> float | None:
        if columns.is_number(cell):
            return float(str(cell))
        when = moment(cell)
        return None if when is None else when.timestamp()

    return np.array(_whole(name, rows, "time", known), np.float64)
