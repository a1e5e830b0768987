"""What every method minimizes on validation rows, whatever the study's objective.

The negative log-likelihood is a proper score: it reads the whole distribution of every row. Choosing by accuracy
instead fits the few rows that happen to flip, and lets in members that know nothing and so do no harm to it.
"""

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.combiner import Probabilities
from hpo.tasks import SMALLEST_PROBABILITY


def true_class(predictions: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability of each row's own class, `(..., rows)` of probabilities `(..., rows, classes)`."""
    chosen: NDArray[np.float64] = predictions[..., np.arange(len(labels)), labels].astype(np.float64)
    return chosen


def nll(own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean negative log-likelihood in nats, over the last axis of what `true_class` gives; inf where not finite."""
    costs = -np.log(np.maximum(own, SMALLEST_PROBABILITY)).mean(axis=-1)
    return np.where(np.isfinite(costs), costs, np.inf)
