"""What a task is: one class, which says what is learned, what predictions mean, and how they are measured."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.spec import TrainingSettings
from hpo.tasks import Goal
from hpo.tasks.features import Feature


class Task(ABC):
    """A kind of problem. Outputs are what a model gives, predictions what they mean.

    A task of the user's own is a class below one of `Classification`, `Multilabel` and `Regression`, and replaces what
    is other in it. It is made without arguments, and told the rest before it is used.
    """

    base: ClassVar[str]
    """What predictions are: `classification`, `multilabel` or `regression`. Ensembles, figures and files go by it."""
    metrics: ClassVar[Mapping[str, Goal]]
    """What `measure` gives: the name of each metric, and what is better."""

    training: TrainingSettings = TrainingSettings()
    """The settings of training, as the trial has them."""
    outputs: Sequence[str] = ()
    """The name of each class, of each label, or of each target."""
    layout: Sequence[Feature] = ()
    """What the inputs are, as far as it is known; of forecasts also how good the seasonal naive one is."""
    positive: int | None = None
    """The place of the class that metrics of one class are of, where the user names it."""
    scale: Tensor | None = None
    """Standard deviations of the training targets `(targets,)`, for regression."""
    class_weights: Tensor | None = None
    """How much rows of each class count `(classes,)`; all alike where None."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training minimizes: the losses of rows `(n,)`, or their mean.

        Args:
            outputs: of the model, `(n, outputs)`.
            targets: of the same rows; of classification labels `(n,)`, or the probabilities of classes
                `(n, classes)` where rows are mixed or a member learns from an ensemble.
        """

    @abstractmethod
    def activate(self, outputs: Tensor) -> Tensor:
        """Outputs `(n, outputs)` -> predictions of the same shape."""

    @abstractmethod
    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Every metric of `metrics`.

        Args:
            predictions: `(n, outputs)`.
            targets: of the same rows: labels `(n,)`, zeros and ones `(n, labels)`, or values `(n, targets)`.
        """

    def learns_from(self, targets: NDArray[Any], device: torch.device) -> None:
        """Is told the training targets before the first loss; of classification that makes `class_weights`."""
        return


def mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of rows' losses `(n,)`, weighted where there are weights `(n,)`; their mean over the data is 1."""
    return losses.mean() if weights is None else (losses * weights).mean()
