"""What a model predicts: of examples, and of rows that are on the device already."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from hpo.datasets import Examples
from hpo.models.weights import Weights, weights_of, with_weights
from hpo.tasks.kinds import predict
from hpo.tasks.rows import Rows
from hpo.tasks.task import Task
from hpo.training.batches import as_seen
from hpo.training.precision import prediction_batch


class Predictor:
    """A model's predictions, as the task means them. The model is left as it was, but in eval mode.

    Args:
        model: on the device.
        task: says what outputs mean.
        device: of the model.
        precision: that the model was trained in.
    """

    def __init__(self, model: nn.Module, task: Task, device: torch.device, precision: torch.autocast | None) -> None:
        self.model, self._task, self._device, self._precision = model, task, device, precision

    def __call__(self, examples: Examples, weights: Weights | None = None) -> Tensor:
        """`(n, outputs)` on the device, with the model's own weights or with other ones."""
        with nullcontext() if weights is None else with_weights(self.model, weights):
            return self.rows(as_seen(examples.inputs))

    def rows(self, inputs: Tensor | Rows) -> Tensor:
        """`(n, outputs)` on the device, of inputs as the model sees them, wherever they are."""
        self.model.eval()
        size = prediction_batch(self._device)
        return predict(self.model, inputs, self._task.activate, batch_size=size, autocast=self._precision)

    def weights(self) -> Weights:
        """A copy of the model's weights in the host's memory, which stays as it is while training goes on."""
        return weights_of(self.model)
