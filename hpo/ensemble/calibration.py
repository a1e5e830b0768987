"""Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2).

Every candidate is calibrated before it is compared: a trial that was trained with label smoothing is unsure of what it
knows, and would lose by likelihood to a trial that knows less.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from hpo.ensemble.combiner import Probabilities
from hpo.ensemble.score import nll, true_class
from hpo.tasks import SMALLEST_PROBABILITY

_LOG_RANGE = (-3.0, 3.0)
"""Natural logarithms of the temperatures that are tried."""


def fit_temperature(probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    """The temperature that makes probabilities `(rows, classes)` likeliest; it changes no row's most probable class.

    Args:
        probabilities: of validation rows.
        labels: `(rows,)`.
    """

    def cost(log_temperature: float) -> float:
        return float(nll(true_class(temper(probabilities, np.exp(log_temperature)), labels)))

    found = minimize_scalar(cost, bounds=_LOG_RANGE, method="bounded", options={"xatol": 1e-2})
    return float(np.exp(found.x)) if found.fun < cost(0.0) else 1.0


def temper(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Softmax of the logarithms of probabilities `(rows, classes)` over a temperature; above 1 they are less sure."""
    logs = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY)) / temperature
    exponents = np.exp(logs - logs.max(axis=1, keepdims=True))
    result: Probabilities = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return result
