"""Classification: cross-entropy, probabilities, and the metrics of torchmetrics."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional import classification as metrics

from hpo.tasks import SMALLEST_PROBABILITY


def loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits `(n, c)` against labels `(n,)` or target probabilities `(n, c)`."""
    return functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, *, batch_size: int, autocast: torch.autocast | None = None) -> Tensor:
    """Class probabilities.

    Args:
        model: in eval mode; from float images `(n, c, h, w)` in 0..255 to logits.
        images: uint8 `(n, c, h, w)`, on any device; batches are moved to the model's.
        batch_size: how many images at once.
        autocast: the precision that the model was trained in.

    Returns:
        float32 `(n, classes)` on the model's device.
    """
    device = next(model.parameters()).device
    batches = []
    for batch in images.split(batch_size):
        inputs = batch.to(device, non_blocking=True).float().contiguous(memory_format=torch.channels_last)
        if autocast is None:
            logits = model(inputs)
        else:
            with autocast:
                logits = model(inputs)
        batches.append(functional.softmax(logits.float(), dim=1))
    return torch.cat(batches)


def nll(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats, of probabilities `(n, c)` and labels `(n,)`."""
    return functional.nll_loss(probabilities.clamp_min(SMALLEST_PROBABILITY).log(), labels)


def measure(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Every metric of `hpo.tasks.GOALS["classification"]`.

    Precision, recall and F1 are macro averages over the classes; ECE is the expected calibration error with 15 bins
    of equal width and the L1 norm (Guo et al. 2017, eq. 3).

    Args:
        probabilities: float `(n, c)`; rows sum to one.
        labels: int64 `(n,)`.
    """
    return {name: float(metric(probabilities, labels)) for name, metric in METRICS.items()}


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
