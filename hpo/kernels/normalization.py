"""Batch normalization, and ReLU after it: see `normalization.cpp`."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpo.kernels import buffers, library
from hpo.kernels.hooks import has_hooks

_MOST = 1024
"""The most channels for which the code reserves memory; networks for images have fewer."""
_VALUES = 2**16
"""The fewest values of a tensor for which a call costs less than it saves."""


class Affine(NamedTuple):
    """Batch normalization as `value * scale + shift`, and the statistics that it comes from; each `(c,)`."""

    scale: Tensor
    shift: Tensor
    mean: Tensor
    inverse: Tensor
    """1 / deviation."""


def suits(
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> bool:
    """Whether `normalize` computes what `torch.nn.functional.batch_norm` would with these arguments, and faster.

    Values may be bfloat16, as autocast makes them; statistics are float32. Gradients are implemented for normalization
    by the statistics of the batch, not by running ones. Inside torch.utils.checkpoint the answer is no: its hooks on
    saved tensors make torch run the forward pass again.
    """
    return (
        (training or not torch.is_grad_enabled())
        and eps > 0
        and values.device.type == "cpu"
        and values.ndim in (2, 4)
        and 2 <= values.shape[1] <= _MOST
        and values.numel() >= _VALUES
        and all(_is_plain(it, values.shape[1]) for it in (running_mean, running_var, weight, bias))
        and not has_hooks()
        and is_dense(values)
        and library.is_available(values.dtype)  # it may have to be compiled, so it is asked last
    )


def normalize(
    values: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes each channel of values `(n, c, h, w)`, channels_last, or `(n, c)`, as `batch_norm` of torch does.

    With `training` by the statistics of the batch, and the running statistics are updated; else by the running ones.
    """
    if training:
        affine = batch_affine(values, running_mean, running_var, weight, bias, momentum, eps)
    else:
        affine = affine_from(running_mean, running_var, weight, bias, eps)
    outputs: Tensor = _Normalization.apply(values, None, weight, bias, affine, False)
    return outputs


def rectified(values: Tensor, shortcut: Tensor | None, affine: Affine, rectifies: bool = True) -> Tensor:
    """Computes `rectify` without gradients; with `rectifies=False` negative values stay."""
    outputs = buffers.like(values)
    library.call("normalize", values, shortcut, outputs, affine.scale, affine.shift, *_shape(values), int(rectifies))
    return outputs


def rectify(values: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, affine: Affine) -> Tensor:
    """Returns max(0, scale * values + shift + shortcut); values and shortcut are `(n, c, h, w)`, channels_last."""
    outputs: Tensor = _Normalization.apply(values, shortcut, weight, bias, affine, True)
    return outputs


@torch.no_grad()
def batch_affine(
    values: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
) -> Affine:
    """Computes scale and shift from the statistics of a batch, and updates the running statistics."""
    mean, variance = torch.empty(2, values.shape[1])
    rows, channels = _shape(values)
    library.call("statistics", values, mean, variance, rows, channels)
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(variance * (rows / (rows - 1)), momentum)
    return affine_from(mean, variance, weight, bias, eps)


@torch.no_grad()
def affine_from(mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Affine:
    """Computes scale and shift from a mean and a variance, each `(c,)`."""
    inverse = (variance + eps).rsqrt()
    scale = weight * inverse
    return Affine(scale, torch.addcmul(bias, mean, scale, value=-1), mean, inverse)


def backward(
    values: Tensor,
    gradients: Tensor,
    affine: Affine,
    input_gradients: Tensor,
    outputs: Tensor | None = None,
    shortcut_gradients: Tensor | None = None,
    rectifies: bool = True,
) -> tuple[Tensor, Tensor]:
    """Computes the gradients of the inputs of `rectified` from those of its outputs.

    Args:
        values: `(n, c, h, w)` channels_last, or `(n, c)`.
        gradients: of the outputs, of the shape and layout of the values.
        affine: that `rectified` was given.
        input_gradients: is overwritten with the gradients of the values; may be `gradients` itself.
        outputs: of `rectified`; needed only where a shortcut was added.
        shortcut_gradients: is overwritten with the gradients of the shortcut.
        rectifies: that `rectified` was given.

    Returns:
        The gradients `(c,)` of the weight and of the bias.
    """
    weight_gradient, bias_gradient = torch.empty(2, values.shape[1])
    given = (values, gradients, outputs, shortcut_gradients, input_gradients, *affine, weight_gradient, bias_gradient)
    library.call("normalize_gradient", *given, *_shape(values), int(rectifies))
    return weight_gradient, bias_gradient


def _is_plain(statistic: Tensor | None, channels: int) -> bool:
    """Whether a statistic has one float32 number a channel, contiguous, on the CPU."""
    return (
        statistic is not None
        and statistic.shape == (channels,)
        and statistic.dtype == torch.float32
        and statistic.device.type == "cpu"
        and statistic.is_contiguous()
    )


def is_dense(values: Tensor) -> bool:
    """Whether images are dense in channels_last order, or rows are contiguous."""
    if values.ndim == 4:
        return values.is_contiguous(memory_format=torch.channels_last)
    return values.ndim == 2 and values.is_contiguous()


class _Normalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, affine: Affine, rectifies: bool
    ) -> Tensor:
        """Normalizes by `affine`, which was computed from `weight` and `bias`: these get their gradients here."""
        outputs = rectified(values, shortcut, affine, rectifies)
        ctx.rectifies, ctx.added = rectifies, shortcut is not None
        ctx.save_for_backward(values, *affine, *([outputs] if ctx.added else []))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, *saved = ctx.saved_tensors
        affine, outputs = Affine(*saved[:4]), saved[4] if ctx.added else None
        gradients = gradients.contiguous(
            memory_format=torch.channels_last if values.ndim == 4 else torch.contiguous_format
        )
        input_gradients, shortcut_gradients = buffers.like(values), buffers.like(values) if ctx.added else None
        weight_gradient, bias_gradient = backward(
            values, gradients, affine, input_gradients, outputs, shortcut_gradients, ctx.rectifies
        )
        return input_gradients, shortcut_gradients, weight_gradient, bias_gradient, None, None


def _shape(values: Tensor) -> tuple[int, int]:
    """Rows and channels."""
    channels = values.shape[1]
    return values.numel() // channels, channels
