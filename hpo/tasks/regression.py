"""Regression: a model gives the values themselves, in their own units; errors are learned in standard deviations."""

import torch
from torch import Tensor
from torch.nn import functional

from hpo.tasks import GOALS
from hpo.tasks.task import Task


class Regression(Task):
    """One or several numbers a row."""

    base = "regression"
    metrics = GOALS["regression"]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared, absolute, Huber or quantile errors of values `(n, targets)`, a mean a row.

        They are in standard deviations of the targets where `scale` has them. Huber's is the square below
        `huber_delta`, and twice `huber_delta` times the error beyond, less `huber_delta` squared (Huber 1964, times 2),
        so that it is the squared error where all are small.
        """
        errors = outputs - targets
        if self.scale is not None:
            errors = errors / self.scale
        match self.training.loss:
            case "mae":
                losses = errors.abs()
            case "huber":
                delta = self.training.huber_delta
                losses = 2 * functional.huber_loss(errors, torch.zeros_like(errors), delta=delta, reduction="none")
            case "quantile":
                losses = pinball(errors, self.training.quantile)
            case _:
                losses = errors.square()
        return losses.mean(dim=1)

    def activate(self, outputs: Tensor) -> Tensor:
        """The outputs are the predictions."""
        return outputs

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Every metric of `hpo.tasks.GOALS["regression"]`: of several targets the mean of each one's.

        R2 is the share of the variance that is explained: 0 is as good as the mean of the rows, 1 is perfect. A target
        that does not vary has none, and counts as 0.

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


def pinball(errors: Tensor, quantile: float) -> Tensor:
    """Quantile losses of errors, which are predictions less truth (Koenker and Bassett 1978)."""
    return torch.maximum((quantile - 1) * -errors, quantile * -errors)
