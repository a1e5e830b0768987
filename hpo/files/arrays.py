"""numpy's files, held against their size before anything is read: a header may claim any shape."""

import io
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hpo.files import open_regular

NUMBERS = "fiub"
"""numpy's kinds of types that are numbers: floats, whole numbers and truth values."""
_MAGIC = b"\x93NUMPY"
"""The beginning of an array's file."""
_RATIO, _LARGE = 100, 256 * 2**20
"""An archive that would unpack to more than so many bytes, and so many times its size, is refused."""
_LONGEST = 2**63
"""The lengths of an array's dimensions are below this."""
_DAMAGED = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, SyntaxError, TypeError),
    *(struct.error, tokenize.TokenError, lzma.LZMAError, zlib.error, zipfile.BadZipFile),
)
"""What numpy and zipfile raise, beside ValueError, of a file that is damaged or not as they know them."""


@contextmanager
def told_damaged() -> Iterator[None]:
    """Whatever numpy and zipfile raise within of a damaged file is a ValueError.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(f"{error or type(error).__name__}") from error


def load_array(content: bytes) -> NDArray[Any]:
    """The array of an .npy file's content, without pickle.

    Raises:
        ValueError: it is none, holds objects, or claims more than is there.
    """
    with told_damaged():
        _check_claim(io.BytesIO(content), len(content), "it")
        array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def open_arrays(path: str | Path, *, follow: bool = True) -> IO[bytes]:
    """Opens an .npz or .npy file that may be read: its headers claim no more than is there.

    Args:
        path: of the file.
        follow: a link is followed.

    Raises:
        ValueError: the file is damaged, a header claims more than is there, or the archive unpacks to far more than its
            size.
        OSError: it is no regular file, or cannot be opened.
    """
    file = os.fdopen(open_regular(path, follow=follow), "rb")
    try:
        size = os.fstat(file.fileno()).st_size
        with told_damaged():
            if zipfile.is_zipfile(file):
                file.seek(0)
                _check_archive(file, size)
            elif file.seek(0) == 0 and file.read(len(_MAGIC)) == _MAGIC:
                file.seek(0)
                _check_claim(file, size, "it")
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _check_archive(file: IO[bytes], size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > max(_LARGE, _RATIO * size):
            raise ValueError(
                f"its {size:,} bytes would unpack to {unpacked:,}, more than {_RATIO} times as much; save it without"
                " compression (np.savez) if it is sound"
            )
        for info in archive.infolist():
            with archive.open(info) as member:
                is_array = member.read(len(_MAGIC)) == _MAGIC
            if is_array:  # anything else, such as a text about the data, is nothing that numpy reads as one
                with archive.open(info) as member:
                    _check_claim(member, info.file_size, info.filename)


def _check_claim(file: IO[bytes], size: int, name: str) -> None:
    """Holds the header of an array to the bytes that are there."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if any(type(length) is not int or not 0 <= length < _LONGEST for length in shape):
        raise ValueError(f"{name} has a header without a shape, got {shape!r:.80}")
    if not dtype.hasobject and math.prod(shape) * max(1, dtype.itemsize) > size:  # empty texts have no bytes
        raise ValueError(f"{name} claims an array of {'x'.join(map(str, shape))} {dtype} and has {size:,} bytes")
