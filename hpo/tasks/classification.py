"""Classification: cross-entropy, probabilities, and their metrics.

The metrics are written out, since the library for them takes seconds to import, in every worker and every command.
"""

import torch
from torch import Tensor
from torch.nn import functional

from hpo.tasks import SMALLEST_PROBABILITY
from hpo.tasks.kinds import mean

_BINS = 15


def loss(
    outputs: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of logits `(n, c)` against labels `(n,)` or target probabilities `(n, c)`."""
    if weights is None:
        return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
    losses = functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing, reduction="none")
    return mean(losses, weights)


def activate(outputs: Tensor) -> Tensor:
    """Logits `(n, c)` -> probabilities, which sum to one."""
    return functional.softmax(outputs, dim=1)


def nll(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats, of probabilities `(n, c)` and labels `(n,)`."""
    return functional.nll_loss(probabilities.clamp_min(SMALLEST_PROBABILITY).log(), labels)


def measure(predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """Every metric of `hpo.tasks.GOALS["classification"]`.

    Precision, recall and F1 are macro averages over the classes that a row has or is taken for; ECE is the expected
    calibration error with 15 bins of equal width and the L1 norm (Guo et al. 2017, eq. 3).

    Args:
        predictions: probabilities, float `(n, c)`; rows sum to one.
        targets: labels, int64 `(n,)`.
    """
    confidences, predicted = predictions.max(dim=1)
    right = predicted == targets
    precision, recall, f1 = _macro(predicted, targets, predictions.shape[1])
    return {
        "accuracy": float(right.float().mean()),
        "macro_f1": f1,
        "precision": precision,
        "recall": recall,
        "nll": float(nll(predictions, targets)),
        "ece": _calibration_error(confidences, right),
    }


def _macro(predicted: Tensor, targets: Tensor, classes: int) -> tuple[float, float, float]:
    """Precision, recall and F1, each the mean over classes; a share of nothing is 0."""
    hits, taken, there = (
        torch.bincount(rows, minlength=classes).double() for rows in (targets[predicted == targets], predicted, targets)
    )
    known = taken + there > 0
    shares = (hits / taken.clamp_min(1), hits / there.clamp_min(1), 2 * hits / (taken + there).clamp_min(1))
    precision, recall, f1 = (float(share[known].mean()) for share in shares)
    return precision, recall, f1


def _calibration_error(confidences: Tensor, right: Tensor) -> float:
    """The mean distance of confidence and accuracy in bins of equal width, weighted by their rows."""
    places = (confidences.double() * _BINS).long().clamp_max(_BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64, device=confidences.device)
    gaps.index_add_(0, places, right.double() - confidences.double())
    return float(gaps.abs().sum() / len(confidences))
