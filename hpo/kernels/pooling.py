"""Maxima and means of 2x2 pixels: see `pooling.cpp`."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpo.kernels import buffers, library
from hpo.kernels.hooks import has_hooks
from hpo.kernels.normalization import Affine

_PAIR = (2, (2, 2), [2, 2])
_VALUES = 2**16
"""The fewest values of a tensor for which a call costs less than it saves."""


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
        dilation in (1, (1, 1), [1, 1])
        and not return_indices
        and images.requires_grad
        and _by_fours(images, kernel_size, stride, padding)
    )


def averages(
    images: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> bool:
    """Whether `average` computes what `torch.nn.functional.avg_pool2d` would with these arguments, and faster."""
    return divisor_override is None and _by_fours(images, kernel_size, stride, padding)


def _by_fours(images: Tensor, kernel_size: Any, stride: Any, padding: Any) -> bool:
    """Whether the arguments of a pooling function mean non-overlapping 2x2 pixels of images that the code can read."""
    return (
        kernel_size in _PAIR
        and (stride is None or stride in _PAIR)
        and padding in (0, (0, 0), [0, 0])
        and halves(images)
        and images.numel() >= _VALUES
        and images.device.type == "cpu"
        and images.is_contiguous(memory_format=torch.channels_last)
        and not has_hooks()
        and library.is_available(images.dtype)  # it may have to be compiled, so it is asked last
    )


def halves(images: Tensor) -> bool:
    """Whether a tensor holds images of an even height and width."""
    return images.ndim == 4 and images.shape[2] % 2 == images.shape[3] % 2 == 0


def pool(images: Tensor, *_: Any, **__: Any) -> Tensor:
    """Takes the maximum of each 2x2 pixels: `(n, c, h, w)` channels_last -> `(n, c, h / 2, w / 2)`."""
    outputs: Tensor = _Pooling.apply(images)
    return outputs


def average(images: Tensor, *_: Any) -> Tensor:
    """Takes the mean of each 2x2 pixels: `(n, c, h, w)` channels_last -> `(n, c, h / 2, w / 2)`."""
    outputs: Tensor = _Averaging.apply(images)
    return outputs


def normalize_and_pool(values: Tensor, weight: Tensor, bias: Tensor, affine: Affine) -> Tensor:
    """Returns max(0, maxima of scale * values + shift): `(n, c, h, w)` channels_last -> `(n, c, h / 2, w / 2)`."""
    outputs: Tensor = _NormalizedPooling.apply(values, weight, bias, affine)
    return outputs


class _Pooling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        outputs, which, ctx.shape = _halved(images)
        ctx.save_for_backward(which)
        library.call("pool", images, outputs, which, ctx.shape)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> Tensor:
        (which,) = ctx.saved_tensors
        gradients = gradients.contiguous(memory_format=torch.channels_last)
        shape = ctx.shape
        input_gradients = buffers.images(shape.n, shape.channels, shape.height, shape.width, kind=gradients.dtype)
        library.call("pool_gradient", gradients, which, input_gradients, shape)
        return input_gradients


class _Averaging(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        outputs = buffers.images(n, channels, height // 2, width // 2, kind=images.dtype)
        ctx.shape = _Shape(n, height, width, channels)
        library.call("mean_pool", images, outputs, ctx.shape)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> Tensor:
        shape = ctx.shape
        input_gradients = buffers.images(shape.n, shape.channels, shape.height, shape.width, kind=gradients.dtype)
        library.call(
            "mean_pool_gradient", gradients.contiguous(memory_format=torch.channels_last), input_gradients, shape
        )
        return input_gradients


class _NormalizedPooling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, affine: Affine) -> Tensor:
        """Normalizes by `affine`, which was computed from `weight` and `bias`: these get their gradients here."""
        outputs, which, ctx.shape = _halved(values)
        ctx.save_for_backward(values, which, affine.scale, affine.mean, affine.inverse)
        library.call("normalized_pool", values, outputs, which, affine.scale, affine.shift, ctx.shape)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, which, *affine = ctx.saved_tensors
        gradients = gradients.contiguous(memory_format=torch.channels_last)
        input_gradients = buffers.like(values)
        weight_gradient, bias_gradient = torch.empty(2, values.shape[1])
        given = (values, gradients, which, input_gradients, *affine, weight_gradient, bias_gradient)
        library.call("normalized_pool_gradient", *given, ctx.shape)
        return input_gradients, weight_gradient, bias_gradient, None


def _halved(images: Tensor) -> tuple[Tensor, Tensor, "_Shape"]:
    """Makes the buffers of a pooled batch: its maxima, and the index of each maximum among its four pixels."""
    n, channels, height, width = images.shape
    half = n, channels, height // 2, width // 2
    outputs = buffers.images(*half, kind=images.dtype)
    which = torch.empty(half, dtype=torch.uint8, memory_format=torch.channels_last)
    return outputs, which, _Shape(n, height, width, channels)


class _Shape(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("n", "height", "width", "channels"))
