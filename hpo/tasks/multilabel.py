"""Several labels a row, each of which holds or does not: binary cross-entropy and probabilities of their own."""

import torch
from torch import Tensor
from torch.nn import functional

from hpo.tasks import GOALS, SMALLEST_PROBABILITY
from hpo.tasks.task import Task


class Multilabel(Task):
    """Any number of labels a row; a model gives a logit for each."""

    base = "multilabel"
    metrics = GOALS["multilabel"]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy or focal loss of logits `(n, labels)` against 0, 1 or between, a mean a row."""
        smoothing = self.training.label_smoothing
        smoothed = targets.float() * (1 - smoothing) + 0.5 * smoothing
        if self.training.loss == "focal":
            return _focal(outputs, smoothed, self.training.focal_gamma).mean(dim=1)
        losses = functional.binary_cross_entropy_with_logits(outputs, smoothed, reduction="none")
        return losses.mean(dim=1)

    def activate(self, outputs: Tensor) -> Tensor:
        """Logits `(n, labels)` -> the probability of each label."""
        return outputs.sigmoid()

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Every metric of `hpo.tasks.GOALS["multilabel"]`; a label is predicted from a probability of one half on.

        Accuracy is the share of single labels that are right, subset accuracy the share of rows whose labels all are;
        F1 is averaged over labels (macro) or counted over all of them (micro).

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


def nll(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats a label, of probabilities and 0 or 1, both `(n, labels)`."""
    own = torch.where(targets == 1, probabilities, 1 - probabilities)
    return -own.clamp_min(SMALLEST_PROBABILITY).log().mean()


def _focal(outputs: Tensor, shares: Tensor, gamma: float) -> Tensor:
    """Focal losses of logits (Lin et al. 2017, eq. 4), of the same shape as the shares of 1 in the targets."""
    held, missed = functional.logsigmoid(outputs), functional.logsigmoid(-outputs)
    yes, no = (missed.exp().clamp_min(SMALLEST_PROBABILITY), held.exp().clamp_min(SMALLEST_PROBABILITY))
    return -(shares * yes**gamma * held + (1 - shares) * no**gamma * missed)
