"""The global random generators of Python, numpy and torch, of which a user's code draws: seeded, saved, restored."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from hpo.training.precision import choose_device, random_state, set_random_state

_WORDS = 624
"""Numbers in the state of the Mersenne Twister."""


def seed(number: int) -> None:
    """Sets all of them to a seed of 32 bits."""
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    torch.manual_seed(number)


def states() -> dict[str, Any]:
    """Their states: tensors and numbers."""
    version, words, spare = random.getstate()
    _, numpy_words, place, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": [version, list(words), spare],
        "numpy": [[int(word) for word in numpy_words], int(place), int(has_gauss), float(gauss)],
        "torch": random_state(choose_device("auto")),
    }


def restore(made: Mapping[str, Any]) -> None:
    """Takes up what `states` gave; a device of another kind than before draws on as it is.

    Raises:
        ValueError: a state is damaged.
    """
    try:
        version, words, spare = made["python"]
        random.setstate((version, tuple(words), spare))
        numpy_words, place, has_gauss, gauss = made["numpy"]
        if len(numpy_words) != _WORDS or not 0 <= place <= _WORDS:  # numpy would read past the end
            raise ValueError("the state of numpy's generator has other numbers")
        np.random.set_state(("MT19937", np.array(numpy_words, np.uint32), place, has_gauss, gauss))  # noqa: NPY002
        set_random_state(made["torch"], choose_device("auto"))
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the state of the random generators is damaged: {error}") from error
