"""Stacking: a meta-model learns how to join the members (Wolpert 1992; Breiman 1996, "Stacked Regressions").

Every meta-model here begins at the members' plain mean and learns what to change of it. So few rows change little, and
classes that no row has keep what the members say of them. How much may change is cross-fitted: the strength, or the
number of trees, that serves rows best that were not fitted.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.tree import DecisionTreeRegressor

from hpo.datasets.folds import Fold, folds_of
from hpo.ensemble.combiner import Combiner, Stack, Tree, Trees, side_by_side, stack_features
from hpo.ensemble.member_choice import best_members
from hpo.ensemble.score import Predictions, Targets
from hpo.errors import InputError
from hpo.plugins import did_you_mean

_STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse regularization of the logistic regression."""
_RIDGES = tuple(10.0**power for power in range(-1, 5))
"""Regularization of the ridge regression, of targets with a standard deviation of one."""
_STEPS = 30
"""The most steps of a logistic regression."""
_FOLDS = 3
_ROWS = 3000
"""Rows with which at most a strength or a number of trees is chosen."""
_TREE_ROWS = 1500
"""A tree is grown on so many rows at most, drawn anew for each (stochastic gradient boosting, Friedman 2002)."""
_TREES, _DEPTH, _RATE, _SMALLEST_LEAF = 12, 3, 0.4, 10
_SEED = 0

Fit = Callable[[Predictions, Targets, str], Combiner]


def stacking(predictions: Predictions, targets: Targets, top: int, task: str = "classification") -> Combiner:
    """Joins the `top` best candidates by a logistic regression on their logits; for regression by ridge regression.

    Args:
        predictions: of the candidates, for rows that they were not trained on, `(candidates, rows, outputs)`.
        targets: of the same rows.
        top: how many members.
        task: what is predicted.
    """
    return _of_best(_logistic if task != "regression" else _ridge, predictions, targets, top, task)


def stacking_ridge(predictions: Predictions, targets: Targets, top: int, task: str = "classification") -> Combiner:
    """Joins the `top` best candidates by a ridge regression on their predictions; arguments as `stacking`.

    Of classes and labels it predicts the 0 or 1, and what it says is cut to 0.001 to 0.999.
    """
    return _of_best(_ridge, predictions, targets, top, task)


def stacking_boosting(predictions: Predictions, targets: Targets, top: int, task: str = "classification") -> Combiner:
    """Joins the `top` best candidates by gradient boosting (Friedman 2001) on their logits; arguments as `stacking`.

    Each tree is grown for all outputs at once on the gradient of the loss. (scikit-learn's own boosted models can be
    saved by pickle alone; its trees are public arrays.)
    """
    return _of_best(_boosting, predictions, targets, top, task)


def fit_stack(
    predictions: Predictions, targets: Targets, task: str = "classification", method: str = "stacking"
) -> Combiner:
    """Fits a meta-model to given predictions of given members: validation predictions, or out-of-fold ones.

    Args:
        predictions: `(members, rows, outputs)`, each for rows that the member was not trained on.
        targets: of the same rows.
        task: what is predicted.
        method: `stacking`, `stacking_ridge` or `stacking_boosting`.

    Returns:
        A combiner of all members, in their order.

    Raises:
        InputError: there is no such method, or predictions are not finite.
    """
    if method not in STACKS:
        raise InputError(f"unknown meta-model '{method}'.{did_you_mean(method, STACKS)}")
    if not np.isfinite(predictions).all():
        raise InputError("predictions to be stacked must all be finite; leave out the members whose are not")
    fit = _ridge if task == "regression" and method == "stacking" else STACKS[method]
    return _of_members(fit(predictions, targets, task), tuple(range(len(predictions))))


def operations(method: str, members: int, rows: int, outputs: int, task: str = "classification") -> float:
    """About how many floating-point operations it takes to fit a meta-model, 3e10 of which take a second on one core.

    It is reckoned from sizes alone, so that it is the same on every machine; with 3 to 5 members, 1,000 to 8,000 rows
    and 100 to 1,000 outputs it was right within a factor of two.

    Args:
        method: a key of STACKS.
        members: how many are joined.
        rows: that it is fitted to.
        outputs: classes, labels or targets.
        task: what is predicted.
    """
    inputs = members * outputs
    strengths = [min(rows, _ROWS)] * (_FOLDS if rows <= _ROWS else 1)
    if method == "stacking_boosting":
        grown = sum(min(each, _TREE_ROWS) for each in [*strengths, rows])
        return 60.0 * _TREES * _DEPTH * float(np.sqrt(inputs)) * grown * outputs
    if method == "stacking_ridge" or task == "regression":
        candidates = len(_RIDGES) + 1
        return 4.0 * rows * inputs**2 + 10.0 * inputs**3 + 2.0 * candidates * rows * inputs * outputs
    fits = [each for each in strengths for _ in _STRENGTHS] + [rows]
    steps = 0.6 * _STEPS  # most end sooner
    return sum(inputs**2 * (each + inputs) + steps * 4.0 * (each + inputs) * inputs * outputs for each in fits)


