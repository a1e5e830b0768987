"""What a trial says of its rows, held to its task: predictions, and the truth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import TrainingError

_NEAR = 1e-2
"""So far from 1 may the probabilities of a row sum: they may have been computed in bfloat16."""


def checked_evidence(
    task: str, predictions: Any, targets: Any, split: str
) -> tuple[NDArray[np.floating[Any]], NDArray[Any]]:
    """Predictions `(rows, outputs)` and targets, as they are stored; `Context.predictions` says what they may be.

    Raises:
        TrainingError: they are something else.
    """
    if split not in ("validation", "test"):
        raise TrainingError(f"context.predictions: split must be 'validation' or 'test', got {split!r:.40}")
    values, truth = _array(predictions, "predictions"), _array(targets, "targets")
    if task == "regression":
        return _regression(values, truth)
    return _labels(values, truth) if task == "multilabel" else _classes(values, truth)


def _array(value: Any, what: str) -> NDArray[Any]:
    """Numbers of any library's as an array of ours."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value  # numpy has no bfloat16
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"context.predictions: the {what} are no array: {error}") from error
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
        raise TrainingError(
            f"context.predictions: the {what} must be numbers (rows,) or (rows, outputs), got {array.shape}"
            f" {array.dtype}"
        )
    if not np.isfinite(array).all():
        raise TrainingError(f"context.predictions: the {what} must be finite")
    return array


def _classes(values: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[np.floating[Any]], NDArray[Any]]:
    if values.ndim == 1:
        values = np.stack([1 - values, values], axis=1)
    _check_rows(values, truth)
    if truth.ndim == 2 and truth.shape[1] == 1:
        truth = truth[:, 0]
    if truth.ndim != 1 or (truth != np.floor(truth)).any() or truth.min() < 0 or truth.max() >= values.shape[1]:
        raise TrainingError(
            f"context.predictions: of {values.shape[1]} classes the targets must be whole numbers (rows,) from 0 to"
            f" {values.shape[1] - 1}, got {_range(truth)}; for values write `task: regression` in the search file"
        )
    _check_probabilities(values)
    apart = float(np.abs(values.sum(axis=1, dtype=np.float64) - 1).max())
    if apart > _NEAR:
        raise TrainingError(
            f"context.predictions: the probabilities of a row must sum to 1, got a row that is {apart:.3g} away: give"
            " outputs.softmax(1); for several labels of a row write `task: multilabel` in the search file"
        )
    return values.astype(np.float16), truth.astype(np.int64)


def _labels(values: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[np.floating[Any]], NDArray[Any]]:
    _check_rows(values, truth)
    if values.ndim != 2 or values.shape != truth.shape or not np.isin(truth, (0, 1)).all():
        raise TrainingError(
            "context.predictions: of task multilabel both must be (rows, labels), and the targets zeros and ones, got"
            f" {values.shape}, and {_range(truth)}"
        )
    _check_probabilities(values)
    return values.astype(np.float16), truth.astype(np.uint8)


def _regression(values: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[np.floating[Any]], NDArray[Any]]:
    _check_rows(values, truth)
    values, truth = (array[:, None] if array.ndim == 1 else array for array in (values, truth))
    if values.shape != truth.shape:
        raise TrainingError(
            f"context.predictions: predictions are {values.shape}, and targets {truth.shape}: one value each is needed"
        )
    return values.astype(np.float32), truth.astype(np.float32)


def _check_rows(values: NDArray[Any], truth: NDArray[Any]) -> None:
    if len(values) != len(truth):
        raise TrainingError(
            f"context.predictions: {len(values)} predictions and {len(truth)} targets: they are of the same rows"
        )


def _check_probabilities(values: NDArray[Any]) -> None:
    if values.min() < 0 or values.max() > 1:
        raise TrainingError(
            f"context.predictions: probabilities are 0 to 1, got {_range(values)}: give outputs.softmax(1), or"
            " outputs.sigmoid() of labels"
        )


def _range(values: NDArray[Any]) -> str:
    return f"{values.shape} from {values.min():.4g} to {values.max():.4g}"
