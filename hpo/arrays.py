"""numpy's and torch's files, held against their size before anything is read: a header may claim any shape."""

import io
import math
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.files import open_regular

if TYPE_CHECKING:
    from torch import Tensor

_MAGIC = b"\x93NUMPY"
"""The beginning of an array's file."""
_ARCHIVE = b"PK\x03\x04"
"""The beginning of what `torch.save` writes."""
_RATIO, _LARGE = 100, 256 * 2**20
"""An archive that would unpack to more than so many bytes, and so many times its size, is refused."""


def load_array(content: bytes) -> NDArray[Any]:
    """The array of an .npy file's content, without pickle.

    Raises:
        ValueError: it is none, holds objects, or claims more than is there.
    """
    _check_claim(io.BytesIO(content), len(content), "it")
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def load_tensors(content: bytes | memoryview) -> Any:
    """Loads what `torch.save` has written, onto the CPU: tensors, numbers and texts, nested; no code is run.

    Raises:
        RuntimeError, pickle.UnpicklingError: the content is corrupt, compressed, or holds anything else.
    """
    import torch

    if bytes(content[:4]) != _ARCHIVE:  # torch reads anything else by its old loader, which trusts what it reads
        raise pickle.UnpicklingError("is not as torch.save writes it")
    try:
        archive = _written_anew(content)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise pickle.UnpicklingError(f"is not as torch.save writes it: {error}") from None
    loaded = torch.load(archive, map_location="cpu", weights_only=True)
    for value in _parts(loaded):
        if isinstance(value, torch.Tensor) and not _is_plain(value):
            raise pickle.UnpicklingError("holds a tensor that is not dense")
        if hasattr(value, "_metadata"):  # torch would let tensors of the content take the place of a module's own
            del value._metadata
    return loaded


def _written_anew(content: bytes | memoryview) -> IO[bytes]:
    """An archive with the members that Python finds in another: torch might find others in that one.

    Raises:
        pickle.UnpicklingError: it would unpack to more than its bytes; torch never compresses.
    """
    anew = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(anew, "w") as copy:
        members = archive.infolist()
        if sum(member.file_size for member in members) > len(content):
            raise pickle.UnpicklingError(f"would unpack to more than its {len(content):,} bytes")
        if len({member.filename for member in members}) < len(members):
            raise zipfile.BadZipFile("two of its members have one name")
        for member in members:
            copy.writestr(member.filename, archive.read(member))
    anew.seek(0)
    return anew


def _is_plain(tensor: "Tensor") -> bool:
    import torch

    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested)


def _parts(value: Any) -> Iterator[Any]:
    """All that a nested value has, once each: what a pickle repeats may be too much to walk through."""
    seen: dict[int, Any] = {}
    left = [value]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        if isinstance(part, Mapping):
            left += part.values()
        elif isinstance(part, list | tuple | set):
            left += part


def open_arrays(path: str | Path, *, follow: bool = True) -> IO[bytes]:
    """Opens an .npz or .npy file that may be read: its headers claim no more than is there.

    Args:
        path: of the file.
        follow: a link is followed.

    Raises:
        ValueError, BadZipFile: a header claims more than is there, or the archive unpacks to far more than its size.
        OSError: it is no regular file, or cannot be opened.
    """
    file = os.fdopen(open_regular(path, follow=follow), "rb")
    try:
        size = os.fstat(file.fileno()).st_size
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
    if not dtype.hasobject and math.prod(shape) * max(1, dtype.itemsize) > size:  # empty texts have no bytes
        raise ValueError(f"{name} claims an array of {'x'.join(map(str, shape))} {dtype} and has {size:,} bytes")
