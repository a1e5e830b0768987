"""Batch normalization in training: see `normalization.cpp`."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpo.training.kernels import library

_MOST = 1024
"""Channels; more than a network for images has."""
_VALUES = 2**18
"""At least, or what a call costs is not made good."""


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

    Where torch.utils.checkpoint has its hooks, it computes again by torch what the gradients need; so this must be too.
    """
    return (
        training
        and eps > 0
        and values.dtype == torch.float32
        and values.device.type == "cpu"
        and values.ndim in (2, 4)
        and 2 <= values.shape[1] <= _MOST
        and values.numel() >= _VALUES
        and all(_is_plain(it, values.shape[1]) for it in (running_mean, running_var, weight, bias))
        and not torch.is_autocast_enabled("cpu")
        and torch._C._autograd._top_saved_tensors_default_hooks(False) is None
        and _is_dense(values)
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
    """Values `(n, c, h, w)` channels_last, or `(n, c)`, normalized by their channel; running statistics follow."""
    normalized, mean, variance = _Normalization.apply(values, weight, bias, eps)
    rows = values.numel() // values.shape[1]
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(variance * (rows / (rows - 1)), momentum)
    outputs: Tensor = normalized
    return outputs


def _is_plain(statistic: Tensor | None, channels: int) -> bool:
    """Whether it is a number for each channel, one after another on the host."""
    return (
        statistic is not None
        and statistic.shape == (channels,)
        and statistic.dtype == torch.float32
        and statistic.device.type == "cpu"
        and statistic.is_contiguous()
    )


def _is_dense(values: Tensor) -> bool:
    if values.ndim == 4:
        return values.is_contiguous(memory_format=torch.channels_last)
    return values.ndim == 2 and values.is_contiguous()


class _Normalization(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        normalized = torch.empty_like(values)
        mean, variance, inverse = torch.empty(3, values.shape[1])
        statistics = (mean, variance, inverse)
        library.call("normalize", values, normalized, weight, bias, *statistics, *_shape(values), float(eps))
        ctx.save_for_backward(values, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return normalized, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, inverse = ctx.saved_tensors
        if values.ndim == 4:
            gradients = gradients.contiguous(memory_format=torch.channels_last)
        else:
            gradients = gradients.contiguous()
        turned = torch.empty_like(values)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(weight)
        given = (values, gradients, turned, weight, mean, inverse, of_weight, of_bias)
        library.call("normalize_gradient", *given, *_shape(values))
        return turned, of_weight, of_bias, None


def _shape(values: Tensor) -> tuple[int, int]:
    """Rows and channels."""
    channels = values.shape[1]
    return values.numel() // channels, channels
