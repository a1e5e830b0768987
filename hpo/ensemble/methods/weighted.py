"""Weighted voting: the mean of members whose weights minimize the score."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hpo.ensemble.combiner import Average
from hpo.ensemble.member_choice import best_members
from hpo.ensemble.score import SCORES, Predictions, Score, Targets

_LEAST = 1e-3
"""A member with less weight is left out."""


def weighted_voting(predictions: Predictions, targets: Targets, top: int, task: str = "classification") -> Average:
    """The weighted mean of the `top` best candidates: weights of at least 0 that sum to one and minimize the score.

    The likelihood and the squared error of a mean are convex in the weights, so that there is one minimum (linear
    opinion pools: Genest & Zidek 1986; for squared errors Breiman 1996, "Stacked Regressions").

    Args:
        predictions: `(candidates, rows, outputs)`.
        targets: of the same rows.
        top: how many members at most.
        task: whose score is minimized.
    """
    members = best_members(predictions, targets, top, task)
    score = SCORES[task]
    own = score.own(predictions[list(members)], targets).reshape(len(members), -1)
    weights = simplex_weights(own, score)
    kept = np.flatnonzero(weights >= _LEAST)
    shares = weights[kept] / weights[kept].sum()
    return Average(tuple(members[place] for place in kept), tuple(float(share) for share in shares), task)


def simplex_weights(own: NDArray[np.float64], score: Score) -> NDArray[np.float64]:
    """Weights `(members,)` with which the mean of own parts `(members, parts)` scores best; at least 0, sum one."""
    count = len(own)
    equal = np.full(count, 1 / count)
    if count == 1 or not np.isfinite(own).all():
        return equal
    scale = max(float(score.mean(equal @ own)), 1e-12)

    def cost(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = weights @ own
        return float(score.losses(mixed).mean()) / scale, own @ score.slopes(mixed) / (mixed.size * scale)

    found = minimize(
        cost,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": lambda _: np.ones(count)},
        options={"ftol": 1e-7, "maxiter": 200},
    )
    weights = np.clip(found.x, 0, None)
    weights = weights / weights.sum() if np.isfinite(weights).all() and weights.sum() > 0 else equal
    return weights if score.mean(weights @ own) <= score.mean(equal @ own) else equal
