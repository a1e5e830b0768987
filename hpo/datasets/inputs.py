"""What a user wants predicted: image files, folders, arrays and tables, read batch by batch."""

import csv
import math
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpo.datasets.dataset import Inputs
from hpo.datasets.image_folder import SUFFIXES, image_files, read_image
from hpo.datasets.npz import read_arrays
from hpo.errors import DataError

Batch = tuple[list[str], Inputs]
"""Names, and as many images `(n, h, w, c)` uint8 or rows of a table `(n, features)` float32."""

_KEYS = ("x_test", "x")
_MOST_ROWS, _MOST_BYTES = 512, 64 * 2**20
"""Of a batch; one row there is, however large."""


def input_batches(source: str | Path | NDArray[Any], input_shape: tuple[int, ...]) -> Iterator[Batch]:
    """Reads inputs a few at a time, so that memory stays flat however many there are.

    Image files are read when it is their turn, an .npy file is mapped into memory, an array in an .npz file is unpacked
    as it is needed (`x_test`, or else `x`), a .csv file is read line by line.

    Args:
        source: of images an image file, a folder of image files, an .npy or .npz file, or an array `(n, h, w)` or
            `(n, h, w, c)` uint8; of a table a .csv file with a header and a column a feature (an empty cell is a
            missing value, and so is a blank line where there is one feature), an .npy or .npz file, or an array
            `(n, features)` of numbers.
        input_shape: (channels, height, width) or (features,) that the model wants; image files are scaled to it, arrays
            are not.

    Yields:
        Batches of 512 inputs at most, fewer where these would take more than 64 MiB; one empty batch where there are
        none. Names are those of image files, or row numbers from 0 on.

    Raises:
        DataError: the source cannot be read, or does not hold what the model wants.
    """
    if not isinstance(source, str | Path):
        yield from _of_array(np.asarray(source), input_shape, "the array")
        return
    path, table = Path(source).expanduser(), len(input_shape) == 1
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        yield from _of_array(_mapped(path), input_shape, str(path))
    elif suffix == ".npz":
        yield from _of_archive(path, input_shape)
    elif table and suffix == ".csv":
        yield from _of_csv(path, input_shape[0])
    elif table or suffix == ".csv":
        wanted = "rows of a table: name a .csv, .npy or .npz file" if table else "images, not tables"
        raise DataError(f"{path}: this ensemble predicts {wanted}")
    else:
        yield from _of_images(path, input_shape)


def read_inputs(source: str | Path | NDArray[Any], input_shape: tuple[int, ...]) -> Batch:
    """All inputs at once, as `input_batches` reads them.

    Raises:
        DataError: the source cannot be read, or does not hold what the model wants.
    """
    names, inputs = zip(*input_batches(source, input_shape), strict=True)
    return [name for batch in names for name in batch], np.concatenate(inputs)


def _of_images(path: Path, input_shape: tuple[int, ...]) -> Iterator[Batch]:
    files = image_files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: there are no images in this folder ({', '.join(SUFFIXES)})")
    channels, height, width = input_shape
    rows = _rows_at_once(math.prod(input_shape))
    for first in range(0, len(files), rows):
        part = files[first : first + rows]
        yield [file.name for file in part], np.stack([_image(file, (height, width), channels) for file in part])


def _image(file: Path, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # so that a bomb is refused before it goes off
        return read_image(file, size, channels)


def _of_array(array: NDArray[Any], input_shape: tuple[int, ...], name: str) -> Iterator[Batch]:
    return _of_rows(lambda first, last: array[first:last], array.shape, array.dtype, input_shape, name)


def _of_rows(
    read: Callable[[int, int], NDArray[Any]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    input_shape: tuple[int, ...],
    name: str,
) -> Iterator[Batch]:
    """Batches of what `read(first, last)` gives, of an array whose shape and type are known before it is read."""
    check, convert = (_check_table, _table) if len(input_shape) == 1 else (_check_images, _pixels)
    check(shape, dtype, input_shape, name)
    rows = _rows_at_once(math.prod(shape[1:]) * dtype.itemsize)
    for first in range(0, max(shape[0], 1), rows):
        last = min(first + rows, shape[0])
        yield [str(row) for row in range(first, last)], convert(read(first, last), first, name)


def _check_images(shape: tuple[int, ...], dtype: np.dtype[Any], input_shape: tuple[int, ...], name: str) -> None:
    channels, height, width = input_shape
    if len(shape) == 3:
        shape = (*shape, 1)
    if dtype != np.uint8 or len(shape) != 4 or shape[1:] != (height, width, channels):
        raise DataError(f"{name}: images must be uint8 (n, {height}, {width}, {channels}), got {dtype} {shape}")


def _check_table(shape: tuple[int, ...], dtype: np.dtype[Any], input_shape: tuple[int, ...], name: str) -> None:
    if dtype.kind not in "fiub" or shape[1:] != input_shape:
        raise DataError(f"{name}: rows of a table must be numbers (n, {input_shape[0]}), got {dtype} {shape}")


def _pixels(images: NDArray[Any], first: int, name: str) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images if images.ndim == 4 else images[..., None])


def _table(rows: NDArray[Any], first: int, name: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        table = np.ascontiguousarray(rows, np.float32)
    infinite = np.flatnonzero(np.isinf(table).any(axis=1))
    if len(infinite):
        raise DataError(
            f"{name}: row {first + infinite[0]} (from 0 on) has an infinite value; a missing one is NaN or empty"
        )
    return table


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except Exception:  # an empty array cannot be mapped; what is broken is told by the reader
        arrays = read_arrays(path)
    if "" not in arrays:
        raise DataError(f"{path}: is an .npz file; name it so")
    return arrays[""]


def _of_archive(path: Path, input_shape: tuple[int, ...]) -> Iterator[Batch]:
    try:
        with zipfile.ZipFile(path) as archive:
            held = [name.removesuffix(".npy") for name in archive.namelist()]
            key = next((key for key in _KEYS if key in held), None)
            if key is None:
                raise DataError(f"{path}: has neither x_test nor x; it holds {', '.join(held)}")
            with archive.open(f"{key}.npy") as file:
                yield from _of_stream(file, input_shape, f"{path}: {key}")
    except DataError:
        raise
    except Exception as error:  # a broken archive makes zipfile, zlib and numpy raise almost anything
        raise DataError(f"{path}: cannot be read as .npz: {error}") from error


def _of_stream(file: IO[bytes], input_shape: tuple[int, ...], name: str) -> Iterator[Batch]:
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

    yield from _of_rows(read, shape, dtype, input_shape, name)


def _of_csv(path: Path, features: int) -> Iterator[Batch]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            columns = _header(next(lines, []), features, path)
            first, rows = 0, _rows_at_once(features * 4)
            numbered = _cells(((lines.line_num, cells) for cells in lines), features, path)
            numbers = (_numbers(cells, columns, f"{path}:{line}") for line, cells in numbered)
            while (part := list(islice(numbers, rows))) or not first:
                table = _table(np.array(part, np.float64).reshape(-1, features), first, str(path))
                yield [str(row) for row in range(first, first + len(part))], table
                first += max(len(part), 1)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as .csv: {error}") from error


def _header(cells: list[str], features: int, path: Path) -> list[str]:
    if cells and all(_is_number(cell) for cell in cells):
        raise DataError(f"{path}: the first row must name the columns, got numbers ({', '.join(cells[:3])}, ...)")
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
