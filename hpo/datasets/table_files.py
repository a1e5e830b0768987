"""Rows of a table as people have them: CSV, TSV, Parquet, JSON lines, DataFrames. Read a part at a time, or whole."""

import base64
import csv
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from hpo.datasets.columns import CellError, Cells
from hpo.datasets.notes import Notes
from hpo.errors import DataError
from hpo.spec import TABLES

ROWS = 4096
"""Rows that are read together."""
_SEPARATORS = ",;\t|"
_PLAIN = (str, int, float, bool)
_BLANK = "blank lines left out"
_EXTENSION = b"ARROW:extension:name"


@dataclass(frozen=True)
class TableFormat:
    """How the cells of a table's files are written."""

    header: bool = True
    """Whether the first line of a CSV or TSV file names the columns; else they are `column_1`, `column_2`, ..."""
    missing: tuple[str, ...] = ()
    """Texts that mean a missing value, beside an empty cell."""
    lists: bool = False
    """Whether a cell may be a list of numbers, as a clip is."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a table, column by column."""

    columns: Mapping[str, Cells]
    """The cells of each column, by its name; all have as many."""
    place: Callable[[int], str]
    """Says where a row stands, for messages."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def file(self) -> str:
        """The file that the rows are of, for messages."""
        return self.place(0).rpartition(":")[0] if len(self) else "the table"

    def take(self, rows: Sequence[int]) -> Self:
        """These rows, in this order."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return type(self)(columns, lambda row: self.place(rows[row]))

    def told(self, error: CellError) -> DataError:
        """The error of a cell with the place where it stands."""
        return DataError(f"{self.place(error.row)}: {error}")


def read(path: Path, written: TableFormat, notes: Notes) -> Rows:
    """All rows of a file.

    Args:
        path: of a CSV, TSV, Parquet or JSON-lines file, by its suffix.
        written: how its cells are written.
        notes: is told what is left out.

    Raises:
        DataError: it cannot be read, or a row has other columns than the header.
    """
    return joined(list(batches(path, written, notes)))


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows one behind the other; a column that a part lacks has no values there."""
    names = dict.fromkeys(name for part in parts for name in part.columns)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for part in parts:
        for name, cells in columns.items():
            cells.extend(part.columns.get(name, [None] * len(part)))
    ends = list(accumulate(map(len, parts)))

    def place(row: int) -> str:
        part = bisect_right(ends, row)
        return parts[part].place(row - (ends[part - 1] if part else 0))

    return Rows(columns, place)


def batches(path: Path, written: TableFormat, notes: Notes) -> Iterator[Rows]:
    """The rows of a file, `ROWS` at a time; the last part has fewer, and an empty table is one part without rows.

    Raises:
        DataError: it cannot be read, or a row has other columns than the header.
    """
    suffix = path.suffix.lower()
    if suffix not in TABLES:
        raise DataError(f"{path}: is no table by its name, which must end in {', '.join(TABLES)}")
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is a folder, a pipe or a device, and no file")
    try:
        if suffix == ".parquet":
            yield from _of_parquet(path, written)
        else:
            with path.open("rb") as file:
                lines = _decoded(file, path)
                yield from (
                    _of_json(lines, path, written, notes)
                    if suffix in (".jsonl", ".ndjson")
                    else _of_csv(lines, path, written, notes)
                )
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def of_frame(frame: Any, written: TableFormat, name: str) -> Rows:
    """The rows of a pandas DataFrame, or of a mapping of names to arrays or lists.

    Raises:
        DataError: its columns differ in length, or a cell is no number, text, switch or date.
    """
    columns = {}
    for key in frame.columns if hasattr(frame, "columns") else frame:
        cells = frame[key]
        if hasattr(cells, "notna"):
            cells = cells.astype(object).where(cells.notna(), None)
        columns[str(key)] = cells.tolist() if hasattr(cells, "tolist") else list(cells)
    sizes = {name: len(cells) for name, cells in columns.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(f"{name}: its columns differ in length: {', '.join(f'{key} {sizes[key]}' for key in sizes)}")

    def place(row: int) -> str:
        return f"{name}: row {row} (from 0 on)"

    return Rows(_typed(columns, written, place), place)


def _decoded(lines: Iterable[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number}: byte 0x{line[error.start]:02x} is no UTF-8; save the file as UTF-8, or convert it"
                " with `iconv -f latin1 -t utf-8`"
            ) from None


def _of_csv(lines: Iterator[str], path: Path, written: TableFormat, notes: Notes) -> Iterator[Rows]:
    tabs = path.suffix.lower() == ".tsv"
    first = next(lines, "")
    separator = "\t" if tabs else max(_SEPARATORS, key=first.count)
    reader = csv.reader(
        _again(first, lines), delimiter=separator, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    )
    try:
        head = next(reader, [])
        names = [cell.strip() for cell in head] if written.header else [f"column_{n}" for n in range(1, len(head) + 1)]
        _check_names(names, path)
        rows = _rows_of(reader, names, path, notes)
        if not written.header:
            rows = _again((1, head), rows)
        missing = {"", *written.missing}
        while True:
            part = list(islice(rows, ROWS))
            cells = zip(*(row for _, row in part), strict=True) if part else ((),) * len(names)
            columns = {
                name: [None if (cell := raw.strip()) in missing else cell for raw in column]
                for name, column in zip(names, cells, strict=True)
            }
            numbers = [line for line, _ in part]
            yield Rows(columns, lambda row, numbers=numbers: f"{path}:{numbers[row]}")  # type: ignore[misc]
            if len(part) < ROWS:
                return
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: cannot be read as CSV: {error}") from error


def _again(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


def _check_names(names: Sequence[str], path: Path) -> None:
    """Refuses a header that does not name each column once."""
    if not names:
        raise DataError(f"{path}: is empty")
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if "" in names or twice:
        fault = (
            f"names {twice[0]!r:.60} twice" if twice and twice[0] else f"leaves column {names.index('') + 1} unnamed"
        )
        raise DataError(f"{path}:1: the header {fault}; mend it, or write `data.header: false` where there is none")


def _rows_of(reader: Any, names: Sequence[str], path: Path, notes: Notes) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line numbers."""
    for row in reader:
        if not row and len(names) > 1:
            notes.add(_BLANK, f"{path.name}:{reader.line_num}")
        elif len(row or [""]) != len(names):
            raise DataError(
                f"{path}:{reader.line_num}: has {len(row)} cells, and the first line {len(names)}; quote cells that"
                " have the separator in them"
            )
        else:
            yield reader.line_num, row or [""]


