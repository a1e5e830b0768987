"""Several labels a row, each of which holds or does not: binary cross-entropy and probabilities of their own."""

import torch
from torch import Tensor
from torch.nn import functional

from hpo.tasks import SMALLEST_PROBABILITY
from hpo.tasks.kinds import mean


def loss(
    outputs: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    """Mean binary cross-entropy of logits `(n, labels)` against 0, 1 or what lies between `(n, labels)`."""
    smoothed = targets.float() * (1 - label_smoothing) + 0.5 * label_smoothing
    losses = functional.binary_cross_entropy_with_logits(outputs, smoothed, reduction="none")
    return mean(losses.mean(dim=1), weights)


def activate(outputs: Tensor) -> Tensor:
    """Logits `(n, labels)` -> the probability of each label."""
    return outputs.sigmoid()


def nll(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats a label, of probabilities and 0 or 1, both `(n, labels)`."""
    own = torch.where(targets == 1, probabilities, 1 - probabilities)
    return -own.clamp_min(SMALLEST_PROBABILITY).log().mean()


def measure(predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """Every metric of `hpo.tasks.GOALS["multilabel"]`; a label is predicted from a probability of one half on.

    Accuracy is the share of single labels that are right, subset accuracy the share of rows whose labels all are; F1 is
    averaged over labels (macro) or counted over all of them (micro).

    Args:
        predictions: probabilities `(n, labels)`.
        targets: 0 or 1 `(n, labels)`.
    """
    predicted, true = predictions >= 0.5, targets == 1
    hits, both = (predicted & true).sum(dim=0).double(), (predicted.sum(dim=0) + true.sum(dim=0)).double()
    return {
        "accuracy": float((predicted == true).float().mean()),
        "subset_accuracy": float((predicted == true).all(dim=1).float().mean()),
        "macro_f1": float((2 * hits / both.clamp_min(1)).mean()),
        "micro_f1": float(2 * hits.sum() / both.sum().clamp_min(1)),
        "nll": float(nll(predictions, targets)),
    }
