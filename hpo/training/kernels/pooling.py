"""Maxima of 2x2 pixels: see `pooling.cpp`."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpo.training.kernels import library

_PAIR = (2, (2, 2), [2, 2])
_VALUES = 2**18
"""At least, or what a call costs is not made good."""


def suits(
    images: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> bool:
    """Whether `pool` computes what `torch.nn.functional.max_pool2d` would with these arguments, and faster."""
    return (
        kernel_size in _PAIR
        and (stride is None or stride in _PAIR)
        and padding in (0, (0, 0), [0, 0])
        and dilation in (1, (1, 1), [1, 1])
        and not return_indices
        and images.ndim == 4
        and images.shape[2] % 2 == images.shape[3] % 2 == 0
        and images.numel() >= _VALUES
        and images.dtype == torch.float32
        and images.device.type == "cpu"
        and images.requires_grad
        and images.is_contiguous(memory_format=torch.channels_last)
        and torch._C._autograd._top_saved_tensors_default_hooks(False) is None
    )


def pool(images: Tensor, *_: Any, **__: Any) -> Tensor:
    """Images `(n, c, h, w)` channels_last -> `(n, c, h / 2, w / 2)`, the largest of each 2x2 pixels."""
    outputs: Tensor = _Pooling.apply(images)
    return outputs


class _Pooling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        half = n, channels, height // 2, width // 2
        outputs = torch.empty(half, memory_format=torch.channels_last)
        which = torch.empty(half, dtype=torch.uint8, memory_format=torch.channels_last)
        ctx.shape = _Shape(n, height, width, channels)
        ctx.save_for_backward(which)
        library.call("pool", images, outputs, which, ctx.shape)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> Tensor:
        (which,) = ctx.saved_tensors
        gradients = gradients.contiguous(memory_format=torch.channels_last)
        shape = ctx.shape
        turned = torch.empty(shape.n, shape.channels, shape.height, shape.width, memory_format=torch.channels_last)
        library.call("pool_gradient", gradients, which, turned, shape)
        return turned


class _Shape(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("n", "height", "width", "channels"))
