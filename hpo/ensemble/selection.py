"""The methods by name, and the choice between them by cross-validation on validation rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.combiner import Combiner, Probabilities
from hpo.ensemble.folds import stratified_folds
from hpo.ensemble.greedy import greedy
from hpo.ensemble.score import nll, true_class
from hpo.ensemble.stacking import stacking
from hpo.ensemble.voting import hard_voting, soft_voting
from hpo.errors import InputError
from hpo.registry import did_you_mean

Method = Callable[[Probabilities, NDArray[np.int64], int], Combiner]
"""From candidates `(candidates, rows, classes)`, labels `(rows,)` and a number of members to a combiner."""

METHODS: Mapping[str, Method] = {
    "voting": soft_voting,
    "greedy": greedy,
    "hard_voting": hard_voting,
    "stacking": stacking,
}
"""In the order in which `auto` breaks ties."""

_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Choice:
    """A method's name and its combiner; `costs` has each compared method's cross-validated NLL."""

    method: str
    combiner: Combiner
    costs: Mapping[str, float]


def check_method(method: str) -> None:
    """Holds a method's name to the known ones.

    Raises:
        InputError: it is not one of them.
    """
    if method == "bagging":
        raise InputError("--method bagging is not built yet: it retrains members; use auto, voting, greedy or stacking")
    if method != "auto" and method not in METHODS:
        raise InputError(f"unknown method '{method}'.{did_you_mean(method, ['auto', *METHODS])}")


def choose(method: str, predictions: Probabilities, labels: NDArray[np.int64], top: int) -> Choice:
    """Fits one method, or with `auto` the one whose cross-validated likelihood is best.

    Args:
        method: `auto` or a key of METHODS.
        predictions: of the candidates, `(candidates, rows, classes)`.
        labels: `(rows,)`.
        top: how many members at most.

    Raises:
        InputError: there is no such method.
    """
    check_method(method)
    names = list(METHODS) if method == "auto" else [method]
    costs = {}
    for name in names:
        try:
            costs[name] = cross_validated(METHODS[name], predictions, labels, top)
        except InputError:  # these rows are too few for this method
            if method != "auto":
                raise
    best = min(costs, key=lambda name: costs[name])
    return Choice(best, METHODS[best](predictions, labels, top), costs)


def cross_validated(method: Method, predictions: Probabilities, labels: NDArray[np.int64], top: int) -> float:
    """The NLL of predictions for held-out rows, whose members and weights were chosen without these rows.

    (The candidates' temperatures, one number each, have seen all rows.)
    """
    combined = np.empty(predictions.shape[1:], np.float32)
    for fitted, held_out in stratified_folds(labels, _FOLDS):
        combiner = method(predictions[:, fitted], labels[fitted], top)
        members = predictions[list(combiner.members)]
        combined[held_out] = combiner.combine(members[:, held_out])
    return float(nll(true_class(combined, labels)))
