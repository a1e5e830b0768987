"""3x3 convolutions with fewer multiplications, by Winograd's algorithm: see `convolution.cpp`."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpo.kernels import buffers, library, normalization
from hpo.kernels.normalization import Affine

_FEWEST, _MOST = 6, 512
"""The numbers of channels for which Winograd pays: with fewer the transforms cost too much, with more their memory."""


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
    values: Tensor, weight: Tensor, bias: Tensor, affine: Affine, weights: Tensor, conv_bias: Tensor | None
) -> Tensor:
    """Convolves max(0, scale * values + shift). The backward pass computes that again instead of keeping it.

    Args:
        values: `(n, in, h, w)` channels_last.
        weight: of the batch normalization, `(in,)`; `affine` was computed from it, so it gets a gradient here.
        bias: of the batch normalization, `(in,)`; as `weight`.
        affine: scale and shift of each channel.
        weights: of the convolution, `(out, in, 3, 3)`.
        conv_bias: of the convolution, `(out,)`.
    """
    outputs: Tensor = _RectifiedConvolution.apply(values, weight, bias, affine, weights)
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
        images_gradient = _outputs(gradients, weights.transpose(0, 1).flip(2, 3)) if wanted[0] else None
        return images_gradient, _weight_gradient(images, gradients, weights) if wanted[1] else None


class _RectifiedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, affine: Affine, weights: Tensor) -> Tensor:
        ctx.save_for_backward(values, weights, *affine)
        return _outputs(normalization.rectified(values, None, affine), weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weights, *numbers = ctx.saved_tensors
        affine = Affine(*numbers)
        gradients = gradients.contiguous(memory_format=torch.channels_last)
        weights_gradient = None
        if ctx.needs_input_grad[4]:
            weights_gradient = _weight_gradient(normalization.rectified(values, None, affine), gradients, weights)
        images_gradient = _outputs(gradients, weights.transpose(0, 1).flip(2, 3))
        weight_gradient, bias_gradient = normalization.backward(
            values, images_gradient, affine, input_gradients=images_gradient
        )
        return images_gradient, weight_gradient, bias_gradient, None, weights_gradient


def _outputs(images: Tensor, weights: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    outputs = buffers.images(n, len(weights), height, width)
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
