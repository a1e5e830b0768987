"""Classification: cross-entropy, probabilities, and the metrics of torchmetrics."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional
from torchmetrics.functional import classification as metrics

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

    Precision, recall and F1 are macro averages over the classes; ECE is the expected calibration error with 15 bins
    of equal width and the L1 norm (Guo et al. 2017, eq. 3).

    Args:
        predictions: probabilities, float `(n, c)`; rows sum to one.
        targets: labels, int64 `(n,)`.
    """
    return {name: float(metric(predictions, targets)) for name, metric in METRICS.items()}


def _macro(function: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def metric(probabilities: Tensor, labels: Tensor) -> Tensor:
        classes = probabilities.shape[1]
        return function(probabilities, labels, num_classes=classes, average="macro", validate_args=False)

    return metric


def _accuracy(probabilities: Tensor, labels: Tensor) -> Tensor:
    classes = probabilities.shape[1]
    return metrics.multiclass_accuracy(probabilities, labels, num_classes=classes, average="micro", validate_args=False)


def _ece(probabilities: Tensor, labels: Tensor) -> Tensor:
    classes = probabilities.shape[1]
    return metrics.multiclass_calibration_error(
        probabilities, labels, num_classes=classes, n_bins=15, validate_args=False
    )


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro(metrics.multiclass_f1_score),
    "precision": _macro(metrics.multiclass_precision),
    "recall": _macro(metrics.multiclass_recall),
    "nll": nll,
    "ece": _ece,
}
