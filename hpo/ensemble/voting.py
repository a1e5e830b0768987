"""Voting: the best trials, all with the same say."""

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.combiner import Average, Probabilities, Votes
from hpo.ensemble.score import Scorer


def soft_voting(predictions: Probabilities, labels: NDArray[np.int64], top: int, score: Scorer) -> Average:
    """The mean of the `top` best members' probabilities.

    Args:
        predictions: `(candidates, rows, classes)`.
        labels: `(rows,)`.
        top: how many members.
        score: ranks the candidates.
    """
    members = best_members(predictions, labels, top, score)
    return Average(members, (1 / len(members),) * len(members))


def hard_voting(predictions: Probabilities, labels: NDArray[np.int64], top: int, score: Scorer) -> Votes:
    """One vote for each of the `top` best members; arguments as `soft_voting`."""
    return Votes(best_members(predictions, labels, top, score))


def best_members(predictions: Probabilities, labels: NDArray[np.int64], top: int, score: Scorer) -> tuple[int, ...]:
    """The places of the `top` candidates with the best scores, the best first; ties go to the earlier one."""
    ranked = sorted(range(len(predictions)), key=lambda place: (*score(predictions[place], labels), place))
    return tuple(ranked[:top])
