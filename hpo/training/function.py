"""What a training function is, and what it yields. To stop one is to close it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import TrainingError, shown
from hpo.spec import SearchSpec
from hpo.study.artifacts import Place, Split

TrainingState = Mapping[str, Any]
"""Tensors, numbers, texts, lists and dicts of these."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a trial leaves of one epoch, should it be its best: weights, and predictions to build ensembles of.

    `weights` (name -> array) is a copy, which stays as it is; a training function of the user's own leaves a `state`
    instead, which its `predict` is given. `predictions` has a split's `(rows, outputs)`, in the type to store;
    `targets` has the truth of the same rows, where no data set of the study has it.

    `others` predicts the splits that are not among the predictions, with these weights, whatever has been learned
    since, and leaves the model as it was. It is called at most once, before the training function is closed, and of a
    search's trials never: an ensemble predicts the test rows, from their weights.
    """

    weights: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    predictions: Mapping[Split, NDArray[np.floating[Any]]] = field(default_factory=dict)
    others: Callable[[], Mapping[Split, NDArray[np.floating[Any]]]] | None = None
    targets: Mapping[Split, NDArray[Any]] = field(default_factory=dict)
    state: TrainingState | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not self.weights and not self.predictions and not self.state

    def all_predictions(self) -> dict[Split, NDArray[np.floating[Any]]]:
        """Predictions for all splits; those that are made on demand are made now."""
        return {**self.predictions, **(self.others() if self.others else {})}


@dataclass(frozen=True)
class Report:
    """The metrics of a trial at one epoch.

    `snapshot` makes what the trial leaves of the epoch, which may be nothing. `state` makes all that is needed to go on
    from here: tensors, numbers and texts, nested. Both are valid until the training function goes on. Without a state a
    trial that was paused is trained again from its beginning.
    """

    epoch: int
    metrics: Mapping[str, float]
    snapshot: Callable[[], Snapshot] = field(default=Snapshot, repr=False, compare=False)
    state: Callable[[], TrainingState] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Context:
    """What a training function needs beside its config: the fixed settings, the data, the seed of every draw.

    `dataset` is what `data` in the search file names, in cross-validation as the `fold` sees it; None where a training
    function of the user's own has data of its own. `resume` is the state of the report after which the training
    function is to go on; None begins at the first epoch. `inherited` says that it is another trial's state, of another
    config. `number` is the trial's, and `place` that of its files, where it is a trial of a search. `fold` says which
    of the folds is held out, from 0 on; it is None without `training.folds`, and for the trial as a whole.
    """

    spec: SearchSpec
    dataset: Any
    seed: int
    resume: TrainingState | None = None
    inherited: bool = False
    number: int = 0
    place: Place | None = None
    fold: int | None = None


def taken(report: Report) -> Snapshot:
    """The snapshot of a report.

    Raises:
        TrainingError: its function gave something else.
    """
    snapshot: Any = report.snapshot()
    if not isinstance(snapshot, Snapshot):
        raise TrainingError(
            f"`snapshot` of epoch {report.epoch} gave {shown(snapshot)}: it must give a hpo.training.function.Snapshot"
        )
    return snapshot


TrainingFunction = Callable[..., Any]
"""What trains one config: `(config, context) -> Iterator[Report]`, or a user's own in one of `OwnTraining`'s forms."""
