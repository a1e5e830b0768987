"""Supervised training of one config. It reads from top to bottom; `train` is the built-in objective."""

import dataclasses
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hpo import models
from hpo.datasets import Dataset, Examples
from hpo.models.standardize import moments
from hpo.spec import Config, DataSettings
from hpo.tasks import GOALS, classification
from hpo.training.augmentation import Augmentation, mixup
from hpo.training.objective import Context, Report, Snapshot, TrainingState
from hpo.training.optimizers import build_optimizer, build_schedule
from hpo.training.precision import autocast, choose_device

_PREDICTION_BATCH = 512
_SHARE_OF_FREE_MEMORY = 0.5
"""The training images stay on the GPU if they take no more than this of its free memory."""


def train(config: Config, context: Context) -> Iterator[Report]:
    """Trains the model of one config and yields a report after every epoch, measured on validation rows.

    Seeds torch's global generator, from which weights and dropout are drawn. What goes on from a state trains as if it
    had not been interrupted. A loss that is not finite ends the
    training with a report of NaN metrics.

    Args:
        config: parameter name -> value, laid over the fixed settings.
        context: fixed settings, data, seed, and the state to go on from.

    Raises:
        ResourceError: `training.device` is cuda, and there is no GPU.
        ValueError: the model refuses its settings.
    """
    spec = context.spec.apply(config)
    training, dataset = spec.training, context.dataset
    torch.manual_seed(context.seed)
    device = choose_device(training.device)
    precision = autocast(device, training.precision)

    model = models.build(spec.model, dataset.input_shape, len(dataset.outputs))
    model.standardize.fit(*_moments(dataset))
    models.place(model, device)

    batches = Batches(dataset, spec.data, training.batch_size, device, model.standardize.mean, context.seed)
    optimizer = build_optimizer(spec.optimizer, model.parameters())
    schedule = build_schedule(spec.optimizer, optimizer, len(batches), training.epochs)

    parameters = float(sum(parameter.numel() for parameter in model.parameters()))
    parts = {"model": model, "optimizer": optimizer, "batches": batches}
    first = 1
    if context.resume is not None:
        first = int(context.resume["epoch"]) + 1
        _restore(context.resume, parts, schedule, steps=len(batches) * (first - 1))
    for epoch in range(first, training.epochs + 1):
        started = time.perf_counter()
        model.train()
        total = torch.zeros((), device=device)  # summed on the device: reading a loss each step would wait for it
        for images, targets in batches:
            with precision or nullcontext():
                loss = classification.loss(model(images), targets, training.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if training.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        train_loss = total.item() / len(batches)
        trained = time.perf_counter()

        validation = _predict(model, dataset.validation, device, precision)
        labels = torch.from_numpy(dataset.validation.targets).to(device)
        finite = math.isfinite(train_loss) and bool(validation.isfinite().all())
        measured = classification.measure(validation, labels) if finite else dict.fromkeys(GOALS[spec.task], math.nan)
        timings = {"train_seconds": trained - started, "epoch_seconds": time.perf_counter() - started}
        timings |= {"parameters": parameters, "latency_ms": _latency(model, dataset, device, precision)}
        metrics = {**measured, "train_loss": train_loss, **timings}
        snapshot = partial(_snapshot, model, dataset, validation, device, precision)
        yield Report(epoch, metrics, snapshot, partial(_state, epoch, parts))
        if not finite:
            return


class Batches:
    """Shuffled, augmented training batches: `(images, targets)` on the device, one pass an epoch.

    Images are float `(n, c, h, w)`, targets labels `(n,)` or, under mixup, probabilities `(n, classes)`.
    A last batch that is not full is left out.
    """

    def __init__(
        self, dataset: Dataset, settings: DataSettings, batch_size: int, device: torch.device, mean: Tensor, seed: int
    ) -> None:
        self._images, self._labels = _resident(dataset, device)
        self._classes = len(dataset.outputs)
        self._settings = settings
        self._batch_size = min(batch_size, len(dataset.train))
        self._device = device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._draws = np.random.default_rng(seed)
        fill = mean.flatten().round().to(torch.uint8)
        self._augment = Augmentation(settings, fill.to(device), self._generator)

    def state_dict(self) -> dict[str, Any]:
        """Where the draws of shuffling and augmentation stand."""
        return {"generator": self._generator.get_state(), "draws": self._draws.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with the draws from there."""
        self._generator.set_state(state["generator"].cpu())
        self._draws.bit_generator.state = state["draws"]

    def __len__(self) -> int:
        return len(self._labels) // self._batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self._labels), generator=self._generator, device=self._device)
        order = order.to(self._images.device)
        for batch in range(len(self)):
            rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            pixels = self._augment(self._images[rows].to(self._device, non_blocking=True))
            images = pixels.permute(0, 3, 1, 2).float()  # a view of (n, h, w, c) is channels_last already
            targets = self._labels[rows].to(self._device, non_blocking=True)
            if "mixup" in self._settings.augment:
                share = float(self._draws.beta(self._settings.mixup_alpha, self._settings.mixup_alpha))
                targets = functional.one_hot(targets, self._classes).float()
                images, targets = mixup(images, targets, share, self._generator)
            yield images, targets


def _state(epoch: int, parts: Mapping[str, Any]) -> TrainingState:
    """Everything that the next epoch depends on."""
    state: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
    state |= {"epoch": epoch, "random": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda_random"] = torch.cuda.get_rng_state()
    return state


def _restore(
    state: TrainingState, parts: Mapping[str, Any], schedule: torch.optim.lr_scheduler.LRScheduler, steps: int
) -> None:
    """Takes a state up again: what was learned is the state's, and how to go on is this config's own."""
    with warnings.catch_warnings():  # torch wants every step of a schedule to follow one of its optimizer
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(steps):
            schedule.step()
    own = parts["optimizer"].state_dict()["param_groups"]
    for name, part in parts.items():
        part.load_state_dict({**state[name], "param_groups": own} if name == "optimizer" else state[name])
    torch.set_rng_state(state["random"].cpu())
    if "cuda_random" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_random"].cpu())


@lru_cache(maxsize=1)  # the same for every trial of a study
def _moments(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return moments(dataset.train.inputs)  # type: ignore[arg-type]  # tables are to come


@lru_cache(maxsize=1)  # a warm worker keeps its study's images on the device
def _resident(dataset: Dataset, device: torch.device) -> tuple[Tensor, Tensor]:
    """The training images `(n, h, w, c)` uint8 and labels, on the device if they fit there."""
    images, labels = torch.from_numpy(dataset.train.inputs), torch.from_numpy(dataset.train.targets)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if images.nbytes > free * _SHARE_OF_FREE_MEMORY:
            return images.pin_memory(), labels
    return images.to(device), labels.to(device)


def _predict(model: nn.Module, examples: Examples, device: torch.device, precision: torch.autocast | None) -> Tensor:
    model.eval()
    images = torch.from_numpy(examples.inputs).permute(0, 3, 1, 2)
    return classification.predict(model, images, batch_size=_PREDICTION_BATCH, autocast=precision)


def _latency(
    model: nn.Module, dataset: Dataset, device: torch.device, precision: torch.autocast | None, tries: int = 5
) -> float:
    """Milliseconds to predict one image: the least of some tries, since everything else only adds to it."""
    one = dataclasses.replace(
        dataset.validation, inputs=dataset.validation.inputs[:1], targets=dataset.validation.targets[:1]
    )
    least = math.inf
    for _ in range(tries):
        started = time.perf_counter()
        _predict(model, one, device, precision).cpu()
        least = min(least, time.perf_counter() - started)
    return least * 1000


def _snapshot(
    model: nn.Module, dataset: Dataset, validation: Tensor, device: torch.device, precision: torch.autocast | None
) -> Snapshot:
    weights = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in model.state_dict().items()}
    test = _predict(model, dataset.test, device, precision)
    return Snapshot(weights, {"validation": validation.cpu().numpy(), "test": test.cpu().numpy()})
