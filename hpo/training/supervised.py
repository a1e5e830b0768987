"""Supervised training of one config. It reads from top to bottom; `train` is the built-in objective."""

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
from hpo.artifacts import Split
from hpo.datasets import Dataset, Examples
from hpo.models.standardize import moments
from hpo.spec import Config, DataSettings
from hpo.tasks import GOALS
from hpo.tasks.kinds import Kind, kind, predict
from hpo.training.augmentation import Augmentation, mixup
from hpo.training.objective import Context, Report, Snapshot, TrainingState
from hpo.training.optimizers import build_optimizer, build_schedule
from hpo.training.precision import autocast, choose_device

_PREDICTION_BATCH = 512
_SHARE_OF_FREE_MEMORY = 0.5
"""The training inputs stay on the GPU if they take no more than this of its free memory."""


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
    training, dataset, task = spec.training, context.dataset, kind(spec.task)
    torch.manual_seed(context.seed)
    device = choose_device(training.device)
    precision = autocast(device, training.precision)

    model = models.build(spec.model, dataset.input_shape, len(dataset.outputs), spec.task)
    model.standardize.fit(*_moments(dataset))
    if model.rescale is not None:
        model.rescale.fit(*moments(dataset.train.targets))
    models.place(model, device)

    batches = Batches(dataset, spec.data, training.batch_size, device, model.standardize.mean, context.seed)
    scale = None if model.rescale is None else model.rescale.std
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
        for inputs, targets, weights in batches:
            with precision or nullcontext():
                outputs = model(inputs)
                loss = task.loss(
                    outputs, targets, label_smoothing=training.label_smoothing, weights=weights, scale=scale
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if training.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        train_loss = total.item() / len(batches)
        trained = time.perf_counter()

        predictor = Predictor(model, task, device, precision)
        validation = predictor(dataset.validation)
        truth = torch.from_numpy(dataset.validation.targets).to(device)
        finite = math.isfinite(train_loss) and bool(validation.isfinite().all())
        measured = task.measure(validation, truth) if finite else dict.fromkeys(GOALS[spec.task], math.nan)
        timings = {"train_seconds": trained - started, "epoch_seconds": time.perf_counter() - started}
        timings |= {"parameters": parameters, "latency_ms": _latency(predictor, dataset.validation)}
        metrics = {**measured, "train_loss": train_loss, **timings}
        snapshot = partial(_snapshot, predictor, dataset, validation, spec.task)
        yield Report(epoch, metrics, snapshot, partial(_state, epoch, parts))
        if not finite:
            return


class Batches:
    """Shuffled, augmented training batches: `(inputs, targets, weights)` on the device, one pass an epoch.

    Inputs are float `(n, c, h, w)` or `(n, features)`; targets are as the task has them, and of classes also
    probabilities `(n, classes)`, which mixup makes of labels; weights are `(n,)` or None. A last batch that is not full
    is left out.
    """

    def __init__(
        self, dataset: Dataset, settings: DataSettings, batch_size: int, device: torch.device, mean: Tensor, seed: int
    ) -> None:
        self._inputs, self._targets, self._weights = _resident(dataset, device)
        self._outputs = len(dataset.outputs)
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
        return len(self._targets) // self._batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        order = torch.randperm(len(self._targets), generator=self._generator, device=self._device)
        order = order.to(self._inputs.device)
        for batch in range(len(self)):
            rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            inputs = self._inputs[rows].to(self._device, non_blocking=True)
            if inputs.ndim == 4:
                inputs = self._augment(inputs).permute(0, 3, 1, 2)  # a view of (n, h, w, c) is channels_last already
            inputs = inputs.float()
            targets = self._targets[rows].to(self._device, non_blocking=True)
            weights = None if self._weights is None else self._weights[rows].to(self._device, non_blocking=True)
            if "mixup" in self._settings.augment:
                share = float(self._draws.beta(self._settings.mixup_alpha, self._settings.mixup_alpha))
                targets = functional.one_hot(targets, self._outputs) if targets.ndim == 1 else targets
                inputs, targets = mixup(inputs, targets.float(), share, self._generator)
            yield inputs, targets, weights


class Predictor:
    """A model's predictions of examples, as the task means them."""

    def __init__(self, model: nn.Module, task: Kind, device: torch.device, precision: torch.autocast | None) -> None:
        self.model, self._task, self._device, self._precision = model, task, device, precision

    def __call__(self, examples: Examples) -> Tensor:
        """`(n, outputs)` on the device."""
        self.model.eval()
        inputs = torch.from_numpy(examples.inputs)
        if inputs.ndim == 4:
            inputs = inputs.permute(0, 3, 1, 2)
        return predict(self.model, inputs, self._task.activate, batch_size=_PREDICTION_BATCH, autocast=self._precision)


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
    return moments(dataset.train.inputs)


@lru_cache(maxsize=1)  # a warm worker keeps its study's data on the device
def _resident(dataset: Dataset, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    """The training inputs, targets and weights, on the device if they fit there."""
    train = dataset.train
    inputs, targets = torch.from_numpy(train.inputs), torch.from_numpy(train.targets)
    weights = None if train.weights is None else torch.from_numpy(train.weights)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if inputs.nbytes > free * _SHARE_OF_FREE_MEMORY:
            return inputs.pin_memory(), targets, weights
    return inputs.to(device), targets.to(device), None if weights is None else weights.to(device)


def _latency(predictor: Predictor, examples: Examples, tries: int = 5) -> float:
    """Milliseconds to predict one example: the least of some tries, since everything else only adds to it."""
    one = examples.take(np.array([0]))
    least = math.inf
    for _ in range(tries):
        started = time.perf_counter()
        predictor(one).cpu()
        least = min(least, time.perf_counter() - started)
    return least * 1000


def _snapshot(predictor: Predictor, dataset: Dataset, validation: Tensor, task: str) -> Snapshot:
    state = predictor.model.state_dict()
    weights = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in state.items()}
    predictions: dict[Split, Tensor] = {"validation": validation, "test": predictor(dataset.test)}
    if dataset.held_out is not None:
        predictions["held_out"] = predictor(dataset.held_out)
    kept = np.float32 if task == "regression" else np.float16  # half of the disk, and enough for probabilities
    return Snapshot(weights, {split: rows.cpu().numpy().astype(kept) for split, rows in predictions.items()})
