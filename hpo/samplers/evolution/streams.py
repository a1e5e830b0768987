"""Where chance comes from: one stream of numbers for each trial, and one for each of its parameters.

No stream is kept from one trial to the next, so a sampler that is built anew draws what the old one would have drawn.
"""

import random
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_GLOBAL = threading.Lock()


def of_trial(seed: int, number: int) -> np.random.Generator:
    """The stream that decides a trial's parents."""
    return np.random.default_rng(np.random.SeedSequence([seed, number]))


def of_parameter(seed: int, number: int, name: str) -> np.random.Generator:
    """The stream that decides the value of one parameter of a trial, whatever else is asked before it."""
    return np.random.default_rng(np.random.SeedSequence([seed, number, zlib.crc32(name.encode())]))


def of_strata(seed: int, round_: int, name: str) -> np.random.Generator:
    """The stream that shuffles a parameter's strata for one round of random configs."""
    return np.random.default_rng(np.random.SeedSequence([seed, round_, zlib.crc32(name.encode()), 1]))


@contextmanager
def lent_to_deap(rng: np.random.Generator) -> Iterator[None]:
    """DEAP draws from the global `random` and `numpy.random`: both begin from `rng` here, and get their state back."""
    seed = int(rng.integers(2**32))
    with _GLOBAL:
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        try:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
