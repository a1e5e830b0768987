"""Voting: the best trials, all with the same say."""

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.combiner import Average, Probabilities, Votes
from hpo.ensemble.score import nll, true_class


def soft_voting(predictions: Probabilities, labels: NDArray[np.int64], top: int) -> Average:
    """The mean of the `top` best candidates' probabilities.

    Args:
        predictions: `(candidates, rows, classes)`.
        labels: `(rows,)`.
        top: how many members.
    """
    members = best_members(predictions, labels, top)
    return Average(members, (1 / len(members),) * len(members))


def hard_voting(predictions: Probabilities, labels: NDArray[np.int64], top: int) -> Votes:
    """One vote for each of the `top` best candidates; arguments as `soft_voting`."""
    return Votes(best_members(predictions, labels, top))


def best_members(predictions: Probabilities, labels: NDArray[np.int64], top: int) -> tuple[int, ...]:
    """The places of the `top` likeliest candidates, the best first; ties go to the earlier one."""
    ranked = np.argsort(nll(true_class(predictions, labels)), kind="stable")
    return tuple(int(place) for place in ranked[:top])
