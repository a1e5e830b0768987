"""`training.winograd`: 3x3 convolutions on a CPU with fewer multiplications, by code that is compiled once a machine.

Where torch computes plain sums (oneDNN, AVX2), Winograd's algorithm takes about half of the time. It is exact but for
rounding, of about 1e-5 of the largest value.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-O3", "-mavx2", "-mfma", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC", "-std=c++17")
_SECONDS = 120
"""For the compiler."""
_FEWEST, _MOST = 16, 512
"""Channels between which it pays; with fewer the transforms cost too much, with more their memory."""


def fast_convolutions(
    model: nn.Module, wanted: bool | Literal["auto"], device: torch.device
) -> AbstractContextManager[Any]:
    """While it is entered, the convolutions of a model that it suits are computed by Winograd's algorithm.

    Args:
        model: of any make; it is not changed.
        wanted: `training.winograd`; `auto` where it pays and there is a compiler: on a CPU with AVX2, not with AVX-512.
        device: where the model is.
    """
    if not wanted or device.type != "cpu" or not any(isinstance(part, nn.Conv2d) for part in model.modules()):
        return nullcontext()
    capabilities = torch.cpu.get_capabilities()
    if not capabilities.get("avx2", False) or (wanted == "auto" and capabilities.get("avx512_f", False)):
        return nullcontext()
    if _library() is None:
        if wanted is True:
            warnings.warn(
                "training.winograd: torch's own convolutions are used, since g++ is not there or fails", stacklevel=2
            )
        return nullcontext()
    return _Convolutions()


class _Convolutions(TorchFunctionMode):
    """Takes the place of torch's convolution where the algorithm is for it."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and _suits(*args):
            bias = args[2] if len(args) > 2 else None
            outputs = _Convolution.apply(args[0], args[1])
            return outputs if bias is None else outputs + bias.view(1, -1, 1, 1)
        return func(*args, **(kwargs or {}))


def _suits(
    images: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    ones = ((1, 1), [1, 1], 1)
    return (
        stride in ones
        and padding in ones
        and dilation in ones
        and groups == 1
        and images.ndim == 4
        and tuple(weights.shape[2:]) == (3, 3)
        and min(weights.shape[:2]) >= _FEWEST
        and max(weights.shape[:2]) <= _MOST
        and images.dtype == weights.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and images.device.type == "cpu"
        and images.is_contiguous(memory_format=torch.channels_last)
        and _tiled(images.shape[2]) * _tiled(images.shape[3]) <= 1.5 * images.shape[2] * images.shape[3]
    )


def _tiled(size: int) -> int:
    return (size + 3) // 4 * 4


class _Convolution(torch.autograd.Function):
    """3x3, stride 1, padding 1: images `(n, in, h, w)` channels_last and weights `(out, in, 3, 3)`."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(images, weights)
        return _outputs(images, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        images, weights = ctx.saved_tensors
        gradients = gradients.contiguous(memory_format=torch.channels_last)
        wanted = ctx.needs_input_grad
        of_images = _outputs(gradients, weights.transpose(0, 1).flip(2, 3)) if wanted[0] else None
        return of_images, _weight_gradient(images, gradients, weights) if wanted[1] else None


def _outputs(images: Tensor, weights: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    outputs = torch.empty(n, len(weights), height, width, memory_format=torch.channels_last)
    _call("convolve", images, weights, outputs, _Shape(n, height, width, channels, len(weights)), weights.stride())
    return outputs


def _weight_gradient(images: Tensor, gradients: Tensor, weights: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    gradient = torch.empty_like(weights)
    shape = _Shape(n, height, width, channels, len(weights))
    _call("weight_gradient", images, gradients, gradient, shape, gradient.stride())
    return gradient


class _Shape(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("n", "height", "width", "in_", "out"))


class _Strides(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("out", "in_", "row", "column"))


def _call(name: str, first: Tensor, second: Tensor, result: Tensor, shape: _Shape, strides: Sequence[int]) -> None:
    library = _library()
    assert library is not None, "nobody comes here without it"
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (first, second, result)]
    getattr(library, name)(*pointers, shape, _Strides(*strides), torch.get_num_threads())


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """The compiled code, from the user's cache if it is there; None where it cannot be compiled."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        return None
    source = _SOURCE.read_bytes()
    key = hashlib.blake2b(source + " ".join((compiler, *_FLAGS)).encode(), digest_size=8).hexdigest()
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        file = Path(home) / "hpo" / f"winograd-{key}.so"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            _compile(compiler, file)
        return ctypes.CDLL(str(file))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # no compiler, no home, no room
        return None


def _compile(compiler: str, file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        draft = Path(folder) / file.name
        command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(draft)]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        draft.replace(file)
