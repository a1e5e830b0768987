"""Picks members for the methods that take what they are given (`--select`): by score, greedy gain or diversity."""

from collections.abc import Callable, Mapping

import numpy as np

from hpo.ensemble.diversity import error_correlation
from hpo.ensemble.score import SCORES, Predictions, Targets, costs

Selection = Callable[[Predictions, Targets, int, str], tuple[int, ...]]
"""Picks members: predictions `(candidates, rows, outputs)`, targets, how many, task -> their places, best first."""

_RELEVANCE = 0.5
"""How much a member's own score counts beside its difference from those already chosen."""


def best_members(predictions: Predictions, targets: Targets, top: int, task: str = "classification") -> tuple[int, ...]:
    """The places of the `top` best candidates by the task's score, the best first; ties go to the earlier one."""
    ranked = np.argsort(costs(predictions, targets, task), kind="stable")
    return tuple(int(place) for place in ranked[:top])


def gaining_members(
    predictions: Predictions, targets: Targets, top: int, task: str = "classification"
) -> tuple[int, ...]:
    """`top` candidates, each the one that makes the mean of all before it best; the first is the best one.

    Greedy forward selection without replacement (Caruana et al. 2004, section 2.1).
    """
    score = SCORES[task]
    own = score.own(predictions, targets)
    own = own.reshape(len(own), -1)
    left, chosen = list(range(len(own))), list[int]()
    total = np.zeros(own.shape[1])
    while left and len(chosen) < top:
        values = [float(score.mean((total + own[place]) / (len(chosen) + 1))) for place in left]
        place = left.pop(int(np.argmin(values)))
        chosen.append(place)
        total += own[place]
    return tuple(chosen)


def diverse_members(
    predictions: Predictions, targets: Targets, top: int, task: str = "classification"
) -> tuple[int, ...]:
    """`top` candidates that are good and err elsewhere than the others: maximal marginal relevance.

    Each next one has the largest mean of its quality, which is the best score over its own, and minus its largest
    correlation of errors with one already chosen (Carbonell & Goldstein 1998); the first is the best one.
    """
    values = costs(predictions, targets, task)
    usable = [int(place) for place in np.argsort(values, kind="stable") if np.isfinite(values[place])]
    if not usable:
        return best_members(predictions, targets, top, task)
    correlation = error_correlation(predictions[usable], targets, task)
    quality = (values[usable[0]] + 1e-12) / (values[usable] + 1e-12)
    chosen = [0]
    while len(chosen) < min(top, len(usable)):
        merit = _RELEVANCE * quality - (1 - _RELEVANCE) * correlation[:, chosen].max(axis=1)
        merit[chosen] = -np.inf
        chosen.append(int(merit.argmax()))
    return tuple(usable[place] for place in chosen)


SELECTIONS: Mapping[str, Selection] = {
    "score": best_members,
    "gain": gaining_members,
    "diversity": diverse_members,
}
