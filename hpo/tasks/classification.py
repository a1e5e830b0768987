"""Classification: cross-entropy, probabilities, and their metrics.

The metrics are written out, since the library for them takes seconds to import, in every worker and every command.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hpo.tasks import GOALS, SMALLEST_PROBABILITY
from hpo.tasks.ranking import Ranking, auprc, auroc
from hpo.tasks.task import Task

_BINS = 15


class Classification(Task):
    """One class a row; a model gives logits."""

    base = "classification"
    metrics = GOALS["classification"]

    def learns_from(self, targets: NDArray[Any], device: torch.device) -> None:
        """Makes `class_weights` of `training.class_weights`.

        `auto` is n / (classes * rows of the class), whose mean over the training rows is 1; a class without rows has 1.
        """
        wanted = self.training.class_weights
        if wanted == "none":
            return
        classes = len(self.outputs)
        if wanted == "auto":
            counts = targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=classes)
            known = counts > 0
            weights = np.where(known, len(targets) / (known.sum() * np.where(known, counts, 1)), 1.0)
        else:
            assert not isinstance(wanted, str), "a mapping"
            weights = np.array([wanted.get(name, 1.0) for name in self.outputs])
        self.class_weights = torch.tensor(weights, dtype=torch.float32, device=device)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy or focal loss of logits `(n, c)` against labels `(n,)` or target probabilities `(n, c)`."""
        smoothing = self.training.label_smoothing
        if self.training.loss == "focal":
            return focal(outputs, targets, self.training.focal_gamma, self.class_weights, smoothing)
        weights = None if self.class_weights is None else self.class_weights.to(outputs.dtype)
        return functional.cross_entropy(outputs, targets, weights, label_smoothing=smoothing, reduction="none")

    def activate(self, outputs: Tensor) -> Tensor:
        """Logits `(n, c)` -> probabilities, which sum to one."""
        return functional.softmax(outputs, dim=1)

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Every metric of `hpo.tasks.GOALS["classification"]`.

        Precision, recall and F1 are macro averages over the classes that a row has or is taken for; balanced accuracy
        is the mean recall of the classes that rows have; MCC is the correlation of classes and predicted classes
        (Gorodkin 2004), 0 where one of them does not vary. AUROC and AUPRC (average precision) are of the positive
        class: the one that is named, of two the second, else the mean over the classes that rows have, each against
        the rest. ECE is the expected calibration error with 15 bins of equal width and the L1 norm (Guo et al. 2017,
        eq. 3).

        Args:
            predictions: probabilities, float `(n, c)`; rows sum to one.
            targets: labels, int64 `(n,)`.
        """
        confidences, predicted = predictions.max(dim=1)
        right = predicted == targets
        pairs = _confusion(predicted, targets, predictions.shape[1])
        precision, recall, f1, balanced = _macro(pairs)
        places = positives(self.positive, predictions.shape[1])
        return {
            "accuracy": float(right.float().mean()),
            "balanced_accuracy": balanced,
            "macro_f1": f1,
            "precision": precision,
            "recall": recall,
            "mcc": _correlation(pairs),
            "auroc": _mean_of(auroc, predictions, targets, places),
            "auprc": _mean_of(auprc, predictions, targets, places),
            "nll": float(nll(predictions, targets)),
            "ece": _calibration_error(confidences, right),
        }


def focal(
    outputs: Tensor, targets: Tensor, gamma: float, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Focal losses `(n,)`: cross-entropy of logits, times (1 - p)^gamma (Lin et al. 2017, eq. 5).

    Args:
        outputs: logits `(n, c)`.
        targets: labels `(n,)` or target probabilities `(n, c)`.
        gamma: 0 is cross-entropy.
        weights: of the classes `(c,)`.
        label_smoothing: the share of each target that is spread over all classes.
    """
    classes = outputs.shape[1]
    shares = functional.one_hot(targets, classes).to(outputs.dtype) if targets.ndim == 1 else targets
    shares = shares * (1 - label_smoothing) + label_smoothing / classes
    logarithms = functional.log_softmax(outputs, dim=1)
    losses = -shares * (1 - logarithms.exp()).clamp_min(SMALLEST_PROBABILITY) ** gamma * logarithms
    return (losses if weights is None else losses * weights).sum(dim=1)


def nll(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats, of probabilities `(n, c)` and labels `(n,)`."""
    return functional.nll_loss(probabilities.clamp_min(SMALLEST_PROBABILITY).log(), labels)


def positives(positive: int | None, classes: int) -> tuple[int, ...]:
    """The places of the classes that ranking metrics are of: the one that is named, of two the second, else all."""
    if positive is not None:
        return (positive,)
    return (1,) if classes == 2 else tuple(range(classes))


def _mean_of(metric: Ranking, predictions: Tensor, targets: Tensor, places: tuple[int, ...]) -> float:
    """A ranking metric of some classes against the rest each: the mean over those that rows have."""
    present = [place for place in places if bool((targets == place).any())] or list(places[:1])
    values = [metric(predictions[:, place], targets == place) for place in present]
    return sum(values) / len(values)


def _confusion(predicted: Tensor, targets: Tensor, classes: int) -> Tensor:
    """How many rows of each class are taken for each class, float64 `(classes, classes)`."""
    return torch.bincount(targets * classes + predicted, minlength=classes**2).view(classes, classes).double()


def _macro(pairs: Tensor) -> tuple[float, float, float, float]:
    """Precision, recall, F1 and balanced accuracy, each a mean over classes; a share of nothing is 0."""
    hits, taken, there = pairs.diagonal(), pairs.sum(dim=0), pairs.sum(dim=1)
    known = taken + there > 0
    shares = (hits / taken.clamp_min(1), hits / there.clamp_min(1), 2 * hits / (taken + there).clamp_min(1))
    precision, recall, f1 = (float(share[known].mean()) for share in shares)
    return precision, recall, f1, float(shares[1][there > 0].mean())


def _correlation(pairs: Tensor) -> float:
    """Matthews' correlation coefficient of a confusion matrix of any number of classes."""
    rows, taken, there = pairs.sum(), pairs.sum(dim=0), pairs.sum(dim=1)
    shared = pairs.diagonal().sum() * rows - taken @ there
    spread = (rows**2 - taken @ taken) * (rows**2 - there @ there)
    return float(shared / spread.sqrt()) if spread > 0 else 0.0


def _calibration_error(confidences: Tensor, right: Tensor) -> float:
    """The mean distance of confidence and accuracy in bins of equal width, weighted by their rows."""
    places = (confidences.double() * _BINS).long().clamp_max(_BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64, device=confidences.device)
    gaps.index_add_(0, places, right.double() - confidences.double())
    return float(gaps.abs().sum() / len(confidences))
