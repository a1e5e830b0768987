"""What a model is given: arrays and the columns of files are held to it, and converted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import takes_lists
from hpo.datasets.dataset import Encoding, Inputs
from hpo.datasets.notes import Notes
from hpo.datasets.ragged import Ragged
from hpo.datasets.series import Latest
from hpo.datasets.table import encode
from hpo.datasets.table_files import Rows, TableFormat
from hpo.errors import DataError
from hpo.tasks.features import Sound, Tokens, sequence

_IN_ORDER = "tables whose columns are taken in their order, since the ensemble knows no names of features"
_UNKNOWN = "columns that the model was not trained with, left out"


@dataclass(frozen=True)
class Wanted:
    """What a model is given: the shape and the numbers of an example, and how files become that."""

    shape: tuple[int, ...]
    """The shape of an example as a model sees it, which `hpo.datasets.dataset.input_shape` says."""
    encoding: Encoding = field(default_factory=Encoding)
    numbers: type[np.generic] = np.float32
    """The type of the inputs, where they are no images."""
    notes: Notes = field(default_factory=Notes, compare=False)
    """Collects what is left out or changed."""

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
        """Holds an array to it before it is read.

        Raises:
            DataError: it has another shape or type.
        """
        if self.sequence is not None or len(self.shape) == 2:
            self._check_sequence(shape, dtype, name)
            return
        if len(self.shape) == 1:
            if dtype.kind not in "fiub" or shape[1:] != self.shape:
                raise DataError(f"{name}: rows of a table must be numbers (n, {self.shape[0]}), got {dtype} {shape}")
            return
        channels, height, width = self.shape
        if dtype != np.uint8 or (*shape, 1)[1:4] != (height, width, channels) or len(shape) > 4:
            hint = "; the channels come last: np.moveaxis(images, 1, -1)" if shape[1:] == self.shape else ""
            raise DataError(
                f"{name}: images must be uint8 (n, {height}, {width}, {channels}), got {dtype} {shape}{hint}"
            )

    def _check_sequence(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
        """Holds an array of codes, samples or series to it; texts and clips may be shorter."""
        fits = shape[1:] == self.shape if len(self.shape) == 2 else len(shape) == 2 and 0 < shape[1] <= self.shape[0]
        if dtype.kind not in "fiu" or not fits:
            most = "" if len(self.shape) == 2 else " at most"
            what = "series" if self.sequence is None else f"{self.encoding.columns[0].kind} as numbers"
            raise DataError(f"{name}: must be {what} (n, {', '.join(map(str, self.shape))}{most}), got {dtype} {shape}")

    @property
    def sequence(self) -> Tokens | Sound | None:
        """What texts or clips are, where a model takes them."""
        return sequence(self.encoding.layout)

    def convert(self, rows: NDArray[Any], first: int, name: str) -> Inputs:
        """Rows of a checked array as a model takes them.

        Args:
            rows: some of the array's.
            first: the number of the first, for messages.
            name: of the array, for messages.

        Raises:
            DataError: a row of a table has an infinite value.
        """
        if self.sequence is not None:
            return np.ascontiguousarray(rows, np.dtype(self.numbers))
        if len(self.shape) == 3:
            return np.ascontiguousarray(rows if rows.ndim == 4 else rows[..., None])
        with np.errstate(over="ignore"):
            table = np.ascontiguousarray(rows, np.dtype(self.numbers))
        infinite = np.flatnonzero(np.isinf(table).any(axis=tuple(range(1, table.ndim))))
        if len(infinite):
            raise DataError(
                f"{name}: row {first + infinite[0]} (from 0 on) has an infinite value; a missing one is NaN or empty"
            )
        return table

    @property
    def table_format(self) -> TableFormat:
        """How the cells of a table's files are written, as those of the training were."""
        return TableFormat(
            self.encoding.header, self.encoding.missing, any(takes_lists(column) for column in self.encoding.columns)
        )

    def encode(self, rows: Rows) -> Inputs:
        """Rows of a table whose columns have a meaning, as a model takes them; other columns are left out.

        Raises:
            DataError: a column is missing, or a cell is not what its column is.
        """
        if self.encoding.series is not None:
            return np.stack([latest.numbers for latest in self.latest(rows)])
        known = {column.name for column in self.encoding.columns}
        for name in rows.columns:
            if name not in known:
                self.notes.add(_UNKNOWN, name)
        encoded = encode(self.encoding.columns, rows)
        return encoded if isinstance(encoded, Ragged) else self.convert(encoded, 0, "the table")

    def latest(self, rows: Rows) -> list[Latest]:
        """The window of each series of a table from which its next steps are forecast; other columns are left out.

        Raises:
            DataError: a column is missing, a cell is not what its column is, or a series is too short.
        """
        series = self.encoding.series
        assert series is not None, "the rows are steps of series"
        for name in rows.columns:
            if name not in (series.time, series.series, *series.columns):
                self.notes.add(_UNKNOWN, name)
        found = series.latest(rows, rows.file)
        return [latest._replace(numbers=self.convert(latest.numbers[None], 0, rows.file)[0]) for latest in found]

    def order(self, names: Sequence[str], where: str) -> list[int] | None:
        """The place of each feature among a file's columns; None where they are in order, or nobody knows.

        Raises:
            DataError: a feature is missing, a column is none, or one is there twice.
        """
        known = self.encoding.features
        if not known:
            self.notes.add(_IN_ORDER, where)
            return None
        places = {name: place for place, name in enumerate(names)}
        wanted = set(known)
        twice = [name for place, name in enumerate(names) if places[name] != place]
        missing = [name for name in known if name not in places]
        unknown = [name for name in places if name not in wanted]
        for found, rule in (
            (twice, "is there twice"),
            (missing, "is missing, which the ensemble was trained with"),
            (unknown, "is none that the ensemble was trained with; leave it out"),
        ):
            if found:
                more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
                raise DataError(f"{where}: column {found[0]!r:.60}{more} {rule}")
        order = [places[name] for name in known]
        return None if order == sorted(order) else order
