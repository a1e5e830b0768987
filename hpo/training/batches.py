"""The data on the device: training rows in shuffled, augmented batches, and validation rows all at once."""

import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hpo.datasets import Dataset, Examples
from hpo.spec import DataSettings
from hpo.tasks.kinds import floats
from hpo.training.augmentation import Augmentation, mixup
from hpo.training.precision import checked_generator, free_memory

_SHARE_OF_FREE_MEMORY = 0.5
"""Rows stay on the device if they take no more than this of its free memory."""


class Batches:
    """Shuffled, augmented training batches: `(inputs, targets, weights)` on the device, one pass an epoch.

    Inputs are float `(n, c, h, w)` or `(n, features)`; targets are as the task has them, and of classes also
    probabilities `(n, classes)`, which mixup makes of labels; weights are `(n,)` or None. A last batch that is not full
    is left out. Nothing here makes the host wait for the device.
    """

    def __init__(
        self, dataset: Dataset, settings: DataSettings, batch_size: int, device: torch.device, mean: Tensor, seed: int
    ) -> None:
        self._inputs, self._targets, self._weights = _training_rows(dataset, device)
        self._outputs = len(dataset.outputs)
        self._settings = settings
        self._batch_size = min(batch_size, len(dataset.train))
        self._device = device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._draws = np.random.default_rng(seed)
        fill = mean.flatten().round().to(torch.uint8)
        self._augment = Augmentation(settings, fill.to(device), self._generator)

    def state_dict(self) -> dict[str, Any]:
        """The state of the draws of shuffling and augmentation."""
        return {"generator": self._generator.get_state(), "draws": self._draws.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with the draws from there."""
        kept = state["generator"].cpu()
        self._generator.set_state(checked_generator(kept) if self._generator.device.type == "cpu" else kept)
        self._draws.bit_generator.state = state["draws"]

    def __len__(self) -> int:
        return len(self._targets) // self._batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        order = torch.randperm(len(self._targets), generator=self._generator, device=self._device)
        order = order.to(self._inputs.device)
        for rows in order.split(self._batch_size)[: len(self)]:
            inputs, targets = self._taken(self._inputs, rows), self._taken(self._targets, rows)
            weights = None if self._weights is None else self._taken(self._weights, rows)
            if inputs.ndim == 4:
                inputs = self._augment(inputs).permute(0, 3, 1, 2)  # a view of (n, h, w, c) is channels_last already
            inputs = floats(inputs)
            if "mixup" in self._settings.augment:
                share = float(self._draws.beta(self._settings.mixup_alpha, self._settings.mixup_alpha))
                targets = functional.one_hot(targets, self._outputs) if targets.ndim == 1 else targets
                inputs, targets = mixup(inputs, targets.float(), share, self._generator)
            yield inputs, targets, weights

    def _taken(self, values: Tensor, rows: Tensor) -> Tensor:
        taken = values[rows]
        if taken.device == self._device:
            return taken
        return taken.pin_memory().to(self._device, non_blocking=True)  # from pinned memory alone it is asynchronous


def in_memory(array: NDArray[Any]) -> Tensor:
    """A tensor over the array's own memory. It may be shared and read-only, so nobody may write to it."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def as_seen(inputs: Tensor) -> Tensor:
    """Images `(n, h, w, c)` as a model sees them, `(n, c, h, w)`, without a copy; rows of a table as they are."""
    return inputs.permute(0, 3, 1, 2) if inputs.ndim == 4 else inputs


@lru_cache(maxsize=1)
def validation_rows(dataset: Dataset, device: torch.device) -> tuple[Tensor, Tensor]:
    """The validation inputs, as a model sees them, and targets: moved once, whatever a warm worker trains."""
    inputs = as_seen(in_memory(dataset.validation.inputs))
    if _fits(inputs, device):
        inputs = inputs.to(device)
    return inputs, in_memory(dataset.validation.targets).to(device)


@lru_cache(maxsize=1)  # a warm worker keeps its study's data on the device
def _training_rows(dataset: Dataset, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    """The training inputs, targets and weights: all on the device, or all in the host's memory."""
    train: Examples = dataset.train
    rows = [None if it is None else in_memory(it) for it in (train.inputs, train.targets, train.weights)]
    inputs, targets, weights = rows
    assert inputs is not None and targets is not None
    if not _fits(inputs, device):
        return inputs, targets, weights
    return inputs.to(device), targets.to(device), None if weights is None else weights.to(device)


def _fits(values: Tensor, device: torch.device) -> bool:
    return values.nbytes <= free_memory(device) * _SHARE_OF_FREE_MEMORY
