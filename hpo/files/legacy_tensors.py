"""What `torch.save` wrote before release 1.6, and writes where it is asked to: pickles, and behind them raw storages.

Many pretrained weights are such files. They are read as `hpo.files.tensors` reads archives: no code is run.
"""

import io
import pickle
import pickletools
import struct
from typing import Any

from hpo.files.tensors import described, made

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The beginning of such a file: the pickle of torch's magic number."""
_PROTOCOL = 1001
_BYTES = {"float64": 8, "int64": 8, "complex64": 8, "complex128": 16, "float32": 4, "int32": 4} | {
    **{"float16": 2, "bfloat16": 2, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}
}
"""Bytes of a number of each type that a storage of these files can have."""


def load_legacy_tensors(content: bytes) -> Any:
    """Loads such a file's content, onto the CPU: dense tensors, numbers and texts, nested; no code is run.

    Raises:
        pickle.UnpicklingError: the content is corrupt, or holds anything else.
    """
    file = io.BytesIO(content)
    _next(file)
    (protocol, _), (system, _) = described(_next(file)), described(_next(file))
    if protocol != _PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise pickle.UnpicklingError("is not as torch.save wrote it: it has another protocol, or big-endian bytes")
    description, kinds = described(_next(file))
    keys, _ = described(_next(file))
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or set(keys) != set(kinds):
        raise pickle.UnpicklingError("is not as torch.save wrote it: it lists other storages than it names")
    members = {}
    for key in keys:
        if kinds[key] not in _BYTES:
            raise pickle.UnpicklingError("holds a tensor of no known type")
        header = file.read(8)
        (count,) = struct.unpack("<q", header) if len(header) == 8 else (-1,)
        size = count * _BYTES[kinds[key]]
        if not 0 <= size <= len(content) - file.tell():
            raise pickle.UnpicklingError("is cut off: a storage has fewer bytes than it says")
        members[f"data/{key}"] = file.read(size)
    return made(description, members, "")


def _next(file: io.BytesIO) -> bytes:
    """The next pickle of a file."""
    start = file.tell()
    try:
        for _ in pickletools.genops(file):
            pass
    except Exception as error:  # bytes that are no pickle may raise anything
        raise pickle.UnpicklingError(f"is not as torch.save wrote it: {error}") from None
    return file.getvalue()[start : file.tell()]
