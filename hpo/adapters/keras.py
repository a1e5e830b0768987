"""Keras 3 on PyTorch: a callback that reports each epoch, and lets a trial pause and go on.

from hpo.adapters.keras import ReportCallback

def train(config):
    report = ReportCallback(predictions=(X_val, y_val))
    model.fit(
        X, y, validation_data=(X_val, y_val), epochs=10, initial_epoch=report.initial_epoch, callbacks=[report]
    )
"""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch

import hpo.reporting
from hpo.adapters.extras import extra
from hpo.adapters.metrics import Wanted, chosen
from hpo.errors import InputError, TrainingError, first_line
from hpo.training import TrialContext, randomness
from hpo.training.own_training import context as running

os.environ.setdefault("KERAS_BACKEND", "torch")
with extra("keras"):
    import keras

if keras.backend.backend() != "torch":
    raise InputError(
        f"hpo.adapters.keras needs Keras on PyTorch, and it is on {keras.backend.backend()}: set KERAS_BACKEND=torch"
        " before keras is imported"
    )

_PARTS = ("variables", "optimizer", "random")


class ReportCallback(keras.callbacks.Callback):
    """Reports what Keras has measured at the end of each epoch; stands behind all other callbacks.

    The trial's state is the variables of the model and of its optimizer, and the random generators. With
    `model.fit(..., initial_epoch=report.initial_epoch)` a trial that was paused goes on as if it had not been; but what
    other callbacks have counted begins anew.

    Outside of a search it does nothing.

    Args:
        metrics: names as Keras logs them, or the name to report -> the name logged; all that is logged where None.
        predictions: validation rows and their targets, `(x, y)`, which make the trial a candidate for ensembles if the
            model's outputs are probabilities or values.
        context: of the trial; the one that runs where None.
    """

    def __init__(
        self,
        metrics: Wanted = None,
        *,
        predictions: tuple[Any, Any] | None = None,
        context: TrialContext | None = None,
    ) -> None:
        super().__init__()
        self._metrics, self._predictions = metrics, predictions
        self._context = context or running()
        self._restores = False

    @property
    def initial_epoch(self) -> int:
        """What `model.fit` wants as `initial_epoch`: 0 where the trial begins."""
        self._restores = True
        return 0 if self._context is None else self._context.start - 1

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restores the variables and the random generators."""
        state = None if self._context is None else self._context.resume
        if self._context is None:
            return
        if not self._restores:
            warnings.warn(
                "a trial that pauses will be trained again from its beginning: give `model.fit` the argument"
                " initial_epoch=report.initial_epoch, where `report` is this callback",
                RuntimeWarning,
                stacklevel=2,
            )
        elif state is not None:
            if not all(part in state for part in _PARTS):
                raise TrainingError("the stored state is not of hpo.adapters.keras")
            optimizer = self.model.optimizer
            rate = optimizer.get_config().get("learning_rate")
            _restore(self.model.variables, state["variables"], "model")
            _restore(optimizer.variables, state["optimizer"], "optimizer")
            if self._context.inherited and isinstance(rate, float):  # no schedule
                optimizer.learning_rate = rate
            randomness.restore(state["random"])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Reports the epoch."""
        if self._context is None:
            return
        if self._predictions is not None:
            rows, targets = self._predictions
            before = randomness.states()
            self._context.predictions(self.model.predict(rows, verbose=0), targets)
            randomness.restore(before)
        if self._restores:
            self._context.save(
                {
                    "variables": _values(self.model.variables),
                    "optimizer": _values(self.model.optimizer.variables),
                    "random": randomness.states(),
                }
            )
        hpo.reporting.report(chosen(logs or {}, self._metrics, "Keras"), epoch=epoch + 1)


def _values(variables: Any) -> list[torch.Tensor]:
    return [variable.value.detach().clone() for variable in variables]


def _restore(variables: Any, values: Any, what: str) -> None:
    """Assigns stored values to variables.

    Raises:
        TrainingError: they are others.
    """
    try:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"the stored state of the {what} does not fit: {first_line(error)}") from error
