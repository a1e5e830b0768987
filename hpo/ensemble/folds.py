"""The folds of cross-validation on validation rows."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold

_SEED = 0

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def stratified_folds(labels: NDArray[np.int64], folds: int) -> list[Fold]:
    """(training rows, held-out rows) a fold; stratified where every class has enough rows for that."""
    _, counts = np.unique(labels, return_counts=True)
    kind = StratifiedKFold if counts.min() >= folds else KFold
    splitter = kind(n_splits=min(folds, len(labels)), shuffle=True, random_state=_SEED)
    return list(splitter.split(np.zeros(len(labels)), labels))
