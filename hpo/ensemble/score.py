"""What every method minimizes on validation rows, whatever the study's objective: one proper score a task.

The negative log-likelihood reads the whole distribution of every row. Choosing by accuracy instead fits the few rows
that happen to flip, and lets in members that know nothing and so do no harm to it. For regression it is the squared
error.

Each score goes by the `own` part of predictions, which averages as the predictions do: the own part of a mean of
members is the mean of their own parts. So a bag of members is scored from a sum.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpo.tasks import SMALLEST_PROBABILITY

Predictions = NDArray[np.float32]
"""`(..., rows, outputs)`: probabilities of classes, which sum to one, or of labels, or regression values."""
Targets = NDArray[Any]
"""Of the same rows, as `hpo.datasets.dataset.Targets` has them."""


class Score(Protocol):
    """How a task judges predictions; less is better."""

    @property
    def name(self) -> str:
        """Of the metric, as the task reports it."""

    def own(self, predictions: Predictions, targets: Targets) -> NDArray[np.float64]:
        """What the score needs of predictions `(..., rows, outputs)`: `(..., rows, parts)`."""

    def cost(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score `(...)` of own parts `(..., rows, parts)`; inf where it is not finite."""


class Likelihood:
    """Mean negative log-likelihood of classes, in nats."""

    name = "nll"

    def own(self, predictions: Predictions, targets: Targets) -> NDArray[np.float64]:
        """The probability of each row's own class, `(..., rows, 1)`."""
        return true_class(predictions, targets)[..., None]

    def cost(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over rows."""
        return nll(own.reshape(*own.shape[:-2], -1))


class LabelLikelihood(Likelihood):
    """Mean negative log-likelihood of independent labels, in nats a label."""

    def own(self, predictions: Predictions, targets: Targets) -> NDArray[np.float64]:
        """The probability of what each label is, `(..., rows, labels)`."""
        return np.where(targets == 1, predictions, 1 - predictions).astype(np.float64)


class SquaredError:
    """Mean squared error over rows and targets."""

    name = "mse"

    def own(self, predictions: Predictions, targets: Targets) -> NDArray[np.float64]:
        """The errors, `(..., rows, targets)`."""
        errors: NDArray[np.float64] = predictions.astype(np.float64) - targets
        return errors

    def cost(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of the squares."""
        costs = np.square(own).mean(axis=(-2, -1))
        return np.where(np.isfinite(costs), costs, np.inf)


SCORES: dict[str, Score] = {
    "classification": Likelihood(),
    "multilabel": LabelLikelihood(),
    "regression": SquaredError(),
}
"""Task -> score."""


def true_class(predictions: Predictions, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability of each row's own class, `(..., rows)` of probabilities `(..., rows, classes)`."""
    chosen: NDArray[np.float64] = predictions[..., np.arange(len(labels)), labels].astype(np.float64)
    return chosen


def nll(own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean negative log-likelihood in nats, over the last axis of what `true_class` gives; inf where not finite."""
    costs = -np.log(np.maximum(own, SMALLEST_PROBABILITY)).mean(axis=-1)
    return np.where(np.isfinite(costs), costs, np.inf)
