"""The copies of a model as one: what a trial leaves that has trained its config several times."""

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.models.standardize import Standardized


class Mean(nn.Module):
    """Predicts the mean of the copies' predictions.

    Its outputs mean what those of a single model do: logits whose softmax or sigmoid is the mean of the copies'
    probabilities, or the mean of regression values.

    Args:
        copies: models of one architecture.
        task: says what outputs mean.
    """

    def __init__(self, copies: Sequence[Standardized], task: str) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copies)
        self._task = task

    def some(self, places: Iterable[int]) -> "Mean":
        """The mean of these copies alone."""
        return Mean([cast(Standardized, self.copies[place]) for place in places], self._task)

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs `(n, outputs)` for images in 0..255 or rows of a table."""
        outputs = torch.stack([copy(inputs) for copy in self.copies])
        if self._task == "regression":
            return outputs.mean(dim=0)
        outputs = outputs.float()
        if self._task == "classification":
            return _log_mean(functional.log_softmax(outputs, dim=2))
        return _log_mean(functional.logsigmoid(outputs)) - _log_mean(functional.logsigmoid(-outputs))


def _log_mean(logarithms: Tensor) -> Tensor:
    """The logarithm of the mean over copies of what these are the logarithms of."""
    return torch.logsumexp(logarithms, dim=0) - math.log(len(logarithms))
