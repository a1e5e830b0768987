"""scikit-learn: any estimator or pipeline, fitted, measured, and with predictions for ensembles.

from hpo.adapters.sklearn import fit

pipeline = make_pipeline(StandardScaler(), LogisticRegression())

def train(config):
    return fit(pipeline, config, X, y)
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state, gen_batches
from sklearn.utils.multiclass import type_of_target

import hpo.reporting
from hpo.datasets.folds import folds_of
from hpo.errors import TrainingError
from hpo.plugins import did_you_mean
from hpo.tasks.kinds import kind
from hpo.tasks.measuring import Meter
from hpo.training import TrialContext
from hpo.training.own_training import context as running

_KIND = "estimator"
"""The parameter that chooses among several estimators."""


def fit(
    estimator: BaseEstimator | Mapping[str, BaseEstimator],
    config: Mapping[str, Any],
    X: Any,
    y: Any,
    validation: float | tuple[Any, Any] = 0.2,
    *,
    scoring: Iterable[str] = (),
    batch_size: int = 128,
    context: TrialContext | None = None,
) -> dict[str, float] | None:
    """Fits a clone of an estimator and measures it; what a training function may return.

    An estimator with `partial_fit`, at the end of a pipeline or alone, is trained for `training.epochs` of the search
    file, each of which passes over all rows once; the transformers before it are fitted once. Any other is fitted as a
    whole. Estimators keep no state that could be stored without pickle, so a trial that was paused is fitted again. A
    `random_state` that is None is set to the trial's seed.

    Predictions on the validation rows make the trial a candidate for ensembles, if the estimator gives probabilities or
    values.

    Args:
        estimator: as it was made; or several by name, of which the parameter `estimator` chooses one. Then other
            parameters have the name before them: `forest__max_depth`.
        config: names of the estimator's parameters (of pipelines `step__parameter`) -> values.
        X: rows of training, `(rows, features)`, or whatever else the estimator takes.
        y: classes `(rows,)`, values `(rows,)` or `(rows, targets)`, or zeros and ones `(rows, labels)`.
        validation: rows to measure on, `(X, y)`; or the share of the rows that is set apart, drawn from the study's
            seed and so the same for all of its trials. With `training.folds` it is the fold that is set apart.
        scoring: metrics beside those of the task, by scikit-learn's names, such as `roc_auc`.
        batch_size: rows of a step of `partial_fit`.
        context: of the trial; the one that runs where None.

    Returns:
        The metrics, where there is one fit; None where each epoch has been reported.

    Raises:
        TrainingError: the estimator has no such parameter, the search file names another task, or rows are given to
            measure on where there are folds.
    """
    context = context or running()
    task = _task(estimator, y, context)
    model = _made(estimator, config, 0 if context is None else context.seed)
    rows = _Rows.of(X, y, validation, task, context)
    epochs = 1 if context is None else context.epochs
    scoring = tuple(scoring)
    if epochs == 1 or not hasattr(_last(model), "partial_fit"):
        model.fit(rows.X, rows.y)
        return _measured(model, rows, task, scoring, context)
    for _ in _passes(model, rows, task, epochs, batch_size, 0 if context is None else context.seed):
        hpo.reporting.report(_measured(model, rows, task, scoring, context))
    return None


Task = Literal["classification", "multilabel", "regression"]


def _task(estimator: BaseEstimator | Mapping[str, BaseEstimator], y: Any, context: TrialContext | None) -> Task:
    """What the targets are.

    Raises:
        TrainingError: the search file says something else.
    """
    one = next(iter(estimator.values())) if isinstance(estimator, Mapping) else estimator
    labels = type_of_target(y) == "multilabel-indicator"
    task: Task = "regression" if not is_classifier(one) else "multilabel" if labels else "classification"
    if context is not None and (context.spec.base != task or context.spec.task == "forecasting"):
        raise TrainingError(
            f"{type(_last(one)).__name__} learns {task}, and the search file says {context.spec.task}: write"
            f" `task: {task}`"
        )
    return task


def _made(estimator: BaseEstimator | Mapping[str, BaseEstimator], config: Mapping[str, Any], seed: int) -> Any:
    """A clone of the estimator that a config asks for, with its parameters."""
    chosen = dict(config)
    if isinstance(estimator, Mapping):
        name = chosen.pop(_KIND, None)
        if name not in estimator:
            raise TrainingError(f"`{_KIND}` must be one of {', '.join(estimator)}, got {name!r:.80}")
        chosen = {key.removeprefix(f"{name}__"): value for key, value in chosen.items()}
        estimator = estimator[name]
    model: Any = clone(estimator)
    known = model.get_params()
    for key in chosen:
        if key not in known:
            raise TrainingError(f"{type(model).__name__} has no parameter '{key}'.{did_you_mean(key, known)}")
    model.set_params(**chosen)
    seeds = {
        key: seed
        for key, value in model.get_params().items()
        if key.rpartition("__")[2] == "random_state" and value is None
    }
    return model.set_params(**seeds)


def _last(model: Any) -> Any:
    return model[-1] if isinstance(model, Pipeline) else model


class _Rows:
    """Rows of training, and rows to measure on.

    Args:
        X, y: of training.
        other: the others.
    """

    def __init__(self, X: Any, y: Any, other: tuple[Any, Any]) -> None:
        self.X, self.y = X, np.asarray(y)
        self.validation, self.targets = other[0], np.asarray(other[1])
        self.classes: NDArray[Any] = np.unique(np.concatenate([self.y, self.targets]))

    @classmethod
    def of(
        cls, X: Any, y: Any, validation: float | tuple[Any, Any], task: Task, context: TrialContext | None
    ) -> "_Rows":
        """Sets a fold or a share of the rows apart, of each class alike, unless others are given.

        Raises:
            TrainingError: others are given where there are folds.
        """
        seed = 0 if context is None else context.spec.seed
        if context is not None and context.folds is not None and context.fold is not None:
            if isinstance(validation, tuple):
                raise TrainingError("training.folds holds out rows of `X`: leave `validation` or training.folds out")
            known: NDArray[Any] = np.unique(y, return_inverse=True)[1] if task == "classification" else np.asarray(y)
            learned, held_out = folds_of(known, context.folds, seed)[context.fold]
            X, y = ((_safe_indexing(array, learned), _safe_indexing(array, held_out)) for array in (X, y))
            return cls(X[0], y[0], (X[1], y[1]))
        if isinstance(validation, tuple):
            return cls(X, y, validation)
        parts = train_test_split(
            X, y, test_size=validation, random_state=seed, stratify=y if task == "classification" else None
        )
        return cls(parts[0], parts[2], (parts[1], parts[3]))


def _passes(model: Any, rows: _Rows, task: Task, epochs: int, batch_size: int, seed: int) -> Iterator[None]:
    """Passes over all rows, in an order that is drawn anew each time; the model has learned after each."""
    last, X = _last(model), rows.X
    if isinstance(model, Pipeline) and len(model) > 1:
        X = model[:-1].fit_transform(X, rows.y)
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    drawn = check_random_state(seed)
    first: dict[str, Any] = {"classes": rows.classes} if task != "regression" else {}
    for _ in range(epochs):
        order = drawn.permutation(len(rows.y))
        for batch in gen_batches(len(order), batch_size):
            places = order[batch]
            last.partial_fit(X[places], rows.y[places], **first)
            first = {}
        yield


def _measured(
    model: Any, rows: _Rows, task: Task, scoring: Iterable[str], context: TrialContext | None
) -> dict[str, float]:
    """Metrics on the validation rows; what is predicted of them is kept for ensembles."""
    predicted = _predicted(model, rows, task)
    metrics: dict[str, float] = {}
    if predicted is None:
        metrics["accuracy"] = float((model.predict(rows.validation) == rows.targets).mean())
    else:
        targets = np.searchsorted(rows.classes, rows.targets) if task == "classification" else rows.targets
        if context is not None:
            context.predictions(predicted, targets)
        columns = (torch.tensor(array if array.ndim == 2 else array[:, None]) for array in (predicted, targets))
        values, truth = columns
        names = [str(name) for name in rows.classes] if task == "classification" else []
        measure = kind(task).measure if context is None else Meter(context.spec, names)
        metrics |= measure(values.float(), truth[:, 0].long() if task == "classification" else truth.float())
    for name in scoring:
        metrics[name] = float(get_scorer(name)(model, rows.validation, rows.targets))
    return metrics


def _predicted(model: Any, rows: _Rows, task: Task) -> NDArray[Any] | None:
    """Probabilities `(rows, classes)` or `(rows, labels)`, or values; None of a classifier without probabilities."""
    if task == "regression":
        values: NDArray[Any] = np.asarray(model.predict(rows.validation))
        return values
    try:
        found = model.predict_proba(rows.validation)
    except (AttributeError, NotFittedError):
        return None
    if task == "multilabel":
        return np.stack([label[:, 1] for label in found], axis=1) if isinstance(found, list) else np.asarray(found)
    probabilities = np.zeros((len(found), len(rows.classes)))
    probabilities[:, np.searchsorted(rows.classes, model.classes_)] = found
    return probabilities
