"""Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2), and intervals.

Every candidate is calibrated before it is compared: a trial that was trained with label smoothing is unsure of what it
knows, and would lose by likelihood to a trial that knows less. What was combined is calibrated again: a mean of
probabilities is less sure than it could be (Rahaman & Thiery 2021, "Uncertainty Quantification and Deep Ensembles").
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from hpo.ensemble.score import Predictions, Targets, costs
from hpo.errors import InputError
from hpo.tasks import SMALLEST_PROBABILITY

_LOG_RANGE = (-3.0, 3.0)
"""Natural logarithms of the temperatures that are tried."""
_SPREAD = 0.5
"""The standard deviation of log-temperatures that are expected; on few rows this counts, on many it does not."""
_BINS = 15


@dataclass(frozen=True)
class Calibration:
    """What the last temperature does to cross-validated predictions.

    `before` and `after` have `nll`, `brier` and `ece`, as `reliability` gives them; empty for regression, whose
    temperature is 1.
    """

    temperature: float
    before: Mapping[str, float]
    after: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


@dataclass(frozen=True)
class Interval:
    """Around every prediction of a target, this far to either side: so the truth is inside in a `level` of cases."""

    level: float
    half_widths: tuple[float, ...]
    relative: bool = False
    """Whether the widths are times the spread of an input, as `hpo.datasets.series.Series.spread` says."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        relative = {"relative": True} if self.relative else {}
        return {"level": self.level, "half_widths": list(self.half_widths), **relative}


def fit_temperature(predictions: Predictions, targets: Targets, task: str = "classification") -> float:
    """The temperature that makes probabilities `(rows, outputs)` likeliest; it changes no row's predicted class.

    On a few rows that are all right the likeliest would be the least; so the logarithm has a normal prior around 0.

    Args:
        predictions: of validation rows.
        targets: of the same rows.
        task: regression has no temperature; it is 1.
    """
    if task == "regression":
        return 1.0
    logits = _logits(predictions, task)
    own = logits[np.arange(len(targets)), targets] if task == "classification" else np.where(targets == 1, 1, -1)

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        prior = 0.5 * (log_temperature / _SPREAD) ** 2 / len(targets)
        if task == "classification":
            return float((_log_sum(scaled) - own / np.exp(log_temperature)).mean()) + prior
        return float(np.logaddexp(0, -own * scaled).mean()) + prior

    found = minimize_scalar(cost, bounds=_LOG_RANGE, method="bounded", options={"xatol": 1e-2})
    return float(np.exp(found.x)) if found.fun < cost(0.0) else 1.0


def temper(predictions: Predictions, temperature: float, task: str = "classification") -> Predictions:
    """Logits over a temperature, as probabilities again `(rows, outputs)`; above 1 they are less sure.

    The softmax of the classes' logarithms, the sigmoid of each label's logit; regression values stay as they are.
    """
    if task == "regression":
        return predictions
    logits = _logits(predictions, task) / temperature
    if task == "classification":
        exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
        result = exponents / exponents.sum(axis=-1, keepdims=True)
    else:
        result = 1 / (1 + np.exp(-logits))
    return np.asarray(result, np.float32)


def calibration(predictions: Predictions, targets: Targets, task: str = "classification") -> Calibration:
    """Fits the last temperature to cross-validated combined predictions `(rows, outputs)`, and says what it does."""
    temperature = fit_temperature(predictions, targets, task)
    after = temper(predictions, temperature, task)
    return Calibration(temperature, reliability(predictions, targets, task), reliability(after, targets, task))


def reliability(predictions: Predictions, targets: Targets, task: str = "classification") -> dict[str, float]:
    """How far probabilities `(rows, outputs)` can be trusted; empty for regression.

    Returns:
        `nll`: in nats; `brier`: the mean over rows of the squared errors of all classes together, or over labels
        (Brier 1950); `ece`: the mean distance of confidence and accuracy in 15 bins of equal width, weighted by their
        rows (Naeini et al. 2015), of the most probable class or of every label's probability.
    """
    if task == "regression":
        return {}
    if task == "classification":
        right = predictions.argmax(axis=1) == targets
        sure = predictions.max(axis=1)
        errors = predictions.astype(np.float64)
        errors[np.arange(len(targets)), targets] -= 1
        brier = np.square(errors).sum(axis=1).mean()
    else:
        right, sure = targets.ravel() == 1, predictions.ravel()
        brier = np.square(sure - right).mean()
    return {
        "nll": float(costs(predictions, targets, task)),
        "brier": float(brier),
        "ece": _calibration_error(sure.astype(np.float64), right),
    }


LEVEL = 0.9
"""The share of new values that an interval is to hold, where nobody says."""


def conformal(
    errors: NDArray[np.floating], level: float = LEVEL, spreads: NDArray[np.floating] | None = None
) -> Interval:
    """Intervals from the errors `(rows, targets)` of predictions for rows that were not fitted.

    Split conformal prediction (Lei et al. 2018, "Distribution-Free Predictive Inference for Regression", algorithm 2):
    the ceil((rows + 1) * level)-th smallest absolute error, or where rows have spreads `(rows,)` the smallest in units
    of these (section 5.2, locally weighted).

    Raises:
        InputError: there are too few rows for this level.
    """
    rows = len(errors)
    rank = math.ceil((rows + 1) * level)
    if not 0 < level < 1 or rank > rows:
        raise InputError(
            f"intervals of level {level} need at least {_fewest_rows(level)} validation rows, there are {rows};"
            " raise data.validation"
            if 0 < level < 1
            else f"the level of intervals must be between 0 and 1, got {level}"
        )
    sizes = np.abs(errors) if spreads is None else np.abs(errors) / spreads[:, None]
    widths = np.sort(sizes, axis=0)[rank - 1]
    return Interval(level, tuple(float(width) for width in widths), relative=spreads is not None)


def _fewest_rows(level: float) -> int:
    return math.ceil(level / (1 - level) - 1e-9)


def _logits(predictions: Predictions, task: str) -> NDArray[np.float64]:
    probabilities = np.maximum(predictions.astype(np.float64), SMALLEST_PROBABILITY)
    logits: NDArray[np.float64] = np.log(probabilities)
    if task == "multilabel":
        logits -= np.log(np.maximum(1 - probabilities, SMALLEST_PROBABILITY))
    return logits


def _log_sum(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of the sum of exponents over the last axis."""
    largest = logits.max(axis=-1)
    sums: NDArray[np.float64] = np.log(np.exp(logits - largest[..., None]).sum(axis=-1)) + largest
    return sums


def _calibration_error(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    places = np.clip(np.ceil(sure * _BINS).astype(int) - 1, 0, _BINS - 1)
    gaps = np.bincount(places, weights=sure - right, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(sure))
