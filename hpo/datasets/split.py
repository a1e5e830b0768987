"""Validation rows are split off once per study, by its seed.

scikit-learn has the same, but loads for a second, before the first trial of every search.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import Examples, task_of
from hpo.errors import DataError

Rows = NDArray[np.intp]
Parts = tuple[Rows, Rows]
"""The numbers of the rows of both parts, in order."""
_SHOWN = 5


def split_validation(
    examples: Examples,
    fraction: float,
    seed: int,
    outputs: Sequence[str] = (),
    times: NDArray[np.float64] | None = None,
) -> tuple[Examples, Examples]:
    """Splits training examples into (train, validation).

    The latest are validated where there are times, and the examples of a group are on one side. Else of classes each
    one's share is kept.

    Args:
        examples: all training examples.
        fraction: the share of validation, between 0 and 1.
        seed: the same seed gives the same rows.
        outputs: the names of the classes by their numbers, for messages.
        times: when each example was, `(rows,)`.

    Raises:
        DataError: a class has fewer than two examples, or a side would have fewer rows than there are classes.
    """
    try:
        if times is not None:
            train, validation = latest(times, fraction)
        elif examples.groups is not None:
            train, validation = grouped(examples.groups, fraction, seed)
        else:
            _check_classes(examples, outputs)
            classes = task_of(examples.targets) == "classification"
            labels = examples.targets if classes else np.zeros(len(examples), np.intp)
            train, validation = stratified(labels, fraction, seed)
    except ValueError as error:
        raise DataError(
            f"data.validation {fraction} of {len(examples)} training rows is not possible: {error}"
        ) from None
    return examples.take(train), examples.take(validation)


def check_folds(examples: Examples, folds: int, outputs: Sequence[str] = ()) -> None:
    """Checks that training examples can be cross-validated.

    Args:
        examples: all training examples.
        folds: how many parts of them are held out, each in turn.
        outputs: the names of the classes by their numbers, for messages.

    Raises:
        DataError: a class has fewer than two examples, or there are more folds than rows.
    """
    if examples.groups is not None:
        if folds > (groups := len(np.unique(examples.groups))):
            raise DataError(f"training.folds {folds}: there are {groups} groups, and each fold needs one")
        return
    _check_classes(examples, outputs)
    if folds > len(examples):
        raise DataError(f"training.folds {folds}: there are {len(examples)} training rows, and each fold needs one")


def _check_classes(examples: Examples, outputs: Sequence[str]) -> None:
    """Checks that each class has an example to train on and one to validate on."""
    if task_of(examples.targets) != "classification":
        return
    single = np.flatnonzero(np.bincount(examples.targets) == 1)
    if not len(single):
        return
    names = [f"'{outputs[label]}'" if label < len(outputs) else str(label) for label in single[:_SHOWN]]
    more = f" and {len(single) - _SHOWN} more" if len(single) > _SHOWN else ""
    raise DataError(
        f"class {', '.join(names)}{more}: has a single training example, and one is needed to train on and one to"
        " validate on; add examples, or leave the class out"
    )


def latest(times: NDArray[np.float64], fraction: float) -> Parts:
    """The earlier rows and the latest, which are about this fraction; rows of one moment are on one side.

    Raises:
        ValueError: all rows are of one moment.
    """
    moments, sizes = np.unique(times, return_counts=True)
    if len(moments) < 2:
        raise ValueError("all rows have the same time")
    before = np.cumsum(sizes)[:-1]  # rows before each moment but the first
    cut = moments[1 + np.abs(before - (1 - fraction) * len(times)).argmin()]
    return np.flatnonzero(times < cut), np.flatnonzero(times >= cut)


def grouped(groups: NDArray[np.intp], fraction: float, seed: int) -> Parts:
    """Two parts of rows of which no group is on both sides; the second has about this fraction of the rows.

    Raises:
        ValueError: there is one group only.
    """
    kinds, sizes = np.unique(groups, return_counts=True)
    if len(kinds) < 2:
        raise ValueError("all rows are of one group")
    order = np.random.default_rng(seed).permutation(len(kinds))
    drawn = np.cumsum(sizes[order])[:-1]  # rows of the first 1, 2, ... groups
    chosen = order[: 1 + np.abs(drawn - fraction * len(groups)).argmin()]
    inside = np.isin(groups, kinds[chosen])
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def stratified(labels: NDArray[np.integer], fraction: float, seed: int) -> Parts:
    """Two parts of rows, in order: the second has this fraction of them, rounded up, and of each label its share.

    What shares leave over goes to the labels that have lost most by rounding down.

    Raises:
        ValueError: a label has fewer than two rows, or a part would have fewer rows than there are labels.
    """
    rows, (_, kinds, sizes) = len(labels), np.unique(labels, return_inverse=True, return_counts=True)
    count = math.ceil(fraction * rows)
    if rows and sizes.min() < 2:
        raise ValueError("a class has a single example")
    if min(count, rows - count) < max(1, len(sizes)):
        raise ValueError(f"{rows - count} and {count} rows are too few for {len(sizes)} classes")
    shares, left = np.divmod(sizes * count, rows)
    shares[np.argsort(-left, kind="stable")[: count - shares.sum()]] += 1
    drawn = np.random.default_rng(seed).permutation(rows)
    drawn = drawn[np.argsort(kinds[drawn], kind="stable")]  # label by label
    chosen = np.arange(rows) - np.repeat(np.cumsum(sizes) - sizes, sizes) < np.repeat(shares, sizes)
    return np.sort(drawn[~chosen]), np.sort(drawn[chosen])
