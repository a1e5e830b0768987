"""What methods compare: the study's metric as a number to minimize, ties broken by the negative log-likelihood."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.combiner import Probabilities
from hpo.tasks import Goal

Score = tuple[float, float]
"""(cost in the study's metric, NLL); smaller is better, tuples compare in this order."""

Scorer = Callable[[Probabilities, NDArray[np.int64]], Score]

_SMALLEST_PROBABILITY = 1e-7
WORST: Score = (np.inf, np.inf)


def scorer(metric: str, goal: Goal) -> Scorer:
    """How good probabilities `(rows, classes)` are for labels `(rows,)`; what is not finite never wins."""
    sign = 1.0 if goal == "minimize" else -1.0

    def score(probabilities: Probabilities, labels: NDArray[np.int64]) -> Score:
        cost = sign * _measure(metric, probabilities, labels)
        second = nll(probabilities, labels)
        return (cost, second) if np.isfinite(cost) and np.isfinite(second) else WORST

    return score


def nll(probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood in nats."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, _SMALLEST_PROBABILITY)).mean())


def _measure(metric: str, probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    # Greedy selection scores thousands of candidates: these two, the usual ones, need no tensors.
    if metric == "accuracy":
        return float((probabilities.argmax(axis=1) == labels).mean())
    if metric == "nll":
        return nll(probabilities, labels)
    import torch

    from hpo.tasks import classification

    return float(classification.METRICS[metric](torch.from_numpy(probabilities), torch.from_numpy(labels)))
