"""Tasks by their names, and predictions of a model."""

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpo.errors import InputError, on_one_line
from hpo.spec import SearchSpec, StudySpec
from hpo.spec.own_task import own_task
from hpo.tasks import GOALS
from hpo.tasks.features import Feature
from hpo.tasks.rows import Rows
from hpo.tasks.task import Task


def kind(task: str) -> Task:
    """A task by its name, or by `module:Class` of the user's own, as it is before it is told anything.

    Raises:
        InputError: the class cannot be imported, is not trusted, or is no task.
        ValueError: it is no name of ours.
    """
    if ":" in task:
        return _own(task)
    if task not in GOALS:
        raise ValueError(f"'{task}' is no task")
    made: Task = getattr(import_module(f"hpo.tasks.{task}"), task.title())()
    return made


def task_for(spec: SearchSpec, outputs: Sequence[str], layout: Sequence[Feature] = ()) -> Task:
    """The task of a search, told its settings.

    Args:
        spec: with the config of a trial laid over it, where it is to train.
        outputs: the name of each class, of each label, or of each target.
        layout: what its inputs are, as far as it is known.

    Raises:
        InputError: its class is of the user's own and cannot be imported, is not trusted, or is no task.
    """
    task = kind(spec.task)
    task.training, task.outputs, task.layout = spec.training, tuple(outputs), tuple(layout)
    positive = spec.data.positive if isinstance(spec, StudySpec) else None
    task.positive = task.outputs.index(positive) if positive in task.outputs else None
    return task


def activates(task: str) -> bool:
    """Whether a task of the user's own makes predictions of outputs by a function of its own.

    Raises:
        InputError: its class cannot be imported, is not trusted, or is no task.
    """
    own = kind(task)
    return type(own).activate is not type(kind(own.base)).activate


def _own(path: str) -> Task:
    found = own_task(path)
    ways = "Classification, Multilabel or Regression of hpo.tasks.classification, .multilabel and .regression"
    if not issubclass(found, Task):
        raise InputError(f"task '{path}' must be a class below {ways}")
    try:
        made: Task = found()
    except Exception as error:  # a user's class may raise anything
        raise InputError(f"task '{path}' cannot be made without arguments: {on_one_line(error):.300}") from error
    return made


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
