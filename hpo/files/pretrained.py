"""A file of weights that a training begins from: safetensors, or what `torch.save` writes; no code in it is run."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo import files
from hpo.errors import DataError
from hpo.files.legacy_tensors import MAGIC, load_legacy_tensors
from hpo.files.tensors import load_tensors

_ARCHIVE = b"PK\x03\x04"
_WRAPPED = ("state_dict", "model")
"""Keys under which training scripts store a network's weights beside others."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """The weights in a file. They travel to workers with the data, so that the file is read once."""

    name: str
    """The file's name, for messages."""
    digest: str
    """A hash of the file's bytes."""
    tensors: Mapping[str, NDArray[np.generic]] = field(repr=False)
    """Name -> array, as the file has them; what numpy has no type for is float32."""


def read_pretrained(path: str) -> Pretrained:
    """Reads a file of weights; from `{state_dict: ...}` and `{model: ...}` what is within.

    Raises:
        DataError: it is not there, is damaged, or holds anything but tensors by name.
    """
    where = f"model.weights: '{path}'"
    try:
        content = files.read_regular(Path(path))
    except FileNotFoundError:
        raise DataError(
            f"{where} is not there; put it back, or say where it is now: --set model.weights=FILE"
        ) from None
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    try:
        tensors = dict(_tensors(_loaded(content)))
    except UnpicklingError as error:
        raise DataError(
            f"{where} {error}; store tensors alone, by torch.save(model.state_dict(), FILE) or as safetensors"
        ) from None
    if not tensors:
        raise DataError(f"{where} holds no tensors by name; store model.state_dict()")
    return Pretrained(Path(path).name, digest, tensors)


def _loaded(content: bytes) -> Any:
    if content.startswith(_ARCHIVE):
        return load_tensors(content)
    if content.startswith(MAGIC):
        return load_legacy_tensors(content)
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except SafetensorError as error:
        raise UnpicklingError(f"is neither safetensors nor what torch.save writes ({error})") from None


def _tensors(loaded: Any) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """The tensors by name; numbers and texts beside them, such as an epoch, are left out."""
    import torch

    if not isinstance(loaded, Mapping):
        return
    inner = next((loaded[key] for key in _WRAPPED if isinstance(loaded.get(key), Mapping)), None)
    if inner is not None:
        yield from _tensors(inner)
        return
    for name, value in loaded.items():
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            dense = value.detach()
            try:
                yield name, dense.numpy()
            except TypeError:  # such as bfloat16
                yield name, dense.float().numpy()
