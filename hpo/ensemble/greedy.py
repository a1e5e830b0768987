"""Greedy ensemble selection with replacement (Caruana et al. 2004, "Ensemble Selection from Libraries of Models")."""

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.combiner import Average, Probabilities
from hpo.ensemble.score import nll, true_class

ROUNDS = 50


def greedy(predictions: Probabilities, labels: NDArray[np.int64], top: int, rounds: int = ROUNDS) -> Average:
    """Adds, `rounds` times, the candidate with which the mean is likeliest, and returns the best bag met on the way.

    A candidate may be added again, which is its weight. Ties go to a candidate that is in the bag already, then to the
    earlier one. Once the bag has `top` different members, only these may be added. The likelihood of a mean needs no
    more of each candidate than the probabilities of the rows' own classes, so that a round is one array operation.

    Args:
        predictions: `(candidates, rows, classes)`.
        labels: `(rows,)`.
        top: how many different members at most.
        rounds: the size of the largest bag.
    """
    weights = greedy_weights(true_class(predictions, labels), rounds, top)
    members = [int(member) for member in np.flatnonzero(weights)]
    return Average(tuple(members), tuple(float(weights[member] / weights.sum()) for member in members))


def greedy_weights(own: NDArray[np.float64], rounds: int = ROUNDS, top: int | None = None) -> NDArray[np.int64]:
    """How often each candidate is in the best bag, `(candidates,)`.

    Args:
        own: the probability of each row's own class, `(candidates, rows)`.
        rounds: the size of the largest bag.
        top: how many different members at most; None is no limit.
    """
    counts = np.zeros(len(own), dtype=np.int64)
    total = np.zeros(own.shape[1])
    best_counts, best_cost = counts, np.inf
    for size in range(1, rounds + 1):
        costs = nll((total + own) / size)
        if np.count_nonzero(counts) == top:
            costs[counts == 0] = np.inf
        chosen = int(np.lexsort((counts == 0, costs))[0])
        counts[chosen] += 1
        total += own[chosen]
        if costs[chosen] < best_cost or size == 1:
            best_counts, best_cost = counts.copy(), costs[chosen]
    return best_counts
