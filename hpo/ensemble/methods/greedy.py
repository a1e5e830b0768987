"""Greedy ensemble selection with replacement (Caruana et al. 2004, "Ensemble Selection from Libraries of Models"), and
bagged (Caruana et al. 2006, "Getting the Most Out of Ensemble Selection")."""

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.combiner import Average
from hpo.ensemble.score import SCORES, Predictions, Score, Targets

ROUNDS = 50
_BAGS = 10
_BAG_ROUNDS = 25
_SHARE = 0.5
"""Of the candidates that a bag sees."""
_SEED = 0
_TIE = 1e-12
"""Scores that differ by less, as a share of them, differ by rounding alone."""
_SLACK = 1e-9
"""Bounds are as exact as sums of float64 are."""


def greedy(
    predictions: Predictions, targets: Targets, top: int, task: str = "classification", rounds: int = ROUNDS
) -> Average:
    """Begins with the best candidates, adds one at a time, and returns the best bag met on the way.

    The first ones are so many of the best, in order of their score, as have the best mean (sorted initialisation). Then
    the candidate with which the mean is best is added, until the bag holds `rounds`. One may be added again, which is
    its weight. Ties go to a candidate that is in the bag already, then to the earlier one. Once the bag has `top`
    different members, only these may be added. The score of a mean needs no more of each candidate than its own part.

    Args:
        predictions: `(candidates, rows, outputs)`; a candidate that is not finite is never chosen.
        targets: of the same rows.
        top: how many different members at most.
        task: whose score is minimized.
        rounds: the size of the largest bag.
    """
    weights = greedy_weights(_own_parts(predictions, targets, task), rounds, top, top, SCORES[task])
    return _average(weights, task)


def bagged_greedy(
    predictions: Predictions, targets: Targets, top: int, task: str = "classification", bags: int = _BAGS
) -> Average:
    """The mean of greedy selections that each see a random half of the candidates, which overfits less.

    Of more than `top` members the heaviest stay, those that were added most often; arguments as `greedy`.
    """
    own = _own_parts(predictions, targets, task)
    usable = np.flatnonzero(np.isfinite(own).all(axis=1))
    if len(usable) == 0:
        usable = np.arange(1)
    generator = np.random.default_rng(_SEED)
    shares = np.zeros(len(own))
    for _ in range(bags):
        seen = np.sort(generator.choice(usable, max(1, round(_SHARE * len(usable))), replace=False))
        counts = greedy_weights(own[seen], _BAG_ROUNDS, top, top, SCORES[task])
        shares[seen] += counts / counts.sum()
    shares[np.argsort(-shares, kind="stable")[top:]] = 0
    return _average(shares, task)


def greedy_weights(
    own: NDArray[np.float64],
    rounds: int = ROUNDS,
    top: int | None = None,
    start: int | None = 1,
    score: Score = SCORES["classification"],
) -> NDArray[np.int64]:
    """How often each candidate is in the best bag, `(candidates,)`.

    Args:
        own: each candidate's own parts of `score`, `(candidates, parts)`: of classes the probability of each row's own.
        rounds: the size of the largest bag.
        top: how many different members at most; None is no limit.
        start: with how many of the best the bag may begin at most; None is no limit.
        score: what is minimized.
    """
    usable = np.isfinite(own.sum(axis=1))
    counts = np.zeros(len(own), dtype=np.int64)
    if usable.all():
        return _selected(score.inside(own), rounds, top, start, score)
    if usable.any():
        counts[usable] = _selected(score.inside(own[usable]), rounds, top, start, score)
    else:
        counts[0] = 1
    return counts


def _selected(
    own: NDArray[np.float64], rounds: int, top: int | None, start: int | None, score: Score
) -> NDArray[np.int64]:
    best_counts = _sorted_start(own, min(rounds, start or len(own), top or len(own)), score)
    counts = best_counts.copy()
    total = own[counts > 0].sum(axis=0)
    best_cost = score.mean(total / counts.sum())
    for _ in range(int(counts.sum()), rounds):
        allowed = np.flatnonzero(counts) if np.count_nonzero(counts) == top else np.arange(len(own))
        costs = _costs_with_each(own, allowed, total, int(counts.sum()), score)
        ties = np.flatnonzero(costs <= costs.min() * (1 + _TIE))
        place = ties[np.argmin(counts[allowed[ties]] == 0)]
        counts[allowed[place]] += 1
        total += own[allowed[place]]
        if costs[place] < best_cost * (1 - _TIE):
            best_counts, best_cost = counts.copy(), costs[place]
    return best_counts


def _sorted_start(own: NDArray[np.float64], most: int, score: Score) -> NDArray[np.int64]:
    """The best `n` candidates once each, with the `n` up to `most` whose mean is best."""
    singles = np.array([float(score.mean(candidate)) for candidate in own])
    ranked = np.argsort(singles, kind="stable")
    total, costs = np.zeros(own.shape[1]), []
    for size, place in enumerate(ranked[:most], start=1):
        total += own[place]
        costs.append(float(score.mean(total / size)))
    best = int(np.flatnonzero(np.array(costs) <= min(costs) * (1 + _TIE))[0])
    counts = np.zeros(len(own), dtype=np.int64)
    counts[ranked[: best + 1]] = 1
    return counts


def _costs_with_each(
    own: NDArray[np.float64], places: NDArray[np.intp], total: NDArray[np.float64], size: int, score: Score
) -> NDArray[np.float64]:
    """The score of a bag's mean with each of these candidates added, `(places,)`; inf where it is surely not the best.

    The score is convex, so that its tangent at the bag's own mean is below it: a bound for all candidates by one
    product of a matrix and a vector. Candidates are scored in the order of their bounds until the next bound is above
    the best score.
    """
    mean = total / size
    slopes = score.slopes(mean) / len(mean)
    added = (own if len(places) == len(own) else own[places]) @ slopes
    bounds = float(score.mean(mean)) + (added - float(mean @ slopes)) / (size + 1)
    costs = np.full(len(places), np.inf)
    best = np.inf
    for place in np.argsort(bounds, kind="stable"):
        if bounds[place] > best + _SLACK * abs(best):
            break
        costs[place] = score.mean((total + own[places[place]]) / (size + 1))
        best = min(best, costs[place])
    return costs


def _own_parts(predictions: Predictions, targets: Targets, task: str) -> NDArray[np.float64]:
    own = SCORES[task].own(predictions, targets)
    return own.reshape(len(own), -1)


def _average(weights: NDArray[np.generic], task: str) -> Average:
    members = [int(member) for member in np.flatnonzero(weights)]
    total = float(weights.sum())
    return Average(tuple(members), tuple(float(weights[member]) / total for member in members), task)
