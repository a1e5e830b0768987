"""Measuring predictions as a search wants it: by its task, at thresholds, and by functions of the user's own."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hpo.errors import InputError, TrainingError, on_one_line
from hpo.plugins import Registry
from hpo.spec import Metric, SearchSpec
from hpo.tasks import at_number, with_numbers
from hpo.tasks.features import Feature
from hpo.tasks.kinds import task_for
from hpo.tasks.regression import pinball
from hpo.tasks.task import Task

METRICS = Registry("metric", {})
_TAKEN = 2
"""Predictions and targets come first, whatever a user calls them."""


class Meter:
    """Measures predictions of the rows of a search.

    Args:
        spec: of the search.
        outputs: the name of each class, of each label, or of each target.
        layout: what the inputs are, as far as it is known; metrics of forecasts need it.

    Raises:
        InputError: the task or a metric is of the user's own and cannot be imported, or is not trusted.
    """

    def __init__(self, spec: SearchSpec, outputs: Sequence[str], layout: Sequence[Feature] = ()) -> None:
        self.task = task_for(spec, outputs, layout)
        """The task, told the settings of the search."""
        self._numbered = with_numbers(spec)
        self._own = {metric: own_metric(metric) for metric in spec.metrics if ":" in metric.name}
        self.names = (*self.task.metrics, *self._numbered, *(metric.reported for metric in self._own))
        """The names of all metrics that it measures."""

    def __call__(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Name -> value of every metric.

        Args:
            predictions: `(n, outputs)`.
            targets: of the same rows, as `Task.measure` has them.

        Raises:
            TrainingError: a metric of the user's own fails, or gives no number.
        """
        measured = dict(self.task.measure(predictions, targets))
        measured |= {name: _at(name, self.task, predictions, targets) for name in self._numbered}
        for metric, function in self._own.items():
            measured[metric.reported] = _measured(metric, function, predictions, targets)
        return measured


def own_metric(metric: Metric) -> Callable[..., Any]:
    """A metric of the user's own: a function `(predictions, targets, **settings)` of arrays, which gives a number.

    Raises:
        InputError: it cannot be imported, is not trusted, or does not take its settings.
    """
    function = METRICS.load(metric.name)
    if not callable(function):
        raise InputError(f"metric '{metric.name}' must be a function (predictions, targets), got {function!r:.80}")
    try:
        inspect.signature(function).bind(*(None,) * _TAKEN, **metric.settings)
    except TypeError as error:
        raise InputError(
            f"metric '{metric.name}' must take (predictions, targets) and its settings"
            f" {', '.join(metric.settings) or '(none)'}: {error}"
        ) from error
    except ValueError:  # it has no signature that Python knows
        pass
    return function  # type: ignore[no-any-return]


def _measured(metric: Metric, function: Callable[..., Any], predictions: Tensor, targets: Tensor) -> float:
    try:
        value = function(predictions.cpu().numpy(), targets.cpu().numpy(), **metric.settings)
        return float(value)
    except Exception as error:  # a user's function may raise anything
        raise TrainingError(f"metric '{metric.name}' gave no number: {on_one_line(error):.300}") from error


def _at(name: str, task: Task, predictions: Tensor, targets: Tensor) -> float:
    """A metric at a threshold of the positive class's probability, or the loss of a quantile."""
    kind, number = at_number(name)
    if kind == "pinball":
        return float(pinball((predictions - targets).double(), number).mean())
    place = 1 if task.positive is None else task.positive
    taken, true = predictions[:, place] >= number, targets == place
    hits = float((taken & true).sum())
    match kind:
        case "accuracy":
            return float((taken == true).double().mean())
        case "precision":
            return hits / max(float(taken.sum()), 1)
        case "recall":
            return hits / max(float(true.sum()), 1)
        case "specificity":
            return float((~taken & ~true).sum()) / max(float((~true).sum()), 1)
        case _:  # f1
            return 2 * hits / max(float(taken.sum() + true.sum()), 1)


def measured(
    spec: SearchSpec, outputs: Sequence[str], predictions: Any, targets: Any, layout: Sequence[Feature] = ()
) -> dict[str, float]:
    """Every metric of a search, of arrays: `Meter` says what it takes and raises."""
    return Meter(spec, outputs, layout)(torch.from_numpy(predictions), torch.from_numpy(targets))
