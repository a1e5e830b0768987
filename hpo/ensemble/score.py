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

_FACTORS = 32
"""So many probabilities are multiplied before one logarithm is taken: (1e-7)^32 is still a float64."""
_WIDTH = 256
"""So few logarithms cost less than to do without them."""


class Score(Protocol):
    """How a task judges predictions; less is better, and it is the mean of something over all own parts."""

    @property
    def name(self) -> str:
        """Of the metric, as the task reports it."""

    def own(self, predictions: Predictions, targets: Targets) -> NDArray[np.float64]:
        """What the score needs of predictions `(..., rows, outputs)`: `(..., rows, parts)`."""

    def inside(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Own parts of any shape, cut to where `losses` is convex."""

    def losses(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each own part costs, of any shape."""

    def slopes(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """The derivative of `losses`."""

    def mean(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean loss over the last axis; inf where it is not finite."""

    def cost(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score `(...)` of own parts `(..., rows, parts)`; inf where it is not finite."""


class Likelihood:
    """Mean negative log-likelihood of classes, in nats."""

    name = "nll"

    def own(self, predictions: Predictions, targets: Targets) -> NDArray[np.float64]:
        """The probability of each row's own class, `(..., rows, 1)`."""
        return true_class(predictions, targets)[..., None]

    def inside(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Not below the smallest probability that is told from zero."""
        return np.maximum(own, SMALLEST_PROBABILITY)

    def losses(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Minus the logarithm."""
        losses: NDArray[np.float64] = -np.log(np.maximum(own, SMALLEST_PROBABILITY))
        return losses

    def slopes(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """The derivative of `losses`."""
        slopes: NDArray[np.float64] = -1 / np.maximum(own, SMALLEST_PROBABILITY)
        return slopes

    def mean(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `nll`."""
        return nll(own)

    def cost(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over rows."""
        return nll(_flat(own))


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

    def inside(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """All of them."""
        return own

    def losses(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """The squares."""
        return np.square(own)

    def slopes(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """The derivative of `losses`."""
        return 2 * own

    def mean(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of the squares over the last axis."""
        costs = np.square(own).mean(axis=-1)
        return np.where(np.isfinite(costs), costs, np.inf)

    def cost(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of the squares."""
        return self.mean(_flat(own))


SCORES: dict[str, Score] = {
    "classification": Likelihood(),
    "multilabel": LabelLikelihood(),
    "regression": SquaredError(),
}
"""Task -> score."""


def costs(predictions: Predictions, targets: Targets, task: str = "classification") -> NDArray[np.float64]:
    """The task's score `(...)` of predictions `(..., rows, outputs)`; inf where it is not finite."""
    score = SCORES[task]
    return score.cost(score.own(predictions, targets))


def hits(predictions: Predictions, targets: Targets, task: str = "classification") -> NDArray[np.float64]:
    """The share of classes or labels that are right in each row, `(..., rows)`, of `(..., rows, outputs)`."""
    if task == "classification":
        return np.asarray(predictions.argmax(axis=-1) == targets, np.float64)
    return np.asarray(((predictions >= 0.5) == (targets == 1)).mean(axis=-1), np.float64)


def true_class(predictions: Predictions, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability of each row's own class, `(..., rows)` of probabilities `(..., rows, classes)`."""
    chosen: NDArray[np.float64] = predictions[..., np.arange(len(labels)), labels].astype(np.float64)
    return chosen


def nll(own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean negative log-likelihood in nats, over the last axis of what `true_class` gives; inf where not finite.

    The logarithm of a product is taken, not a sum of logarithms, which is several times as fast.
    """
    factors = np.maximum(own, SMALLEST_PROBABILITY)
    rows = own.shape[-1]
    width = max(-(-rows // _FACTORS), _WIDTH)
    products = factors[..., :width]
    for start in range(width, rows, width):
        piece = factors[..., start : start + width]
        products[..., : piece.shape[-1]] *= piece
    costs = -np.log(products).sum(axis=-1) / rows
    return np.where(np.isfinite(costs), costs, np.inf)


def _flat(own: NDArray[np.float64]) -> NDArray[np.float64]:
    return own.reshape(*own.shape[:-2], -1)
