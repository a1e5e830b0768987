"""A model's weights as arrays, in which they are stored: safetensors of numpy's types."""

import copy
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpo.files.tensors import load_tensors

Weights = Mapping[str, NDArray[np.generic]]
"""Name -> array, as `state_dict` names them.

What numpy has no type for, such as bfloat16, is float32, which has all its values. What a module's `get_extra_state`
gives is an array of bytes, which `hpo.files.tensors` reads.
"""
_EXTRA = "_extra_state"


def weights_of(module: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Copies of all weights in the host's memory, which stay as they are while training goes on.

    Raises:
        TypeError: a weight is no dense tensor.
    """
    state = module.state_dict().items()
    copies = {name: _bytes(value) if _is_extra(name) else _copied(name, value) for name, value in state}
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()  # once for all of them
    return {name: tensor.numpy() for name, tensor in copies.items()}


def set_weights(module: nn.Module, weights: Weights) -> None:
    """Sets all weights of a module.

    Raises:
        RuntimeError: names or shapes differ from the module's.
        pickle.UnpicklingError: an extra state holds something else than tensors, numbers, texts, lists and dicts.
    """
    own = module.state_dict()  # what the module has not is refused, not read
    for name, array in weights.items():  # some modules take any shape, and write by their own
        mine = own.get(name)
        if isinstance(mine, Tensor) and not _is_extra(name) and mine.numel() and array.shape != tuple(mine.shape):
            raise RuntimeError(f"'{name}' is {array.shape}, and the model's {tuple(mine.shape)}")
    module.load_state_dict({name: _read(name, array) if name in own else array for name, array in weights.items()})


@contextmanager
def with_weights(module: nn.Module, weights: Weights) -> Iterator[None]:
    """Lets a module have other weights for a while."""
    own = copy.deepcopy(module.state_dict())
    set_weights(module, weights)
    try:
        yield
    finally:
        module.load_state_dict(own)


def _copied(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        kind = value.layout if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"'{name}' of its state is {kind}, and only dense tensors are stored: register it otherwise")
    dense = value.detach() if _in_numpy(value.dtype) else value.detach().float()
    return dense.to("cpu", copy=True, non_blocking=True, memory_format=torch.contiguous_format)


def _bytes(value: Any) -> Tensor:
    content = io.BytesIO()
    torch.save(value, content)
    return torch.frombuffer(bytearray(content.getbuffer()), dtype=torch.uint8)


def _read(name: str, array: NDArray[np.generic]) -> Any:
    if _is_extra(name):
        return load_tensors(array.tobytes())
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _is_extra(name: str) -> bool:
    return name.rpartition(".")[2] == _EXTRA


@cache
def _in_numpy(dtype: torch.dtype) -> bool:
    try:
        torch.empty(0, dtype=dtype).numpy()
    except TypeError:
        return False
    return True
