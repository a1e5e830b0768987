"""The folds of cross-validation on validation rows."""

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.score import Targets

_SEED = 0

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def fold_numbers(targets: Targets, folds: int) -> NDArray[np.intp]:
    """To which fold each row belongs, `(rows,)`: drawn at random, alike in size.

    Each class of `(rows,)` targets is spread over as many folds as it has rows.
    """
    rows = len(targets)
    order = np.random.default_rng(_SEED).permutation(rows)
    if targets.ndim == 1:
        order = order[np.argsort(targets[order], kind="stable")]
    numbers = np.empty(rows, np.intp)
    numbers[order] = np.arange(rows) % folds
    return numbers


def folds_of(targets: Targets, folds: int) -> list[Fold]:
    """(training rows, held-out rows) of each fold; no fold is empty, so there are no more than rows."""
    numbers = fold_numbers(targets, min(folds, len(targets)))
    return [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(numbers.max() + 1)]
