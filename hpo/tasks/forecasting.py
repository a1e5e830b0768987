"""Forecasting: the next steps of a series, as regression of each, with the errors by which forecasts are compared."""

import math

import torch
from torch import Tensor

from hpo.tasks import GOALS
from hpo.tasks.features import history
from hpo.tasks.regression import Regression


class Forecasting(Regression):
    """The next steps of a series, a number each."""

    metrics = GOALS["forecasting"]

    @property
    def naive_error(self) -> float:
        """The mean error of the seasonal naive forecast, in the units of the target; NaN where it is not known."""
        known = history(self.layout)
        return math.nan if known is None else known.naive_error

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
