"""The kinds of task: what training, prediction and measuring need of each, one module a kind."""

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpo.tasks import GOALS
from hpo.tasks.features import Feature
from hpo.tasks.rows import Rows


class Kind(Protocol):
    """A task's module. Outputs are what a model gives, predictions what they mean."""

    def loss(
        self, outputs: Tensor, targets: Tensor, *, label_smoothing: float, weights: Tensor | None, scale: Tensor | None
    ) -> Tensor:
        """What training minimizes, a scalar.

        Args:
            outputs: of the model, `(n, outputs)`.
            targets: of the same rows.
            label_smoothing: of classification the share spread over all classes; labels move towards one half.
            weights: of the rows `(n,)`; all alike where None.
            scale: the targets' standard deviations `(outputs,)`, for regression.
        """

    def activate(self, outputs: Tensor) -> Tensor:
        """Outputs `(n, outputs)` -> predictions of the same shape."""

    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Every metric of the task in `hpo.tasks.GOALS`."""


def kind(task: str, layout: Sequence[Feature] = ()) -> Kind:
    """A task in `hpo.tasks.GOALS`: its module, or what it is over inputs that are known.

    Args:
        task: by its name.
        layout: what its inputs are.

    Raises:
        ValueError: it is no task.
    """
    if task not in GOALS:
        raise ValueError(f"'{task}' is no task")
    module = import_module(f"hpo.tasks.{task}")
    found: Kind = module.Forecasting.of(layout) if task == "forecasting" else module
    return found


def floats(inputs: Tensor) -> Tensor:
    """Inputs as a model takes them: pixels as float32, rows of a table in their own type of floats."""
    return inputs if inputs.is_floating_point() else inputs.float()


@torch.no_grad()  # not inference_mode: what a network keeps of a pass, it may train with
def predict(
    model: nn.Module,
    inputs: Tensor | Rows,
    activate: Callable[[Tensor], Tensor],
    *,
    batch_size: int,
    autocast: torch.autocast | None = None,
) -> Tensor:
    """A model's predictions.

    Args:
        model: in eval mode; from float images `(n, c, h, w)` in 0..255 or other numbers `(n, ...)` to outputs.
        inputs: uint8 images, rows of floats, series, texts or clips, on any device; batches are moved to the model's.
        activate: of the task.
        batch_size: how many inputs at once.
        autocast: the precision that the model was trained in.

    Returns:
        float32 `(n, outputs)` on the model's device.
    """
    device = next(model.parameters()).device
    order: list[NDArray[np.intp]] = []
    batches = []
    for rows, batch in _batches(inputs, batch_size):  # one at a time: all together they may not fit
        order += [] if rows is None else [rows]
        values = floats(batch.to(device, non_blocking=True))
        if values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        if autocast is None:
            outputs = model(values)
        else:
            with autocast:
                outputs = model(values)
        batches.append(activate(outputs.float()))
    predictions = torch.cat(batches)
    if not order:
        return predictions
    return predictions[torch.from_numpy(np.argsort(np.concatenate(order), kind="stable")).to(device)]


def _batches(inputs: Tensor | Rows, size: int) -> Iterable[tuple[NDArray[np.intp] | None, Tensor]]:
    """Batches of inputs, with the numbers of their rows where these come in an order of their own."""
    if not isinstance(inputs, Tensor):
        return inputs.batches(size)
    return ((None, part) for part in inputs.split(size))


def mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of rows' losses `(n,)`, weighted where there are weights `(n,)`; their mean over the data is 1."""
    return losses.mean() if weights is None else (losses * weights).mean()
