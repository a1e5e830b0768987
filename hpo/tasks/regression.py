"""Regression: squared error; a model gives the values themselves, in their own units."""

import torch
from torch import Tensor

from hpo.tasks.kinds import mean


def loss(
    outputs: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    """Mean squared error of values `(n, targets)`, in standard deviations of the targets where `scale` gives them."""
    errors = outputs - targets
    if scale is not None:
        errors = errors / scale
    return mean(errors.square().mean(dim=1), weights)


def activate(outputs: Tensor) -> Tensor:
    """The outputs are the predictions."""
    return outputs


def measure(predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """Every metric of `hpo.tasks.GOALS["regression"]`: of several targets the mean of each one's.

    R2 is the share of the variance that is explained: 0 is as good as the mean of the rows, 1 is perfect. A target that
    does not vary has none, and counts as 0.

    Args:
        predictions: `(n, targets)`.
        targets: `(n, targets)`.
    """
    errors = (predictions - targets).double()
    squares = errors.square().mean(dim=0)
    variance = targets.double().var(dim=0, correction=0)
    explained = torch.where(variance > 0, 1 - squares / variance, torch.zeros_like(variance))
    return {
        "rmse": float(squares.sqrt().mean()),
        "mae": float(errors.abs().mean()),
        "r2": float(explained.mean()),
    }
