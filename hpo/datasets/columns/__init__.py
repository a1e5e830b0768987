"""The columns of a table, one file a kind: what their cells mean, and which numbers a model is given for them.

A kind such as `tokens` is the whole of an example, and then the only column that a model is given.

A cell is None where the value is missing, else a text, as it stands in a CSV file, or a typed value, as Parquet, JSON
and DataFrames have it: a number, a switch, a date. What a column means is learned from the training rows, once: later
rows are read as those were.
"""

import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.notes import Notes
from hpo.datasets.ragged import Ragged
from hpo.errors import HpoError
from hpo.plugins import Registry
from hpo.spec import IGNORED, DataSettings
from hpo.tasks.features import Feature

Cells = Sequence[Any]
"""The cells of a column, from its first row to its last."""
COLUMNS = Registry(
    "kind of column",
    {
        "number": "hpo.datasets.columns.number:Number",
        "category": "hpo.datasets.columns.category:Category",
        "entity": "hpo.datasets.columns.entity:Entity",
        "date": "hpo.datasets.columns.date:Date",
        "ids": "hpo.datasets.columns.ids:Ids",
        "tokens": "hpo.datasets.columns.tokens:Tokens",
        "audio": "hpo.datasets.columns.audio:Audio",
        "image": "hpo.datasets.columns.image:Image",
    },
)
"""Name -> class; a user's own goes by `module:Class`."""
MOST_CATEGORIES = 255
"""The most categories of a column: the most frequent ones; all others are one that the model does not know."""
_FEW = 20
"""Different texts that are few, however few rows there are."""
_WHOLLY_DIFFERENT = 0.5
"""The share of rows with a text of their own from which on a column of texts tells rows apart, and is no category."""
_OF_FILES = ("audio", "image")
"""Kinds whose cells are paths of files, known by how their names end."""
_STRAY = 5
"""Different texts that may be stray among numbers, such as `?` and `n/a`."""
_WORDS = 3.0
"""Words that a text has on average from which on it is one to read, and no name."""


class Column(Protocol):
    """A column whose meaning has been learned."""

    kind: ClassVar[str]
    """Name of the kind in `data.columns`."""

    @property
    def name(self) -> str:
        """The name of the column."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """What a model is given for a cell."""

    def encode(self, cells: Cells) -> NDArray[Any] | Ragged:
        """The numbers of cells: float64 `(rows, features)`, in which NaN is a missing quantity.

        Of a kind that is the whole of an example they are what `hpo.datasets.Examples` takes.

        Raises:
            CellError: a cell is not of the kind.
        """

    def decode(self, numbers: Sequence[float]) -> Any:
        """A cell that has these numbers, one a feature: an example of what the column takes."""

    def told(self) -> str:
        """What it is, in a few words."""

    def to_json(self) -> dict[str, Any]:
        """What was learned, beside the name and the kind."""

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> "Column":
        """Learns what the cells of the training rows mean.

        Args:
            name: of the column.
            cells: of the training rows.
            settings: the `data` section.

        Raises:
            CellError: a cell is not of the kind.
        """

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> "Column":
        """Back from JSON.

        Raises:
            ValueError, TypeError, KeyError: it is damaged.
        """


class CellError(HpoError):
    """A cell breaks the rule of its column.

    Args:
        row: of the cells that were read, from 0 on.
        message: the rule, the value, and the way out.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def column(kind: str) -> type[Column]:
    """The class of a kind of column, by its name or by the import path of a user's own.

    Raises:
        InputError: there is none, or it is the user's own and not named in this process.
    """
    found: type[Column] = COLUMNS.load(kind)
    return found


def fit(name: str, cells: Cells, kind: str | None, settings: DataSettings, notes: Notes) -> Column | None:
    """What a column of training rows means.

    Args:
        name: of the column.
        cells: of the training rows.
        kind: as the user has stated it; None where it is to be inferred.
        settings: the `data` section.
        notes: is told of a column that is left out.

    Returns:
        The column; None of one that is left out.

    Raises:
        CellError: a cell is not of the stated kind, or stray among numbers.
    """
    found = kind or kind_of_files(cells, settings) or inferred(name, cells, notes)
    return None if found is None or found == IGNORED else column(found).fit(name, cells, settings)


