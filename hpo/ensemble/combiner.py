"""How the members' predictions become one: what a method has chosen, as plain numbers that are saved as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.calibration import temper
from hpo.ensemble.score import Predictions
from hpo.tasks import GOALS

Probabilities = Predictions
Features = Literal["logits", "values"]
"""What a linear model reads of the members' predictions."""

LEAST = 1e-4
"""Least probability of a member, below which its logarithm is cut; float16 has zeros."""
SURE = 1e-3
"""A linear model of probabilities leaves 0 to 1: it is cut here."""
TIE = 0.5
"""How many votes the mean probability has: it decides ties, no majority, and leaves what nobody names possible."""


class Combiner(Protocol):
    """Joins members."""

    @property
    def members(self) -> tuple[int, ...]:
        """Places in the pool."""
        ...

    @property
    def weights(self) -> tuple[float, ...]:
        """Each member's share; they sum to one."""
        ...

    def combine(self, predictions: Predictions) -> Predictions:
        """Predictions `(members, rows, outputs)`, in the order of `members` -> `(rows, outputs)`."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        ...


@dataclass(frozen=True)
class Average:
    """The weighted mean of the members' predictions (soft voting)."""

    members: tuple[int, ...]
    weights: tuple[float, ...]
    task: str = "classification"

    def combine(self, predictions: Predictions) -> Predictions:
        """Rows of class probabilities sum to one."""
        mean = np.einsum("m,mnc->nc", np.asarray(self.weights, np.float32), predictions)
        return normalized(mean) if self.task == "classification" else mean

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {"kind": "average", "task": self.task, "weights": list(self.weights)}


class _Equal:
    """Members with the same say."""

    members: tuple[int, ...]

    @property
    def weights(self) -> tuple[float, ...]:
        """All the same."""
        return (1 / len(self.members),) * len(self.members)


@dataclass(frozen=True)
class Votes(_Equal):
    """The share of members that name each class, or that say that a label holds (hard voting)."""

    members: tuple[int, ...]
    task: str = "classification"

    def combine(self, predictions: Predictions) -> Predictions:
        """Vote shares; the mean probability has half a vote, so that it decides a tie and no more."""
        means = predictions.mean(axis=0)
        if self.task == "classification":
            classes = predictions.shape[2]
            votes = np.eye(classes, dtype=np.float32)[predictions.argmax(axis=2)].sum(axis=0)
            return normalized(votes + TIE * means)
        votes = (predictions >= 0.5).sum(axis=0, dtype=np.float32)
        return np.asarray((votes + TIE * means) / (len(predictions) + TIE), np.float32)

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {"kind": "votes", "task": self.task}


@dataclass(frozen=True)
class Median(_Equal):
    """The median of the members' regression values."""

    members: tuple[int, ...]

    def combine(self, predictions: Predictions) -> Predictions:
        """The median of the members; of an even number, the mean of the middle two."""
        return np.asarray(np.median(predictions, axis=0), np.float32)

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {"kind": "median"}


@dataclass(frozen=True, eq=False)
class Stack:
    """A linear model of the members' predictions (stacking).

    `coefficients` is `(outputs, members * outputs)`, `intercept` `(outputs,)`. With features `logits` it reads
    `stack_features` and gives logits; with `values` it reads the predictions and gives predictions.
    """

    members: tuple[int, ...]
    coefficients: NDArray[np.float64]
    intercept: NDArray[np.float64]
    task: str = "classification"
    features: Features = "logits"

    @property
    def weights(self) -> tuple[float, ...]:
        """Each member's share of the absolute coefficients: how much the model listens to it."""
        mass = np.abs(self.coefficients).reshape(len(self.intercept), len(self.members), -1).sum(axis=(0, 2))
        total = mass.sum()
        shares = mass / total if total > 0 else np.full(len(mass), 1 / len(mass))
        return tuple(float(share) for share in shares)

    def combine(self, predictions: Predictions) -> Predictions:
        """Softmax or sigmoid of logits; values are cut to what a probability can be."""
        if self.features == "logits":
            return from_logits(stack_features(predictions, self.task) @ self.coefficients.T + self.intercept, self.task)
        values = side_by_side(predictions) @ self.coefficients.T + self.intercept
        if self.task == "regression":
            return np.asarray(values, np.float32)
        cut = np.asarray(np.clip(values, SURE, 1 - SURE), np.float32)
        return normalized(cut) if self.task == "classification" else cut

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {
            "kind": "stack",
            "task": self.task,
            "features": self.features,
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Tree:
    """A decision tree over `nodes`; a leaf is its own child.

    A row goes left where its feature is at most the threshold (both float32). `values` is `(nodes, outputs)`.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    values: NDArray[np.float64]
    depth: int

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features `(rows, features)` -> values `(rows, outputs)`."""
        rows, node = np.arange(len(features)), np.zeros(len(features), np.int64)
        for _ in range(self.depth):
            goes_left = features[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        return self.values[node]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        arrays = ("feature", "threshold", "left", "right", "values")
        return {**{name: getattr(self, name).tolist() for name in arrays}, "depth": self.depth}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], features: int, outputs: int) -> "Tree":
        """What `to_json` wrote, for rows of so many features.

        Raises:
            ValueError: it is no tree of that size.
        """
        tree = cls(
            np.array(document["feature"], np.int64),
            np.array(document["threshold"], np.float32),
            np.array(document["left"], np.int64),
            np.array(document["right"], np.int64),
            np.array(document["values"], np.float64),
            int(document["depth"]),
        )
        nodes = tree.feature.size
        per_node = (tree.feature, tree.threshold, tree.left, tree.right)
        sizes = {array.shape for array in per_node} == {(nodes,)} and tree.values.shape == (nodes, outputs)
        if not sizes or not 0 <= tree.depth <= nodes or not np.isfinite(tree.values).all():
            raise ValueError(f"a tree must have a feature, threshold, children and {outputs} values for each node")
        for array, most in ((tree.feature, features), (tree.left, nodes), (tree.right, nodes)):
            if not ((array >= 0) & (array < most)).all():
                raise ValueError(f"a tree of {nodes} nodes over {features} features names others")
        return tree


