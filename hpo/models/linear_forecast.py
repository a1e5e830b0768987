"""Linear maps from the past of a series to its future: small, and hard to beat (Zeng et al. 2023, DLinear, NLinear)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Form = Literal["nlinear", "dlinear"]


class LinearForecast(nn.Module):
    """A linear map of the first channel of a window to the steps that follow, and perhaps one of the other channels.

    Args:
        steps: of a window.
        channels: of a step; the first is forecast.
        outputs: steps that are forecast.
        form: `nlinear` takes the last value off the window and puts it on the forecast; `dlinear` has one map for the
            moving average of the window and one for what is left.
        average: steps of the moving average, an odd number.
        covariates: whether the other channels are mapped too.
        dropout: the share of a window's numbers that is left out in training.
    """

    def __init__(
        self, steps: int, channels: int, outputs: int, form: Form, average: int, covariates: bool, dropout: float
    ) -> None:
        super().__init__()
        self._form, self._average = form, average
        self.past = nn.Linear(steps, outputs)
        self.trend = nn.Linear(steps, outputs) if form == "dlinear" else None
        self.others = nn.Linear(steps * (channels - 1), outputs) if covariates and channels > 1 else None
        self.dropout = nn.Dropout(dropout)
        for layer in (self.past, self.trend):
            if layer is not None:
                nn.init.constant_(layer.weight, 1 / steps)  # it begins with the mean, as the authors' code can
                nn.init.zeros_(layer.bias)
        if self.others is not None:
            nn.init.normal_(self.others.weight, std=1e-2 / math.sqrt(self.others.in_features))
            nn.init.zeros_(self.others.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of windows `(n, steps, channels)`."""
        values = inputs[:, :, 0]
        if self.trend is None:
            last = values[:, -1:]
            outputs: Tensor = self.past(self.dropout(values - last)) + last
        else:
            smooth = _moving_average(values, self._average)
            outputs = self.past(self.dropout(values - smooth)) + self.trend(self.dropout(smooth))
        if self.others is not None:
            outputs = outputs + self.others(self.dropout(inputs[:, :, 1:].flatten(1)))
        return outputs


def linear_forecast(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    form: Form = "nlinear",
    average: int = 25,
    covariates: bool = False,
    dropout: float = 0.0,
) -> nn.Module:
    """A linear map of the past to the future, of the given `form`, perhaps of `covariates` too, with `dropout`.

    Args:
        input_shape: (steps, channels) of series.
        outputs: how many numbers a row of the output has.
        form: `nlinear` or `dlinear`.
        average: steps of the moving average of `dlinear`, an odd number.
        covariates: whether the other channels are used.
        dropout: the share of numbers that is left out, in [0, 1).

    Raises:
        ValueError: a setting is out of its range, or the inputs are no series.
    """
    if len(input_shape) != 2:
        raise ValueError("it takes series, and these data have no steps; choose another model")
    if form not in ("nlinear", "dlinear") or not 0 <= dropout < 1:
        raise ValueError(f"form must be nlinear or dlinear and dropout in [0, 1), got {form}, {dropout}")
    if average < 1 or average % 2 == 0:
        raise ValueError(f"average must be an odd number of steps, got {average}")
    return LinearForecast(*input_shape, outputs, form, average, covariates, dropout)


def _moving_average(values: Tensor, steps: int) -> Tensor:
    """Means `(n, steps)` over so many steps around each; the first and the last value go on beyond the ends."""
    around = torch.cat([values[:, :1].expand(-1, steps // 2), values, values[:, -1:].expand(-1, steps // 2)], dim=1)
    return functional.avg_pool1d(around[:, None], steps, stride=1)[:, 0]