def is_whole(column: Column) -> bool:
    """Whether a column is the whole of an example, beside which a model is given no other."""
    return getattr(column, "whole", False)


def takes_lists(column: Column) -> bool:
    """Whether a cell of a column may be numbers instead of a path, as where a model is served."""
    return getattr(column, "lists", False)


def kind_of_files(cells: Cells, settings: DataSettings) -> str | None:
    """The kind of a column whose cells all name files of it, of which the first is there; None of any other column.

    Args:
        cells: of the training rows.
        settings: the `data` section, beside whose file relative paths begin.
    """
    there = [cell for cell in cells if cell is not None]
    if not there or not isinstance(there[0], str) or not Path(there[0]).suffix:
        return None
    try:
        if not (Path(settings.path or ".").parent / Path(there[0]).expanduser()).is_file():
            return None
    except (OSError, RuntimeError, ValueError):  # a name that no file system takes
        return None
    for kind in _OF_FILES:
        ends: tuple[str, ...] = getattr(column(kind), "ends", ())
        if all(isinstance(cell, str) and cell.lower().endswith(ends) for cell in there):
            return kind
    return None


def inferred(name: str, cells: Cells, notes: Notes) -> str | None:
    """The kind of a column by the cells of its training rows; None of one that says nothing, which is noted.

    Raises:
        CellError: a few texts are stray among numbers.
    """
    there = [cell for cell in cells if cell is not None]
    different = {text(cell) for cell in there}
    if len(different) < 2:
        notes.add("columns left out, since all rows have the same value there", name)
        return None
    if all(isinstance(cell, bool) for cell in there):
        return "category"
    numbers = sum(is_number(cell) for cell in there)
    if numbers == len(there):
        if _counts_rows(there):
            notes.add("columns that count the rows, which a model may learn by heart (`data.columns`: ids)", name)
        return "number"
    if all(is_date(cell) for cell in there):
        return "date"
    stray = {text(cell) for cell in there if not is_number(cell)}
    if numbers > len(there) / 2 and len(stray) <= _STRAY:
        row = next(row for row, cell in enumerate(cells) if cell is not None and not is_number(cell))
        raise CellError(
            row,
            f"column {name!r} has {text(cells[row])!r:.40} among numbers; name it in `data.missing` if it means that"
            f" the value is missing, or state `data.columns: {{{name}: category}}`",
        )
    if len(different) > max(_FEW, _WHOLLY_DIFFERENT * len(there)):
        if sum(len(text(cell).split()) for cell in there) >= _WORDS * len(there):
            return "tokens"
        notes.add("columns of texts left out, since nearly each row has one of its own", name)
        return None
    return "category"


def text(cell: Any) -> str:
    """A cell as text: a whole number has no point, and a date its ISO form."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell.isoformat() if isinstance(cell, datetime.date) else str(cell)


def is_number(cell: Any) -> bool:
    """Whether a cell that is there is a finite number, or the text of one."""
    if isinstance(cell, str):
        try:
            return math.isfinite(float(cell))
        except ValueError:
            return False
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def is_date(cell: Any) -> bool:
    """Whether a cell that is there is a date or a time, or the text of one in the form of ISO 8601."""
    return isinstance(cell, datetime.date) or (isinstance(cell, str) and moment(cell) is not None)


def moment(cell: Any) -> datetime.datetime | None:
    """The moment of a date or of its text, in UTC where it has a zone; None where it is none."""
    if isinstance(cell, str):
        try:
            cell = datetime.datetime.fromisoformat(cell) if not cell.isdigit() else None
        except ValueError:
            return None
    if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
        cell = datetime.datetime(cell.year, cell.month, cell.day)
    if not isinstance(cell, datetime.datetime):
        return None
    return cell if cell.tzinfo is None else cell.astimezone(datetime.UTC).replace(tzinfo=None)


def _counts_rows(cells: Cells) -> bool:
    """Whether numbers go up by one from row to row."""
    if len(cells) <= _FEW:
        return False
    numbers = np.array(cells, np.float64)
    return bool((np.diff(numbers) == 1).all())
