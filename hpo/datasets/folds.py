"""The folds of cross-validation."""

import dataclasses
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import Dataset, Targets

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
"""(training rows, held-out rows)"""


def fold_numbers(
    targets: Targets, folds: int, seed: int = 0, groups: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """The number of the fold that each row belongs to, `(rows,)`: drawn at random, folds alike in size.

    Each class of `(rows,)` targets is spread over as many folds as it has rows. With groups `(rows,)` each of them is
    in one fold, and classes are not looked at.
    """
    rows = len(targets)
    if groups is not None:
        return _of_groups(groups, folds, seed)
    order = np.random.default_rng(seed).permutation(rows)
    if targets.ndim == 1:
        order = order[np.argsort(targets[order], kind="stable")]
    numbers = np.empty(rows, np.intp)
    numbers[order] = np.arange(rows) % folds
    return numbers


def _of_groups(groups: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp]:
    """Gives each group, the largest first, to the fold that has fewest rows."""
    kinds, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(kinds))
    order = order[np.argsort(-sizes[order], kind="stable")]
    rows, fold_of = np.zeros(min(folds, len(kinds)), np.intp), np.empty(len(kinds), np.intp)
    for group in order:
        fold_of[group] = rows.argmin()
        rows[fold_of[group]] += sizes[group]
    return fold_of[members]


def folds_of(targets: Targets, folds: int, seed: int = 0, groups: NDArray[np.intp] | None = None) -> list[Fold]:
    """Training rows and held-out rows of each fold; no fold is empty, so there are no more than rows or groups."""
    numbers = fold_numbers(targets, min(folds, len(targets)), seed, groups)
    return [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(numbers.max() + 1)]


@lru_cache(maxsize=1)  # the same for every trial of a study
def folded(dataset: Dataset, folds: int, seed: int) -> tuple[Dataset, ...]:
    """The data of each fold: its held-out rows are the validation rows, the other training rows are trained on.

    Args:
        dataset: whose training rows are all validated, once each.
        folds: how many.
        seed: of the draw, the study's.
    """
    return tuple(
        dataclasses.replace(dataset, train=dataset.train.take(rows), validation=dataset.train.take(held_out))
        for rows, held_out in folds_of(dataset.train.targets, folds, seed, dataset.train.groups)
    )
