"""Batch normalization, and ReLU after it: see `normalization.cpp`."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpo.training.kernels import library, room

_MOST = 1024
"""Channels; more than a network for images has."""
_VALUES = 2**16
"""At least, or what a call costs is not made good."""


class Line(NamedTuple):
    """What normalization does to the values of a channel, value * scale + shift, and what they are; each `(c,)`."""

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

    Values may be bfloat16, as autocast makes them; statistics are float32. It knows the gradients of what is normalized
    by its own statistics, as in training, not by running ones. Where torch.utils.checkpoint has its hooks, it computes
    again by torch what the gradients need; so this must be too.
    """
    return (
        (training or not torch.is_grad_enabled())
        and eps > 0
        and values.device.type == "cpu"
        and values.ndim in (2, 4)
        and 2 <= values.shape[1] <= _MOST
        and values.numel() >= _VALUES
        and all(_is_plain(it, values.shape[1]) for it in (running_mean, running_var, weight, bias))
        and torch._C._autograd._top_saved_tensors_default_hooks(False) is None
        and is_dense(values)
        and library.there(values.dtype)  # it may have to be compiled, so it is asked last
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
    """Values `(n, c, h, w)` channels_last, or `(n, c)`, normalized by their channel; running statistics follow.

    Without `training` the running statistics are what they are normalized by.
    """
    if training:
        line = line_of(values, running_mean, running_var, weight, bias, momentum, eps)
    else:
        line = line_at(running_mean, running_var, weight, bias, eps)
    outputs: Tensor = _Normalization.apply(values, None, weight, bias, line, False)
    return outputs


def rectified(values: Tensor, shortcut: Tensor | None, line: Line, rectifies: bool = True) -> Tensor:
    """As `rectify`, or without the maximum; it has no gradients."""
    outputs = room.like(values)
    library.call("normalize", values, shortcut, outputs, line.scale, line.shift, *_shape(values), int(rectifies))
    return outputs


def rectify(values: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, line: Line) -> Tensor:
    """max(0, values normalized by the line, and the shortcut if there is one), both `(n, c, h, w)` channels_last."""
    outputs: Tensor = _Normalization.apply(values, shortcut, weight, bias, line, True)
    return outputs


@torch.no_grad()
def line_of(
    values: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
) -> Line:
    """The line of these values; running statistics follow them."""
    mean, variance = torch.empty(2, values.shape[1])
    rows, channels = _shape(values)
    library.call("statistics", values, mean, variance, rows, channels)
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(variance * (rows / (rows - 1)), momentum)
    return line_at(mean, variance, weight, bias, eps)


@torch.no_grad()
def line_at(mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Line:
    """The line of values with this mean and variance, each `(c,)`."""
    inverse = (variance + eps).rsqrt()
    scale = weight * inverse
    return Line(scale, torch.addcmul(bias, mean, scale, value=-1), mean, inverse)


def turn(
    values: Tensor,
    gradients: Tensor,
    line: Line,
    turned: Tensor,
    outputs: Tensor | None = None,
    kept: Tensor | None = None,
    rectifies: bool = True,
) -> tuple[Tensor, Tensor]:
    """The gradients of what `rectified` gives become those of what it is given.

    Args:
        values: `(n, c, h, w)` channels_last, or `(n, c)`.
        gradients: of that shape, dense as the values are.
        line: of the values.
        turned: becomes the gradients of the values; the gradients themselves may be, where nobody else needs them.
        outputs: what was given, where a shortcut was added.
        kept: becomes the gradients of that.
        rectifies: as it was.

    Returns:
        The gradients `(c,)` of the weight and of the bias.
    """
    of_weight, of_bias = torch.empty(2, values.shape[1])
    given = (values, gradients, outputs, kept, turned, *line, of_weight, of_bias)
    library.call("normalize_gradient", *given, *_shape(values), int(rectifies))
    return of_weight, of_bias


def _is_plain(statistic: Tensor | None, channels: int) -> bool:
    """Whether it is a number for each channel, one after another on the host."""
    return (
        statistic is not None
        and statistic.shape == (channels,)
        and statistic.dtype == torch.float32
        and statistic.device.type == "cpu"
        and statistic.is_contiguous()
    )


def is_dense(values: Tensor) -> bool:
    """Whether the values of a row, or of a pixel, stand one after another, and so do those."""
    if values.ndim == 4:
        return values.is_contiguous(memory_format=torch.channels_last)
    return values.ndim == 2 and values.is_contiguous()


class _Normalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, line: Line, rectifies: bool
    ) -> Tensor:
        """`weight` and `bias` have made the line, and get their gradients here."""
        outputs = rectified(values, shortcut, line, rectifies)
        ctx.rectifies, ctx.added = rectifies, shortcut is not None
        ctx.save_for_backward(values, *line, *([outputs] if ctx.added else []))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, *saved = ctx.saved_tensors
        line, outputs = Line(*saved[:4]), saved[4] if ctx.added else None
        gradients = gradients.contiguous(
            memory_format=torch.channels_last if values.ndim == 4 else torch.contiguous_format
        )
        turned, kept = room.like(values), room.like(values) if ctx.added else None
        of_weight, of_bias = turn(values, gradients, line, turned, outputs, kept, ctx.rectifies)
        return turned, kept, of_weight, of_bias, None, None


def _shape(values: Tensor) -> tuple[int, int]:
    """Rows and channels."""
    channels = values.shape[1]
    return values.numel() // channels, channels
