"""Many image files as one array: in memory where it is small, else in a file that processes share."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import Ranges
from hpo.datasets.filed import Filed
from hpo.datasets.images import read_image
from hpo.datasets.notes import Notes
from hpo.errors import DataError

IN_MEMORY = 256 * 2**20
"""Bytes of pixels up to which pictures are kept in memory."""
_AT_ONCE = 256
_THREADS = 4
_FOLDER = "pictures"
"""The folder below `--data-dir` of the files."""


def pictures(
    files: Sequence[Path], size: int, ranges: Ranges, notes: Notes, data_dir: Path, most: int = IN_MEMORY
) -> NDArray[np.uint8] | Filed:
    """Reads image files as RGB, scaled and centre-cropped.

    Where they take more than `most` bytes they are written into an .npy file, which is used again while the image files
    are the same by name, size and time of change.

    Args:
        files: of the images.
        size: pixels of a side.
        ranges: of deep pictures, as `read_image` takes them.
        notes: are told of what could not be kept.
        data_dir: the folder of downloaded and prepared data.
        most: bytes that may be kept in memory.

    Returns:
        Pixels `(files, size, size, 3)` uint8.

    Raises:
        DataError: a file is no image, or the disk is full.
    """
    shape = (len(files), size, size, 3)
    if int(np.prod(shape)) <= most:
        pixels: NDArray[np.uint8] = np.empty(shape, np.uint8)
        _fill(pixels, files, size, ranges, notes)
        return pixels
    path = (data_dir / _FOLDER / f"{_key(files, size, ranges)}.npy").absolute()
    told = path.with_suffix(".json")
    if not (path.exists() and told.exists()):
        _write(path, told, shape, files, size, ranges)
    notes.merge(json.loads(told.read_text()))
    notes.add("files of pixels, which trials read instead of the pictures", str(path))
    return Filed.of(path)


def _fill(pixels: NDArray[np.uint8], files: Sequence[Path], size: int, ranges: Ranges, notes: Notes) -> None:
    """Reads the files into an array, several at once; what is noted keeps the order of the files."""

    def read(file: Path) -> tuple[NDArray[np.uint8], Notes]:
        own = Notes()
        return read_image(file, (size, size), 3, ranges, own), own

    with ThreadPoolExecutor(_THREADS) as threads:
        for first in range(0, len(files), _AT_ONCE):
            for place, (picture, own) in enumerate(threads.map(read, files[first : first + _AT_ONCE]), start=first):
                pixels[place] = picture
                notes.merge(own.to_json())


def _write(path: Path, told: Path, shape: tuple[int, ...], files: Sequence[Path], size: int, ranges: Ranges) -> None:
    """Writes the file under another name first, so that a search that is killed leaves none that is half done."""
    notes = Notes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(".npy", f".{path.stem}-", path.parent)
        os.close(handle)
        try:
            mapped: Any = np.lib.format.open_memmap(draft, "w+", np.uint8, shape)
            _fill(mapped, files, size, ranges, notes)
            mapped.flush()
            told.write_text(json.dumps(notes.to_json()))
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        need = f"{int(np.prod(shape)) / 1e9:.1f} GB"
        raise DataError(
            f"{path.parent}: {len(files):,} pictures of {size} pixels need {need} there, and cannot be written: "
            f"{error.strerror or error}; choose another --data-dir, or a smaller data.size"
        ) from error


def _key(files: Sequence[Path], size: int, ranges: Ranges) -> str:
    digest = hashlib.blake2b(repr((size, sorted(ranges.items()))).encode(), digest_size=12)
    for file in files:
        found = file.stat()
        digest.update(f"{file.absolute()}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
