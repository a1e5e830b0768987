"""Forecasting: the next steps of a series, as regression of each, with the errors by which forecasts are compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpo.tasks import regression
from hpo.tasks.features import Feature, history


@dataclass(frozen=True)
class Forecasting:
    """The task over series whose seasonal naive forecast has such an error on training steps."""

    naive_error: float
    """In the units of the target; NaN where nobody has measured it."""

    @classmethod
    def of(cls, layout: Sequence[Feature]) -> "Forecasting":
        """The task over inputs that are known to be the past of series."""
        known = history(layout)
        return cls(math.nan if known is None else known.naive_error)

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        label_smoothing: float = 0.0,
        weights: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the steps `(n, horizon)`, in standard deviations of the targets if there is `scale`."""
        return regression.loss(outputs, targets, label_smoothing=label_smoothing, weights=weights, scale=scale)

    def activate(self, outputs: Tensor) -> Tensor:
        """The outputs are the forecasts."""
        return outputs

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Every metric of `hpo.tasks.GOALS["forecasting"]`, over all steps of all windows.

        MASE is the mean absolute error in units of that of the seasonal naive forecast, each step as a season before,
        on the training steps (Hyndman and Koehler 2006); of several series the error of all their steps. Below 1 is
        better than that forecast was. The symmetric error is 2|f - y| / (|f| + |y|) (Makridakis 1993), 0 to 2.

        Args:
            predictions: `(n, horizon)`.
            targets: `(n, horizon)`.
        """
        errors = (predictions - targets).double()
        sizes = predictions.double().abs() + targets.double().abs()
        symmetric = 2 * errors.abs() / torch.where(sizes > 0, sizes, 1.0)  # 0 of nothing
        mean = float(errors.abs().mean())
        return {
            "mase": mean / self.naive_error,
            "smape": float(symmetric.mean()),
            "rmse": float(errors.square().mean().sqrt()),
            "mae": mean,
        }
