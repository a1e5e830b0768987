"""3x3 convolutions with fewer multiplications, by Winograd's algorithm: see `convolution.cpp`."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpo.training.kernels import library, normalization, room
from hpo.training.kernels.normalization import Line

_FEWEST, _MOST = 6, 512
"""Channels between which it pays; with fewer the transforms cost too much, with more their memory."""


def suits(
    images: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    """Whether `convolve` computes what `torch.conv2d` would with these arguments, and faster."""
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
        and images.device.type == weights.device.type == "cpu"
        and images.shape[1] == weights.shape[1]
        and (bias is None or bias.shape == weights.shape[:1])
        and images.is_contiguous(memory_format=torch.channels_last)
        and _tiled(images.shape[2]) * _tiled(images.shape[3]) <= 1.5 * images.shape[2] * images.shape[3]
    )


def convolve(images: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """Images `(n, in, h, w)` channels_last and weights `(out, in, 3, 3)` -> `(n, out, h, w)`: stride 1, padding 1."""
    outputs: Tensor = _Convolution.apply(images, weights)
    return outputs if bias is None else outputs + bias.view(1, -1, 1, 1)


def rectify_and_convolve(
    values: Tensor, weight: Tensor, bias: Tensor, line: Line, weights: Tensor, conv_bias: Tensor | None
) -> Tensor:
    """As `convolve`, of max(0, values normalized by the line); those are made again for the backward pass, not kept.

    Args:
        values: `(n, in, h, w)` channels_last.
        weight: of the normalization; it and `bias`, `(in,)`, have made the line, and get their gradients.
        bias: of the normalization.
        line: of the values.
        weights: `(out, in, 3, 3)`.
        conv_bias: `(out,)`, of the convolution.
    """
    outputs: Tensor = _RectifiedConvolution.apply(values, weight, bias, line, weights)
    return outputs if conv_bias is None else outputs + conv_bias.view(1, -1, 1, 1)


def _tiled(size: int) -> int:
    return (size + 3) // 4 * 4


class _Convolution(torch.autograd.Function):
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


class _RectifiedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, line: Line, weights: Tensor) -> Tensor:
        ctx.save_for_backward(values, weights, *line)
        return _outputs(normalization.rectified(values, None, line), weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weights, *numbers = ctx.saved_tensors
        line = Line(*numbers)
        gradients = gradients.contiguous(memory_format=torch.channels_last)
        of_weights = None
        if ctx.needs_input_grad[4]:
            of_weights = _weight_gradient(normalization.rectified(values, None, line), gradients, weights)
        of_images = _outputs(gradients, weights.transpose(0, 1).flip(2, 3))
        of_weight, of_bias = normalization.turn(values, of_images, line, turned=of_images)
        return of_images, of_weight, of_bias, None, of_weights


def _outputs(images: Tensor, weights: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    outputs = room.images(n, len(weights), height, width)
    shape = _Shape(n, height, width, channels, len(weights))
    library.call("convolve", images, weights, outputs, shape, _Strides(*weights.stride()))
    return outputs


def _weight_gradient(images: Tensor, gradients: Tensor, weights: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    gradient = torch.empty_like(weights)
    shape = _Shape(n, height, width, channels, len(weights))
    library.call("weight_gradient", images, gradients, gradient, shape, _Strides(*gradient.stride()))
    return gradient


class _Shape(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("n", "height", "width", "in_", "out"))


class _Strides(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("out", "in_", "row", "column"))
