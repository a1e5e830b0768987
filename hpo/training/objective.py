"""The objective: a generator that trains one config and yields a report an epoch. To stop it is to close it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hpo.artifacts import Split
from hpo.datasets import Dataset
from hpo.spec import Config, StudySpec


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A trial at one epoch: name -> weights, and split -> probabilities `(rows, classes)`."""

    weights: Mapping[str, NDArray[np.generic]]
    predictions: Mapping[Split, NDArray[np.float32]]


@dataclass(frozen=True)
class Report:
    """The metrics of a trial at one epoch.

    `snapshot` makes the trial's checkpoint and predictions; it is valid until the objective goes on.
    """

    epoch: int
    metrics: Mapping[str, float]
    snapshot: Callable[[], Snapshot] = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Context:
    """What an objective needs beside its config: the fixed settings, the data, the seed of every draw."""

    spec: StudySpec
    dataset: Dataset
    seed: int


Objective = Callable[[Config, Context], Iterator[Report]]