def _of_best(fit: Fit, predictions: Predictions, targets: Targets, top: int, task: str) -> Combiner:
    members = best_members(predictions, targets, top, task)
    return _of_members(fit(predictions[list(members)], targets, task), members)


def _of_members(combiner: Combiner, members: tuple[int, ...]) -> Combiner:
    return replace(combiner, members=members)  # type: ignore[type-var]  # every combiner is a dataclass


def _logistic(predictions: Predictions, targets: Targets, task: str) -> Stack:
    """Logits that are the members' mean plus a linear function of all theirs, whose coefficients are held small."""
    features = stack_features(predictions, task).astype(np.float32)
    mean = features.reshape(len(features), len(predictions), -1).mean(axis=1)
    inputs, hits = _with_one(features), _as_outputs(targets, mean.shape[1], task).astype(np.float32)
    losses = np.zeros(len(_STRENGTHS))
    for fitted, held_out in _folds(targets):
        changes = None
        for place, strength in enumerate(_STRENGTHS):
            changes = _changes(inputs[fitted], mean[fitted], hits[fitted], strength, task, changes)
            losses[place] += _loss(mean[held_out] + inputs[held_out] @ changes, hits[held_out], task)[0]
    changes = _changes(inputs, mean, hits, _STRENGTHS[int(losses.argmin())], task)
    return Stack((), _mean_of_members(predictions) + changes[:-1].T, changes[-1].astype(np.float64), task)


