"""Greedy ensemble selection with replacement (Caruana et al. 2004, "Ensemble Selection from Libraries of Models")."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.combiner import Average, Probabilities
from hpo.ensemble.score import WORST, Scorer

ROUNDS = 50


def greedy(
    predictions: Probabilities, labels: NDArray[np.int64], top: int, score: Scorer, rounds: int = ROUNDS
) -> Average:
    """Adds, `rounds` times, the candidate with which the mean scores best, and returns the best bag met on the way.

    A candidate may be added again, which is its weight. Ties go to a candidate that is in the bag already, then to the
    earlier one. Once the bag has `top` different members, only these may be added.

    Args:
        predictions: `(candidates, rows, classes)`.
        labels: `(rows,)`.
        top: how many different members at most.
        score: of a mean; smaller is better.
        rounds: the size of the largest bag.
    """
    bag: list[int] = []
    total = np.zeros_like(predictions[0])
    best_size, best_score = 1, WORST
    for size in range(1, rounds + 1):
        present = set(bag)
        allowed = sorted(present) if len(present) == top else range(len(predictions))
        ranked = [(score((total + predictions[p]) / size, labels), p not in present, p) for p in allowed]
        chosen_score, _, chosen = min(ranked)
        bag.append(chosen)
        total = total + predictions[chosen]
        if chosen_score < best_score:
            best_size, best_score = size, chosen_score
    counts = Counter(bag[:best_size])
    return Average(tuple(counts), tuple(count / best_size for count in counts.values()))
