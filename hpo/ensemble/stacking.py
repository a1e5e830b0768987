"""Stacking: a logistic regression learns from validation rows how to join the members (Wolpert 1992)."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from hpo.ensemble.combiner import Probabilities, Stack, stack_features
from hpo.ensemble.folds import stratified_folds
from hpo.ensemble.score import nll, true_class
from hpo.ensemble.voting import best_members
from hpo.errors import InputError

_STRENGTHS = (0.001, 0.01, 0.1)
"""Inverse regularization; the one with the best cross-fitted likelihood is taken."""
_FOLDS = 3
_ABSENT = -30.0
"""The logit of a class that no validation row has."""


def stacking(predictions: Probabilities, labels: NDArray[np.int64], top: int) -> Stack:
    """Joins the `top` best members by a regularized multinomial logistic regression on their log-probabilities.

    Args:
        predictions: `(candidates, rows, classes)`.
        labels: `(rows,)`.
        top: how many members.

    Raises:
        InputError: there are too few rows of a class.
    """
    if len(np.unique(labels)) < 2 or min(np.unique(labels, return_counts=True)[1]) < 2:
        raise InputError("stacking needs validation rows of two classes, and two of each; use greedy or voting")
    members = best_members(predictions, labels, top)
    features = stack_features(predictions[list(members)])
    strength = _best_strength(features, labels)
    model = _regression(strength).fit(features, labels)
    coefficients, intercept = _all_classes(model, predictions.shape[2])
    return Stack(members, coefficients, intercept)


def _best_strength(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    folds = stratified_folds(labels, _FOLDS)
    places = np.searchsorted(np.unique(labels), labels)

    def cost(strength: float) -> float:
        fitted = cross_val_predict(_regression(strength), features, labels, cv=folds, method="predict_proba")
        return float(nll(true_class(fitted, places)))

    return min(_STRENGTHS, key=cost)


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, tol=1e-3, max_iter=2000)


def _all_classes(model: LogisticRegression, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The regression's numbers with a row for every class, also those that it has not seen."""
    rows, offsets = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one logit z for two classes: softmax(-z/2, z/2) is the same
        rows, offsets = np.vstack([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2
    coefficients, intercept = np.zeros((classes, rows.shape[1])), np.full(classes, _ABSENT)
    coefficients[model.classes_], intercept[model.classes_] = rows, offsets
    return coefficients, intercept
