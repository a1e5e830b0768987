"""The loss of a trial: its task's, or a function of the user's own."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.errors import InputError, TrainingError, shown
from hpo.plugins import Registry
from hpo.spec import TrainingSettings
from hpo.tasks.task import Task, mean

_OWN = Registry("loss", {})
_TAKEN = 2
"""Outputs and targets come first, whatever a user calls them."""
_SETTINGS = ("label_smoothing", "focal_gamma", "huber_delta", "quantile")
"""Settings of training that a loss of the user's own is told if it has arguments of these names."""
_MEASURED = ("scale", "class_weights")
"""What a task has measured on training rows, told likewise."""


class Loss:
    """What a trial minimizes.

    Args:
        task: told its settings; it is told the rest here.
        targets: of the training rows.
        scale: their standard deviations `(targets,)`, for regression.
        device: where training is.

    Raises:
        InputError: the loss is of the user's own and cannot be imported, is not trusted, or lacks an argument.
    """

    def __init__(self, task: Task, targets: NDArray[Any], scale: Tensor | None, device: torch.device) -> None:
        task.scale = scale
        task.learns_from(targets, device)
        self._name, self._function = task.training.loss, task.loss
        if ":" in self._name:
            function = own_loss(self._name, task.training)
            told = {name: getattr(task.training, name) for name in _SETTINGS}
            told |= {name: getattr(task, name) for name in _MEASURED}
            asked = {name: value for name, value in told.items() if name in _arguments(function)}
            self._function = partial(function, **{**asked, **task.training.loss_settings})

    def __call__(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The mean loss of rows, a scalar.

        Args:
            outputs: of the model, `(n, outputs)`.
            targets: of the same rows.
            weights: of the rows `(n,)`; all alike where None.

        Raises:
            TrainingError: a loss of the user's own gives something else than losses of rows or their mean.
        """
        losses = self._function(outputs, targets)
        if not isinstance(losses, Tensor) or losses.shape not in ((), targets.shape[:1]):
            got = tuple(losses.shape) if isinstance(losses, Tensor) else shown(losses)
            raise TrainingError(
                f"loss '{self._name}' must give a tensor of the losses of {len(targets)} rows, ({len(targets)},), or"
                f" their mean, (), got {got}"
            )
        if losses.ndim:
            return mean(losses, weights)
        if weights is not None:
            raise TrainingError(
                f"loss '{self._name}' gives a mean, and this training weights its rows: return the losses of rows (n,)"
            )
        return losses


def own_loss(name: str, training: TrainingSettings) -> Callable[..., Any]:
    """A loss of the user's own: a function `(outputs, targets, ...)`.

    Arguments of it that are called `label_smoothing`, `focal_gamma`, `huber_delta` or `quantile` are given these
    settings, `scale` and `class_weights` what `Task` has under that name; `training.loss_settings` are the others.

    Raises:
        InputError: it cannot be imported, is not trusted, or lacks an argument.
    """
    function = _OWN.load(name)
    if not callable(function):
        raise InputError(f"loss '{name}' must be a function (outputs, targets), got {function!r:.80}")
    asked = {one for one in (*_SETTINGS, *_MEASURED) if one in _arguments(function)}
    try:
        signature = inspect.signature(function)
    except ValueError:  # it has none that Python knows
        return function  # type: ignore[no-any-return]
    try:
        signature.bind(*(None,) * _TAKEN, **{**dict.fromkeys(asked), **training.loss_settings})
    except TypeError as error:
        raise InputError(f"loss '{name}' must take (outputs, targets) and training.loss_settings: {error}") from error
    return function  # type: ignore[no-any-return]


def _arguments(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(list(inspect.signature(function).parameters)[_TAKEN:])
    except (TypeError, ValueError):
        return frozenset()
