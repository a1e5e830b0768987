"""The objective: a generator that trains one config and yields a report an epoch. To stop it is to close it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets import Dataset
from hpo.spec import Config, StudySpec
from hpo.study.artifacts import Split

TrainingState = Mapping[str, Any]
"""Tensors, numbers, texts, lists and dicts of these."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A trial at one epoch: name -> weights, and split -> predictions `(rows, outputs)`, in the type to store.

    The weights are a copy, which stays as it is. `others` predicts the splits that are not among the predictions, with
    these weights, whatever has been learned since, and leaves the model as it was. It is called at most once, before
    the objective is closed, and of a search's trials never: an ensemble predicts the test rows, from their weights.
    """

    weights: Mapping[str, NDArray[np.generic]]
    predictions: Mapping[Split, NDArray[np.floating[Any]]]
    others: Callable[[], Mapping[Split, NDArray[np.floating[Any]]]] | None = None

    def all_predictions(self) -> dict[Split, NDArray[np.floating[Any]]]:
        """Predictions for all splits; those that are made on demand are made now."""
        return {**self.predictions, **(self.others() if self.others else {})}


@dataclass(frozen=True)
class Report:
    """The metrics of a trial at one epoch.

    `snapshot` makes the trial's weights and predictions, `state` everything that the objective needs to go on from
    here, as `torch.save` takes it and `torch.load` gives it back with `weights_only`. Both are valid until the
    objective goes on. Without a state a trial that was paused is trained again from its beginning.
    """

    epoch: int
    metrics: Mapping[str, float]
    snapshot: Callable[[], Snapshot] = field(repr=False, compare=False)
    state: Callable[[], TrainingState] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Context:
    """What an objective needs beside its config: the fixed settings, the data, the seed of every draw.

    `resume` is the state of the report after which the objective is to go on; None begins at the first epoch.
    """

    spec: StudySpec
    dataset: Dataset
    seed: int
    resume: TrainingState | None = None


Objective = Callable[[Config, Context], Iterator[Report]]
