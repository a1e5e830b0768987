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
from hpo.datasets.dataset import Inputs
from hpo.datasets.filed import Filed
from hpo.datasets.ragged import Ragged
from hpo.datasets.windows import Windows
from hpo.spec import DataSettings
from hpo.tasks.kinds import floats
from hpo.tasks.rows import FiledRows, RaggedRows, Rows, WindowRows
from hpo.training.augmentation import Augmentation, mixup, token_dropout
from hpo.training.precision import checked_generator, free_memory

_BUCKET = 50
"""Batches of texts or clips among which rows of like lengths are looked for."""
_SHARE_OF_FREE_MEMORY = 0.5
"""Rows stay on the device if they take no more than this of its free memory."""


class Batches:
    """Shuffled, augmented training batches: `(inputs, targets, weights)` on the device, one pass an epoch.

    Inputs are float `(n, c, h, w)`, `(n, features)`, `(n, steps, channels)`, or of texts and clips `(n, length)`, which
    come in batches of like lengths, each padded to its longest row. Targets are as the task has them, and of classes
    also probabilities `(n, classes)`, which mixup makes of labels; weights are `(n,)` or None. A last batch that is not
    full is left out. Nothing here makes the host wait for the device.
    """

    def __init__(
        self, dataset: Dataset, settings: DataSettings, batch_size: int, device: torch.device, seed: int
    ) -> None:
        self._inputs, self._targets, self._weights = _training_rows(dataset, device)
        self._outputs = len(dataset.outputs)
        self._settings = settings
        self._batch_size = min(batch_size, len(dataset.train))
        self._device = device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._draws = np.random.default_rng(seed)
        self._augment = Augmentation(settings, _fill(dataset).to(device), self._generator)

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
        order = self._alike(order.cpu()) if isinstance(self._inputs, RaggedRows) else order.to(self._inputs.device)
        for rows in order.split(self._batch_size)[: len(self)]:
            inputs, targets = self._taken(self._inputs, rows), self._taken(self._targets, rows)
            weights = None if self._weights is None else self._taken(self._weights, rows)
            if inputs.ndim == 4:
                inputs = self._augment(inputs).permute(0, 3, 1, 2)  # a view of (n, h, w, c) is channels_last already
            inputs = floats(inputs)
            if "token_dropout" in self._settings.augment:
                inputs = token_dropout(inputs, self._settings.token_dropout, self._generator)
            if "mixup" in self._settings.augment:
                share = float(self._draws.beta(self._settings.mixup_alpha, self._settings.mixup_alpha))
                targets = functional.one_hot(targets, self._outputs) if targets.ndim == 1 else targets
                inputs, targets = mixup(inputs, targets.float(), share, self._generator)
            yield inputs, targets, weights

    def _alike(self, order: Tensor) -> Tensor:
        """Rows in a random order in which those of a batch have like lengths; what fills no batch is left out.

        They are sorted by length within buckets of 50 batches, and the batches are shuffled again.
        """
        assert isinstance(self._inputs, RaggedRows)
        lengths = torch.from_numpy(self._inputs.lengths)
        buckets = order[: len(self) * self._batch_size].split(_BUCKET * self._batch_size)
        alike = torch.cat([bucket[lengths[bucket].argsort(stable=True)] for bucket in buckets])
        shuffled = torch.randperm(len(self), generator=self._generator, device=self._device).cpu()
        return alike.view(len(self), self._batch_size)[shuffled].flatten()

    def _taken(self, values: Tensor | Rows, rows: Tensor) -> Tensor:
        taken = values[rows.to(values.device)] if isinstance(values, Tensor) else values.take(rows.cpu().numpy())
        if taken.device == self._device:
            return taken
        return taken.pin_memory().to(self._device, non_blocking=True)  # from pinned memory alone it is asynchronous


def _fill(dataset: Dataset) -> Tensor:
    """The mean pixel `(c,)` uint8 of training images; nothing of other inputs."""
    images = dataset.train.inputs.ndim == 4
    means = torch.as_tensor(dataset.input_moments[0], dtype=torch.float32) if images else torch.zeros(0)
    return means.flatten().round().to(torch.uint8)


def in_memory(array: NDArray[Any]) -> Tensor:
    """A tensor over the array's own memory. It may be shared and read-only, so nobody may write to it."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def as_seen(inputs: Inputs) -> Tensor | Rows:
    """Inputs over their own memory as a model sees them: images `(n, h, w, c)` as `(n, c, h, w)`, others unchanged."""
    rows = _held(inputs)
    return rows.permute(0, 3, 1, 2) if isinstance(rows, Tensor) and rows.ndim == 4 else rows


def _held(inputs: Inputs) -> Tensor | Rows:
    """Inputs over their own memory."""
    if isinstance(inputs, Windows):
        return WindowRows(in_memory(inputs.values), inputs.begins, inputs.length)
    if isinstance(inputs, Ragged):
        return RaggedRows(in_memory(inputs.values), inputs.offsets[:-1], inputs.lengths, inputs.padding)
    if isinstance(inputs, Filed):
        return FiledRows(inputs.array, inputs.rows)
    return in_memory(inputs)


@lru_cache(maxsize=1)
def validation_rows(dataset: Dataset, device: torch.device) -> tuple[Tensor | Rows, Tensor]:
    """The validation inputs, as a model sees them, and targets: moved once, whatever a warm worker trains."""
    inputs = as_seen(dataset.validation.inputs)
    if _fits(inputs, device):
        inputs = inputs.to(device)
    return inputs, in_memory(dataset.validation.targets).to(device)


@lru_cache(maxsize=1)  # a warm worker keeps its study's data on the device
def _training_rows(dataset: Dataset, device: torch.device) -> tuple[Tensor | Rows, Tensor, Tensor | None]:
    """The training inputs, targets and weights: all on the device, or all in the host's memory."""
    train: Examples = dataset.train
    inputs, targets = _held(train.inputs), in_memory(train.targets)
    weights = None if train.weights is None else in_memory(train.weights)
    if not _fits(inputs, device):
        return inputs, targets, weights
    return inputs.to(device), targets.to(device), None if weights is None else weights.to(device)


def _fits(values: Tensor | Rows, device: torch.device) -> bool:
    return values.nbytes <= free_memory(device) * _SHARE_OF_FREE_MEMORY
