"""Parameters as numbers in [0, 1]: logarithmic where the parameter is; a stepped one has a bin for each value."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Numerical = FloatDistribution | IntDistribution


def size(distribution: BaseDistribution) -> int | None:
    """How many values the parameter can take; None if it is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    low, high, step = _range(distribution)
    if low == high:
        return 1
    return None if step is None else round((high - low) / step) + 1


def to_unit(values: Any, distribution: BaseDistribution) -> NDArray[np.float64]:
    """Values of a numerical parameter, a number or an array of them, in [0, 1]; what is out of range is clipped."""
    low, high, step = _range(distribution)
    clipped = np.clip(np.asarray(values, dtype=np.float64), low, high)
    if low == high:
        return np.full_like(clipped, 0.5)
    if distribution.log:  # type: ignore[attr-defined]
        bottom, top = _log_edges(low, high, step)
        return np.asarray((np.log(clipped) - bottom) / (top - bottom))
    if step is None:
        return np.asarray((clipped - low) / (high - low))
    return np.asarray((np.round((clipped - low) / step) + 0.5) / (round((high - low) / step) + 1))


def from_unit(unit: float, distribution: BaseDistribution) -> Any:
    """The value at a place in [0, 1], of any parameter; a categorical one has a bin for each choice."""
    if isinstance(distribution, CategoricalDistribution):
        count = len(distribution.choices)
        return distribution.choices[min(int(unit * count), count - 1)]
    low, high, step = _range(distribution)
    if distribution.log:  # type: ignore[attr-defined]
        bottom, top = _log_edges(low, high, step)
        value = math.exp(bottom + unit * (top - bottom))
        value = value if step is None else round(value)
    elif step is None:
        value = low + unit * (high - low)
    else:
        count = round((high - low) / step) + 1
        value = low + step * min(int(unit * count), count - 1)
    value = min(max(value, low), high)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether the parameter, as it is now, can take a value; its range may have been another when that was recorded.

    A number between two steps counts: a user's default is recorded as it was given.
    """
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    low, high, _ = _range(distribution)
    return isinstance(value, int | float) and low <= value <= high


def _range(distribution: BaseDistribution) -> tuple[float, float, float | None]:
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"a numerical parameter is wanted, not {distribution}")
    return distribution.low, distribution.high, distribution.step


def _log_edges(low: float, high: float, step: float | None) -> tuple[float, float]:
    half = 0.0 if step is None else 0.5  # a whole number k stands for [k - 0.5, k + 0.5]
    return math.log(low - half), math.log(high + half)
