"""How the members' predictions become one: what a method has chosen, as plain numbers that are saved as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]


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

    def combine(self, predictions: Probabilities) -> Probabilities:
        """Probabilities `(members, rows, classes)`, in the order of `members` -> `(rows, classes)`."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        ...


@dataclass(frozen=True)
class Average:
    """The weighted mean of the members' probabilities (soft voting)."""

    members: tuple[int, ...]
    weights: tuple[float, ...]

    def combine(self, predictions: Probabilities) -> Probabilities:
        """Rows of the result sum to one."""
        mean = np.einsum("m,mnc->nc", np.asarray(self.weights, np.float32), predictions)
        return normalized(mean)

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {"kind": "average", "weights": list(self.weights)}


@dataclass(frozen=True)
class Votes:
    """The share of members that name each class (hard voting)."""

    members: tuple[int, ...]

    @property
    def weights(self) -> tuple[float, ...]:
        """Every member has one vote."""
        return (1 / len(self.members),) * len(self.members)

    def combine(self, predictions: Probabilities) -> Probabilities:
        """Vote shares; a tie goes to the class with more probability, which counts for less than any vote."""
        classes = predictions.shape[2]
        votes = np.eye(classes, dtype=np.float32)[predictions.argmax(axis=2)].sum(axis=0)
        tie_break = predictions.mean(axis=0) * 1e-3
        return normalized(votes + tie_break)

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {"kind": "votes"}


@dataclass(frozen=True, eq=False)
class Stack:
    """A multinomial logistic regression on the members' log-probabilities (stacking).

    `coefficients` is `(classes, members * classes)`, `intercept` `(classes,)`.
    """

    members: tuple[int, ...]
    coefficients: NDArray[np.float64]
    intercept: NDArray[np.float64]

    @property
    def weights(self) -> tuple[float, ...]:
        """Each member's share of the absolute coefficients: how much the regression listens to it."""
        mass = np.abs(self.coefficients).reshape(len(self.intercept), len(self.members), -1).sum(axis=(0, 2))
        total = mass.sum()
        shares = mass / total if total > 0 else np.full(len(mass), 1 / len(mass))
        return tuple(float(share) for share in shares)

    def combine(self, predictions: Probabilities) -> Probabilities:
        """Softmax of the regression's logits."""
        logits = stack_features(predictions) @ self.coefficients.T + self.intercept
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return normalized(exponents.astype(np.float32))

    def to_json(self) -> dict[str, Any]:
        """Numbers that `from_json` reads back."""
        return {
            "kind": "stack",
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept.tolist(),
        }


def from_json(document: Mapping[str, Any], members: int) -> Combiner:
    """The combiner that `to_json` wrote, over `members` members in their saved order."""
    places = tuple(range(members))
    match document["kind"]:
        case "average":
            return Average(places, tuple(document["weights"]))
        case "votes":
            return Votes(places)
        case "stack":
            return Stack(places, np.array(document["coefficients"]), np.array(document["intercept"]))
    raise ValueError(f"unknown combiner '{document['kind']}'")


def stack_features(predictions: Probabilities) -> NDArray[np.float64]:
    """Log-probabilities `(members, rows, classes)` -> `(rows, members * classes)`, clipped where float16 has zeros."""
    logs = np.log(np.clip(predictions.astype(np.float64), 1e-4, 1.0))
    return logs.transpose(1, 0, 2).reshape(predictions.shape[1], -1)


def normalized(probabilities: Probabilities) -> Probabilities:
    """Rows scaled to sum to one; float16 rows sum to almost one."""
    result: Probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    return result
