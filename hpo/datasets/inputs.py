"""What a user wants predicted: image files, folders, arrays and tables, read batch by batch."""

import csv
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import text
from hpo.datasets.columns.ids import Ids
from hpo.datasets.conversion import Wanted
from hpo.datasets.dataset import Inputs
from hpo.datasets.images import SUFFIXES, image_files, read_image
from hpo.datasets.npz import name_of
from hpo.datasets.ragged import joined
from hpo.datasets.series import Latest
from hpo.datasets.table_files import Rows, batches, of_frame, read
from hpo.errors import DataError

Batch = tuple[list[str], Inputs]
"""Names, and as many inputs, which `hpo.datasets.dataset.Inputs` describes."""

_KEYS = ("x_test", "x")
_NAMES = "feature_names"
_MISSING = ("", "?", "na", "n/a", "null", "none")
"""How people write a missing value."""
_MOST_ROWS, _MOST_BYTES = 512, 64 * 2**20
"""Limits of a batch; it has one row at least, however large."""


def input_batches(source: Any, wanted: Wanted) -> Iterator[Batch]:
    """Reads inputs a few at a time, so that memory stays flat however many there are.

    Image files are read when it is their turn, an .npy file is mapped into memory, an array in an .npz file is unpacked
    as it is needed (`x_test`, or else `x`), a .csv file is read line by line. Columns that have names, in the header of
    a .csv or as `feature_names` of an .npz file, are put into the order of the training.

    A table whose columns have a meaning, such as categories, is read by their names, in any order; others are left out.
    Where its rows are steps of series, an input is the last window of each series, and its name is that of the series.

    Args:
        source: of images an image file, a folder of image files, an .npy or .npz file, or an array `(n, h, w)` or
            `(n, h, w, c)` uint8; of a table a .csv file with a header and a column a feature (an empty cell is a
            missing value, and so is a blank line where there is one feature), an .npy or .npz file, or an array
            `(n, features)` of numbers; of columns with a meaning a .csv, .tsv, .parquet or .jsonl file, a DataFrame, or
            a mapping of names to lists.
        wanted: what the model is given; image files are scaled to its shape, arrays are not.

    Yields:
        Batches of 512 inputs at most, fewer where these would take more than 64 MiB; one empty batch where there are
        none. Names are those of image files, or row numbers from 0 on.

    Raises:
        DataError: the source cannot be read, or does not hold what the model wants.
    """
    if not isinstance(source, str | Path):
        if wanted.encoding.series is not None and not isinstance(source, np.ndarray):
            yield _of_series(latest_of(source, wanted))
            return
        if wanted.encoding.columns and not isinstance(source, np.ndarray):
            yield from _of_columns([of_frame(source, wanted.table_format, "the table")], wanted)
            return
        yield from _of_array(np.asarray(source), wanted, "the array")
        return
    path, table = Path(source).expanduser(), len(wanted.shape) == 1
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: is a pipe or a device; write it into a file")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        yield from _of_npy(path, wanted)
    elif suffix == ".npz":
        yield from _of_archive(path, wanted)
    elif wanted.encoding.series is not None:
        yield _of_series(latest_of(path, wanted))
    elif wanted.encoding.columns:
        yield from _of_columns(batches(path, wanted.table_format, wanted.notes), wanted)
    elif table and suffix == ".csv":
        yield from _of_csv(path, wanted)
    elif table or suffix == ".csv":
        kind = "rows of a table: name a .csv, .npy or .npz file" if table else "images, not tables"
        raise DataError(f"{path}: this ensemble predicts {kind}")
    else:
        yield from _of_images(path, wanted)


def read_inputs(source: Any, wanted: Wanted) -> Batch:
    """All inputs at once, as `input_batches` reads them.

    Raises:
        DataError: the source cannot be read, or does not hold what the model wants.
    """
    names, inputs = zip(*input_batches(source, wanted), strict=True)
    return [name for batch in names for name in batch], joined(inputs)


