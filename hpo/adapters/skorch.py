"""skorch: a callback that reports each epoch, and lets a trial pause and go on.

from hpo.adapters.skorch import ReportCallback

def train(config):
    report = ReportCallback(predictions=(X_val, y_val))
    NeuralNetClassifier(Net, max_epochs=10, callbacks=[report], **config).fit(X, y)
"""

from typing import Any

import torch
from sklearn.base import is_classifier

import hpo.reporting
from hpo.adapters.extras import extra
from hpo.adapters.metrics import Wanted, chosen
from hpo.errors import TrainingError
from hpo.training import TrialContext, randomness
from hpo.training.own_training import context as running

with extra("skorch"):
    from skorch import NeuralNet
    from skorch.callbacks import Callback, LRScheduler

_NOT_MEASURED = ("epoch", "dur")
"""What a history has of an epoch beside metrics; also how many batches it had, and what was the best so far."""


class ReportCallback(Callback):
    """Reports what skorch's history has of each epoch; stands behind all other callbacks that measure.

    The trial's state is the module, the criterion, the optimizer, learning-rate schedules by `LRScheduler`, and the
    random generators. A trial that was paused trains the epochs that are left of `max_epochs`, as if it had not been
    paused; but what other callbacks have counted begins anew.

    Outside of a search it does nothing.

    Args:
        metrics: names as the history has them, or the name to report -> the name there; all that was measured where
            None.
        predictions: validation rows and their targets, `(X, y)`, which make the trial a candidate for ensembles: a
            classifier's probabilities, or values.
        context: of the trial; the one that runs where None.
    """

    def __init__(
        self,
        metrics: Wanted = None,
        predictions: tuple[Any, Any] | None = None,
        context: TrialContext | None = None,
    ) -> None:
        self.metrics, self.predictions, self.context = metrics, predictions, context

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **_: Any) -> None:
        """Restores the net, and leaves it the epochs that are to come."""
        context = self.context = self.context or running()
        if context is None:
            return
        schedules = [callback.lr_scheduler_ for _, callback in net.callbacks_ if isinstance(callback, LRScheduler)]
        parts = {name: getattr(net, f"{name}_", None) for name in ("module", "criterion", "optimizer")}
        context.track(
            **{name: part for name, part in parts.items() if part is not None},
            **{f"schedule{place}": schedule for place, schedule in enumerate(schedules, 1)},
        )
        net.set_params(max_epochs=max(0, net.max_epochs - context.start + 1))

    def on_epoch_end(self, net: NeuralNet, dataset_train: Any = None, dataset_valid: Any = None, **_: Any) -> None:
        """Reports the epoch."""
        if self.context is None:
            return
        if self.predictions is not None:
            rows, targets = self.predictions
            before = randomness.states()  # iterating over rows draws a number
            self.context.predictions(net.predict_proba(rows) if is_classifier(net) else net.predict(rows), targets)
            randomness.restore(before)
        hpo.reporting.report(chosen(_measured(net), self.metrics, "skorch"))


def _measured(net: NeuralNet) -> dict[str, float]:
    """The metrics of the last epoch.

    Raises:
        TrainingError: there are none.
    """
    found = {
        name: float(value)
        for name, value in net.history[-1].items()
        if isinstance(value, int | float | torch.Tensor)
        and not isinstance(value, bool)
        and name not in _NOT_MEASURED
        and not name.endswith(("_best", "_batch_count"))
    }
    if not found:
        raise TrainingError("skorch has measured nothing in this epoch")
    return found