def _changes(
    inputs: NDArray[np.float32],
    mean: NDArray[np.float32],
    hits: NDArray[np.float32],
    strength: float,
    task: str,
    start: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """What the regression adds to the members' mean, `(inputs, outputs)`.

    It is found in coordinates in which the inputs are not correlated; there a few steps lead to it.
    """
    rows, shape = len(inputs), (inputs.shape[1], mean.shape[1])
    curvature = inputs.T.astype(np.float64) @ inputs / 4 + np.eye(shape[0]) / strength
    back = np.linalg.inv(np.linalg.cholesky(curvature / rows)).T
    directions = (inputs @ back).astype(np.float32)

    def cost(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        steps = flat.reshape(shape)
        changes = back @ steps
        loss, slopes = _loss(mean + directions @ steps.astype(np.float32), hits, task)
        penalty = 0.5 * float(np.square(changes).sum()) / strength
        gradient = directions.T @ slopes + back.T @ changes / strength
        return (loss + penalty) / rows, gradient.ravel().astype(np.float64) / rows

    first = np.zeros(shape) if start is None else np.linalg.solve(back, start)
    found = minimize(cost, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "ftol": 1e-5})
    return np.asarray(back @ found.x.reshape(shape), np.float32)


def _loss(outputs: NDArray[np.floating], hits: NDArray[np.floating], task: str) -> tuple[float, NDArray[Any]]:
    """The summed loss of outputs `(rows, outputs)` against what is true, and its gradient by the outputs."""
    if task == "classification":
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        exponents = np.exp(shifted)
        sums = exponents.sum(axis=1, keepdims=True)
        return float(np.log(sums).sum() - (shifted * hits).sum()), exponents / sums - hits
    if task == "multilabel":
        return float((np.logaddexp(0, outputs) - outputs * hits).sum()), 1 / (1 + np.exp(-outputs)) - hits
    errors = outputs - hits
    return float(np.square(errors).sum()) / 2, errors


def _ridge(predictions: Predictions, targets: Targets, task: str) -> Stack:
    """The members' mean plus a ridge regression on all their predictions; its strength by leaving one row out."""
    features, mean = side_by_side(predictions), predictions.mean(axis=0, dtype=np.float64)
    hits = _as_outputs(targets, mean.shape[1], task)
    scale = np.where((spread := hits.std(axis=0)) > 0, spread, 1.0)
    scales = np.tile(scale, len(predictions))
    slopes, intercept = _ridge_regression(features / scales, (hits - mean) / scale)
    coefficients = _mean_of_members(predictions) + slopes / scales * scale[:, None]
    return Stack((), coefficients, intercept * scale, task, "values")


def _ridge_regression(
    inputs: NDArray[np.float64], outputs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes `(outputs, inputs)` and intercept; the strength has the least error of rows left out one by one.

    Those errors have a closed form (Golub, Heath & Wahba 1979). An infinite strength, no slopes, is among them.
    """
    centre, middle = inputs.mean(axis=0), outputs.mean(axis=0)
    values, vectors = np.linalg.eigh((inputs - centre).T @ (inputs - centre))
    rotated = (inputs - centre) @ vectors
    shared = rotated.T @ (outputs - middle)

    def error(shrunk: NDArray[np.float64]) -> float:
        leverage = np.minimum(np.square(rotated) @ shrunk + 1 / len(inputs), 1 - 1e-9)
        errors = outputs - middle - rotated @ (shrunk[:, None] * shared)
        return float(np.square(errors / (1 - leverage)[:, None]).mean())

    inverses = [np.zeros(len(values)), *(1 / (np.maximum(values, 0) + ridge) for ridge in _RIDGES)]
    slopes = (vectors @ (min(inverses, key=error)[:, None] * shared)).T
    return slopes, middle - slopes @ centre


def _boosting(predictions: Predictions, targets: Targets, task: str) -> Trees:
    """Trees added to the members' mean, as many as serve held-out rows best."""
    features = stack_features(predictions, task)
    mean = features.reshape(len(features), len(predictions), -1).mean(axis=1)
    hits, singles = _as_outputs(targets, mean.shape[1], task), features.astype(np.float32)
    losses = np.zeros(_TREES + 1)
    for fitted, held_out in _folds(targets):
        outputs = mean[held_out]
        losses[0] += _loss(outputs, hits[held_out], task)[0]
        for place, tree in enumerate(_grown(singles[fitted], mean[fitted], hits[fitted], _TREES, task), start=1):
            outputs = outputs + tree(singles[held_out])
            losses[place] += _loss(outputs, hits[held_out], task)[0]
    return Trees((), tuple(_grown(singles, mean, hits, int(losses.argmin()), task)), task)


def _folds(targets: Targets) -> list[Fold]:
    """The folds in which strengths are compared: one of many rows, all of few, none of too few."""
    if len(targets) < 2 * _FOLDS:
        return []
    if len(targets) <= _ROWS:
        return folds_of(targets, _FOLDS)
    fitted, held_out = folds_of(targets, _FOLDS)[0]
    return [(np.random.default_rng(_SEED).permutation(fitted)[:_ROWS], held_out)]


def _grown(
    features: NDArray[np.float32], mean: NDArray[np.float64], hits: NDArray[np.float64], count: int, task: str
) -> list[Tree]:
    """So many trees, each on what is left to mend after those before it."""
    generator = np.random.default_rng(_SEED)
    outputs, trees = mean, []
    for _ in range(count):
        slopes = _loss(outputs, hits, task)[1]
        rows = generator.permutation(len(outputs))[:_TREE_ROWS]
        grower = DecisionTreeRegressor(
            max_depth=_DEPTH,
            min_samples_leaf=_SMALLEST_LEAF,
            max_features="sqrt",
            random_state=int(generator.integers(2**31)),
        )
        tree = _tree(grower.fit(features[rows], -slopes[rows], check_input=False).tree_)
        trees.append(tree)
        outputs = outputs + tree(features)
    return trees


def _tree(grown: Any) -> Tree:
    """A grown tree as plain arrays; a leaf leads to itself."""
    nodes = np.arange(grown.node_count)
    leaf = grown.children_left < 0
    return Tree(
        np.where(leaf, 0, grown.feature).astype(np.int64),
        np.where(leaf, 0, grown.threshold).astype(np.float32),
        np.where(leaf, nodes, grown.children_left).astype(np.int64),
        np.where(leaf, nodes, grown.children_right).astype(np.int64),
        _RATE * grown.value[:, :, 0].astype(np.float64),
        int(grown.max_depth),
    )


def _as_outputs(targets: Targets, outputs: int, task: str) -> NDArray[np.float64]:
    """Targets as predictions would be that are right and sure, `(rows, outputs)`."""
    return np.eye(outputs)[targets] if task == "classification" else targets.astype(np.float64)


def _mean_of_members(predictions: Predictions) -> NDArray[np.float64]:
    """The coefficients of the plain mean, `(outputs, members * outputs)`."""
    members, _, outputs = predictions.shape
    return np.tile(np.eye(outputs) / members, members)


def _with_one(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.hstack([features, np.ones((len(features), 1), np.float32)])


STACKS: Mapping[str, Fit] = {
    "stacking": _logistic,
    "stacking_ridge": _ridge,
    "stacking_boosting": _boosting,
}
"""Meta-model -> its fit on the predictions of all members."""