def _of_columns(parts: Iterable[Rows], wanted: Wanted) -> Iterator[Batch]:
    ids = next((column.name for column in wanted.encoding.columns if isinstance(column, Ids)), None)
    first = 0
    for part in parts:
        inputs = wanted.encode(part)
        names = [str(row) for row in range(first, first + len(part))]
        yield (
            names
            if ids is None
            else [str(row) if cell is None else text(cell) for row, cell in zip(names, part.columns[ids], strict=True)],
            inputs,
        )
        first += len(part)


def latest_of(source: Any, wanted: Wanted) -> list[Latest]:
    """What the next steps of each series are forecast from.

    Args:
        source: a .csv, .tsv, .parquet or .jsonl file, a DataFrame, or a mapping of names to lists.
        wanted: windows of series, whose columns are known.

    Raises:
        DataError: it cannot be read, lacks a column, or a series is too short.
    """
    if not isinstance(source, str | Path):
        return wanted.latest(of_frame(source, wanted.table_format, "the table"))
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    rows = read(path, wanted.table_format, wanted.notes)
    if not len(rows):
        raise DataError(f"{path}: has no rows")
    return wanted.latest(rows)


def _of_series(latest: list[Latest]) -> Batch:
    return [each.name for each in latest], np.stack([each.numbers for each in latest])


