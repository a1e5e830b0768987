"""Validation rows are split off once per study, by its seed."""

import numpy as np

from hpo.datasets.dataset import Examples, task_of
from hpo.errors import DataError


def split_validation(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """Splits training examples into (train, validation); of classes each one's share is kept.

    Args:
        examples: all training examples.
        fraction: the share of validation, between 0 and 1.
        seed: the same seed gives the same rows.

    Raises:
        DataError: a class has fewer than two examples, or a side would have fewer rows than there are classes.
    """
    from sklearn.model_selection import train_test_split  # slow to import, and most commands split nothing

    labels = examples.targets if task_of(examples.targets) == "classification" else None
    try:
        train, validation = train_test_split(
            np.arange(len(examples)), test_size=fraction, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"data.validation {fraction} of {len(examples)} training rows is not possible: {error}"
        ) from None
    return examples.take(np.sort(train)), examples.take(np.sort(validation))