def _of_json(lines: Iterator[str], path: Path, written: TableFormat, notes: Notes) -> Iterator[Rows]:
    numbered = enumerate(lines, start=1)
    while True:
        part: list[tuple[int, dict[str, Any]]] = []
        for number, line in numbered:
            if not line.strip():
                notes.add(_BLANK, f"{path.name}:{number}")
                continue
            part.append((number, _object(line, f"{path}:{number}")))
            if len(part) == ROWS:
                break
        names = dict.fromkeys(name for _, row in part for name in row)
        numbers = [number for number, _ in part]

        def place(row: int, numbers: list[int] = numbers) -> str:
            return f"{path}:{numbers[row]}"

        yield Rows(_typed({name: [row.get(name) for _, row in part] for name in names}, written, place), place)
        if len(part) < ROWS:
            return


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f'{place}: must be an object such as {{"age": 31}}, got {line.strip():.40}')
    return found


def _of_parquet(path: Path, written: TableFormat) -> Iterator[Rows]:
    import pyarrow

    first = 0
    try:
        with path.open("rb") as content, _plain_parquet(content, path) as file:
            for field in file.schema_arrow:
                if not _is_plain(field.type):
                    raise DataError(
                        f"{path}: column {field.name!r} must have numbers, texts, switches or dates, got {field.type}"
                    )
            for part in file.iter_batches(ROWS):

                def place(row: int, first: int = first) -> str:
                    return f"{path}: row {first + row} (from 0 on)"

                columns = {name: _listed(part.column(name)) for name in part.schema.names}
                yield Rows(_typed(columns, written, place), place)
                first += len(part)
            if not first:
                yield Rows({name: [] for name in file.schema_arrow.names}, lambda row: str(path))
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def frame_of_parquet(path: Path) -> Any:
    """A Parquet file of plain types as a DataFrame of pandas.

    Raises:
        DataError: a column is of a type that another package defines.
        ValueError, OSError: it is no Parquet file.
    """
    with path.open("rb") as content, _plain_parquet(content, path) as file:
        return file.read().to_pandas()


def _plain_parquet(content: BinaryIO, path: Path) -> Any:
    """A Parquet file whose types are none that packages register with Arrow: some unpickle what they read.

    The file is opened once, and its description is read once: whoever changes it meanwhile changes no type.

    Raises:
        DataError: a column is of such a type.
        ValueError: it is no Parquet file.
    """
    from pyarrow import parquet

    described = parquet.read_metadata(content)
    schema = (described.metadata or {}).get(b"ARROW:schema", b"")
    if _EXTENSION in schema or _EXTENSION in base64.b64decode(schema, validate=False):
        raise DataError(f"{path}: has a column of a type that another package defines; store numbers, texts or dates")
    content.seek(0)
    return parquet.ParquetFile(content, metadata=described)


def _is_plain(kind: Any) -> bool:
    """Whether a type of Arrow's is of numbers, texts, switches or dates, and nothing nested."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(is_one(kind) for is_one in (*plain, types.is_date, types.is_timestamp, types.is_decimal, types.is_null))


def _listed(column: Any) -> list[Any]:
    """The values of an Arrow array, of times in microseconds, which is what Python has."""
    import pyarrow

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        column = column.dictionary_decode()
    elif pyarrow.types.is_decimal(kind):
        column = column.cast(pyarrow.float64())
    elif pyarrow.types.is_timestamp(kind):
        column = column.cast(pyarrow.timestamp("us", kind.tz), safe=False)
    listed: list[Any] = column.to_pylist()
    return listed


def _typed(columns: Mapping[str, list[Any]], written: TableFormat, place: Callable[[int], str]) -> dict[str, Cells]:
    """Typed cells, in which None stands for what is missing.

    Raises:
        DataError: a cell is no number, text, switch or date.
    """
    missing = {"", *written.missing}
    return {
        name: [
            cell if written.lists and isinstance(cell, list | np.ndarray) else _cell(cell, missing, name, place, row)
            for row, cell in enumerate(cells)
        ]
        for name, cells in columns.items()
    }


def _cell(cell: Any, missing: set[str], name: str, place: Callable[[int], str], row: int) -> Any:
    if isinstance(cell, str):
        stripped = cell.strip()
        return None if stripped in missing else stripped
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, _PLAIN) or hasattr(cell, "isoformat"):
        return cell
    raise DataError(
        f"{place(row)}: column {name!r} must have numbers, texts, switches or dates, got {type(cell).__name__}"
        f" {cell!s:.40}"
    )