def _of_images(path: Path, wanted: Wanted) -> Iterator[Batch]:
    files = image_files(path, wanted.notes, path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: there are no images in this folder ({', '.join(SUFFIXES)})")
    channels, height, width = wanted.shape
    ranges, notes = wanted.encoding.ranges, wanted.notes
    rows = _rows_at_once(math.prod(wanted.shape))
    for first in range(0, len(files), rows):
        part = files[first : first + rows]
        images = [read_image(file, (height, width), channels, ranges, notes) for file in part]
        yield [file.name for file in part], np.stack(images)


def _of_array(array: NDArray[Any], wanted: Wanted, name: str) -> Iterator[Batch]:
    return _of_rows(lambda first, last: array[first:last], array.shape, array.dtype, wanted, name)


def _of_rows(
    read: Callable[[int, int], NDArray[Any]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    wanted: Wanted,
    name: str,
    order: list[int] | None = None,
) -> Iterator[Batch]:
    """Batches of what `read(first, last)` gives, of an array whose shape and type are known before it is read."""
    wanted.check(shape, dtype, name)
    rows = _rows_at_once(math.prod(shape[1:]) * dtype.itemsize)
    for first in range(0, max(shape[0], 1), rows):
        last = min(first + rows, shape[0])
        part = read(first, last)
        yield (
            [str(row) for row in range(first, last)],
            wanted.convert(part if order is None else part[:, order], first, name),
        )


def _of_npy(path: Path, wanted: Wanted) -> Iterator[Batch]:
    """Batches of an array in an .npy file; it is not mapped, since a process dies where a mapped file is cut off."""
    if zipfile.is_zipfile(path):
        raise DataError(f"{path}: is an .npz file; name it so")
    try:
        with path.open("rb") as file:
            yield from _of_stream(file, wanted, str(path), None)
    except DataError:
        raise
    except Exception as error:  # a broken file makes numpy raise almost anything
        raise DataError(f"{path}: cannot be read as .npy: {error}") from error


def _of_archive(path: Path, wanted: Wanted) -> Iterator[Batch]:
    try:
        with zipfile.ZipFile(path) as archive:
            held = [name.removesuffix(".npy") for name in archive.namelist()]
            key = next((key for key in _KEYS if key in held), None)
            if key is None:
                raise DataError(f"{path}: has neither x_test nor x; it holds {', '.join(held)}")
            order = None
            if len(wanted.shape) == 1 and _NAMES in held:
                order = wanted.order(_column_names(archive, path), str(path))
            with archive.open(f"{key}.npy") as file:
                yield from _of_stream(file, wanted, f"{path}: {key}", order)
    except DataError:
        raise
    except Exception as error:  # a broken archive makes zipfile, zlib and numpy raise almost anything
        raise DataError(f"{path}: cannot be read as .npz: {error}") from error


def _column_names(archive: zipfile.ZipFile, path: Path) -> list[str]:
    with archive.open(f"{_NAMES}.npy") as file:
        names = np.lib.format.read_array(file, allow_pickle=False)
    if names.dtype.kind not in "US":
        raise DataError(f"{path}: {_NAMES} must be texts, got {names.dtype}")
    return [name_of(name).strip() for name in names.ravel()]


def _of_stream(file: IO[bytes], wanted: Wanted, name: str, order: list[int] | None) -> Iterator[Batch]:
    """Batches of an array in numpy's format, of which no more is unpacked than they need."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = header(file)
    if dtype.hasobject:
        raise DataError(f"{name}: holds Python objects, which are never unpickled")
    if columns_first and len(shape) > 1:
        raise DataError(f"{name}: is stored column by column; save np.ascontiguousarray of it")

    def read(first: int, last: int) -> NDArray[Any]:
        part = (last - first, *shape[1:])
        return np.frombuffer(file.read(math.prod(part) * dtype.itemsize), dtype).reshape(part)

    yield from _of_rows(read, shape, dtype, wanted, name, order)


def _of_csv(path: Path, wanted: Wanted) -> Iterator[Batch]:
    features = wanted.shape[0]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            columns = _header([cell.strip() for cell in next(lines, [])], wanted, path)
            order = wanted.order(columns, str(path))
            first, rows = 0, _rows_at_once(features * 8)
            numbered = _cells(((lines.line_num, cells) for cells in lines), features, path)
            numbers = (_numbers(cells, columns, f"{path}:{line}") for line, cells in numbered)
            while (part := list(islice(numbers, rows))) or not first:
                read = np.array(part, np.float64).reshape(-1, features)
                table = wanted.convert(read if order is None else read[:, order], first, str(path))
                yield [str(row) for row in range(first, first + len(part))], table
                first += max(len(part), 1)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as .csv: {error}") from error


def _header(cells: list[str], wanted: Wanted, path: Path) -> list[str]:
    """The names of the columns in the first row.

    Raises:
        DataError: it is a row of numbers, some of which may be missing, or names of as many columns are not in it.
    """
    features, known = wanted.shape[0], wanted.encoding.features
    if set(cells) == set(known) != set():  # names may be numbers, such as years
        return cells
    if cells and all(_is_number(cell) or cell.lower() in _MISSING for cell in cells):
        shown = ", ".join(cells[:3])
        raise DataError(f"{path}: the first row must name the columns, got numbers ({shown}, ...)")
    if known:
        return cells
    if len(cells) != features:
        raise DataError(f"{path}: must have {features} columns, the features in their order, got {len(cells)}")
    return cells


def _cells(lines: Iterable[tuple[int, list[str]]], features: int, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line numbers; blank lines are a row each of one feature, of several they may end the file."""
    blank = None
    for line, cells in lines:
        if not cells and features > 1:
            blank = blank or line
            continue
        if blank is not None:
            raise DataError(
                f"{path}:{blank}: is blank, but rows follow; delete the line, or write '{',' * (features - 1)}' where"
                " every value is missing"
            )
        yield line, cells or [""]


def _numbers(cells: list[str], columns: list[str], place: str) -> list[float]:
    if len(cells) != len(columns):
        raise DataError(f"{place}: has {len(cells)} cells, but the header names {len(columns)} columns")
    try:
        return [float(cell) if cell.strip() else math.nan for cell in cells]
    except ValueError:
        name, cell = next(
            (name, cell) for name, cell in zip(columns, cells, strict=True) if cell.strip() and not _is_number(cell)
        )
        raise DataError(
            f"{place}: {name} must be a number, got {cell!r:.50}; leave the cell empty where a value is missing"
        ) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _rows_at_once(row_bytes: int) -> int:
    return max(1, min(_MOST_ROWS, _MOST_BYTES // max(row_bytes, 1)))