@dataclass(frozen=True, eq=False)
class Trees(_Equal):
    """Decision trees that mend the members' mean in logits, or in values for regression (boosted stacking)."""

    members: tuple[int, ...]
    trees: tuple[Tree, ...]
    task: str = "classification"

    def combine(self, predictions: Predictions) -> Predictions:
        """The mean of `stack_features` over members plus what the trees say of them."""
        features = stack_features(predictions, self.task)
        outputs = features.reshape(len(features), len(predictions), -1).mean(axis=1)
        singles = features.astype(np.float32)
        for tree in self.trees:
            outputs = outputs + tree(singles)
        return from_logits(outputs, self.task)

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {"kind": "trees", "task": self.task, "trees": [tree.to_json() for tree in self.trees]}


@dataclass(frozen=True)
class Calibrated:
    """A combiner with a last temperature on what it gives."""

    combiner: Combiner
    temperature: float
    task: str = "classification"

    @property
    def members(self) -> tuple[int, ...]:
        """Places in the pool."""
        return self.combiner.members

    @property
    def weights(self) -> tuple[float, ...]:
        """Each member's share; they sum to one."""
        return self.combiner.weights

    def combine(self, predictions: Predictions) -> Predictions:
        """Combined, then tempered."""
        return temper(self.combiner.combine(predictions), self.temperature, self.task)

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {
            "kind": "calibrated",
            "task": self.task,
            "temperature": self.temperature,
            "combiner": self.combiner.to_json(),
        }


def from_json(document: Mapping[str, Any], members: int, outputs: int) -> Combiner:
    """The combiner that `to_json` wrote.

    Args:
        document: from a stored file.
        members: how many, in their saved order.
        outputs: columns of a prediction.

    Raises:
        ValueError, TypeError, KeyError: it is none for so many members and outputs.
    """
    places, task = tuple(range(members)), document.get("task", "classification")
    if not isinstance(task, str) or task not in GOALS:
        raise ValueError(f"its task {task!r:.80} is none")
    match document["kind"]:
        case "average":
            return Average(places, tuple(_finite(document["weights"], (len(document["weights"]),)).tolist()), task)
        case "votes":
            return Votes(places, task)
        case "median":
            return Median(places)
        case "stack":
            coefficients = _finite(document["coefficients"], (outputs, members * outputs))
            intercept = _finite(document["intercept"], (outputs,))
            features = document.get("features", "logits")
            if features not in get_args(Features):
                raise ValueError(f"its features {features!r:.80} are none")
            return Stack(places, coefficients, intercept, task, features)
        case "trees":
            trees = tuple(Tree.from_json(tree, members * outputs, outputs) for tree in document["trees"])
            return Trees(places, trees, task)
        case "calibrated" if document["combiner"]["kind"] != "calibrated":
            inner = from_json(document["combiner"], members, outputs)
            temperature = float(_finite(document["temperature"], ()))
            if temperature <= 0:
                raise ValueError(f"the combiner's temperature must be above 0, got {temperature:g}")
            return Calibrated(inner, temperature, task)
    raise ValueError(f"unknown combiner '{document['kind']}'")


def _finite(values: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Numbers of a shape."""
    array = np.array(values, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"the combiner must have finite numbers of shape {shape}, got {array.shape}")
    return array


def stack_features(predictions: Predictions, task: str = "classification") -> NDArray[np.float64]:
    """What a meta-model reads of `(members, rows, outputs)`: `(rows, members * outputs)`.

    Logarithms of class probabilities, logits of labels, both cut at 1e-4, where float16 has zeros; regression values.
    """
    if task == "regression":
        return side_by_side(predictions)
    inside = np.clip(side_by_side(predictions), LEAST, 1.0 if task == "classification" else 1 - LEAST)
    logits: NDArray[np.float64] = np.log(inside) if task == "classification" else np.log(inside / (1 - inside))
    return logits


def side_by_side(predictions: Predictions) -> NDArray[np.float64]:
    """Predictions `(members, rows, outputs)` -> `(rows, members * outputs)`."""
    return predictions.astype(np.float64).transpose(1, 0, 2).reshape(predictions.shape[1], -1)


def from_logits(outputs: NDArray[np.float64], task: str) -> Predictions:
    """A meta-model's outputs `(rows, outputs)` as predictions: softmax, sigmoid, or for regression as they are."""
    if task == "classification":
        exponents = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return normalized(exponents.astype(np.float32))
    if task == "multilabel":
        outputs = 1 / (1 + np.exp(-np.clip(outputs, -50, 50)))
    return np.asarray(outputs, np.float32)


def normalized(probabilities: Predictions) -> Predictions:
    """Rows scaled to sum to one; float16 rows sum to almost one."""
    result: Predictions = probabilities / probabilities.sum(axis=1, keepdims=True)
    return result
