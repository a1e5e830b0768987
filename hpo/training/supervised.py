"""Supervised training of one config. It reads from top to bottom; `train` is the built-in training function."""

import math
import reprlib
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpo import models
from hpo.datasets import Dataset, Examples
from hpo.datasets.moments import moments
from hpo.errors import TrainingError, first_line
from hpo.kernels import own_kernels
from hpo.models import placement
from hpo.models.devices import exact
from hpo.models.standardize import Standardized
from hpo.spec import Config, StudySpec
from hpo.study.artifacts import Split
from hpo.tasks.loss import Loss
from hpo.tasks.measuring import Meter
from hpo.training import fine_tuning
from hpo.training.augmentation import masking
from hpo.training.batches import Batches, validation_rows
from hpo.training.compilation import forward_pass
from hpo.training.first_layers import fit_first, fit_pieces
from hpo.training.function import Context, Report, Snapshot, TrainingState
from hpo.training.optimizers import add_l1, build_optimizer, build_schedule, load_learned
from hpo.training.precision import autocast, choose_device, deterministic, random_state, set_random_state
from hpo.training.prediction import Predictor


def train(config: Config, context: Context) -> Iterator[Report]:
    """Trains the model of one config and yields a report after every epoch, measured on validation rows.

    Seeds torch's global generator, from which weights and dropout are drawn. What goes on from a state trains as if it
    had not been interrupted. A loss that is not finite ends the training with a report of NaN metrics.

    Args:
        config: parameter name -> value, laid over the fixed settings.
        context: fixed settings, data, seed, and the state to go on from.

    Raises:
        TrainingError: the state to go on from does not fit the model, the optimizer or the epochs.
        ResourceError: this process has no such device as `training.device`.
        ValueError: the model refuses its settings.
    """
    assert isinstance(context.spec, StudySpec), "a search over models"
    spec = context.spec.apply(config)
    training, dataset = spec.training, context.dataset
    meter = Meter(spec, dataset.outputs, dataset.encoding.layout)
    torch.manual_seed(context.seed)
    device = choose_device(training.device, float64=dataset.train.inputs.dtype == np.float64)
    precision = autocast(device, training.precision)

    model = _built(spec, dataset, device)
    batches = Batches(dataset, spec.data, training.batch_size, device, context.seed)
    scale = None if model.rescale is None else model.rescale.std
    loss_of = Loss(meter.task, dataset.train.targets, scale, device)
    steps = len(batches) * training.epochs
    forward = forward_pass(model, training.compile, device, steps)
    computed = torch.float32 if precision is None else torch.bfloat16
    kernels = own_kernels(model, training.kernels if forward is model else False, device, computed)
    unfreezing = fine_tuning.Unfreezing(model, spec)
    optimizer = build_optimizer(spec.optimizer, fine_tuning.groups(model.network, spec.optimizer))
    schedule = build_schedule(spec.optimizer, optimizer, len(batches), training.epochs)

    predictor = Predictor(model, meter.task, device, precision)
    rows, truth = validation_rows(dataset, device)
    costs = {"parameters": _size(model), "latency_ms": _latency(predictor, dataset.validation)}
    parts = {"model": model, "optimizer": optimizer, "batches": batches}
    first = 1
    if context.resume is not None:
        first = _epoch_of(context.resume, training.epochs) + 1
        _restore(context.resume, parts, schedule, device, steps=len(batches) * (first - 1))
    for epoch in range(first, training.epochs + 1):
        started = time.perf_counter()
        with deterministic(training.deterministic):
            unfreezing.begin(epoch, optimizer)
            total = torch.zeros((), device=device)  # summed on the device: reading a loss each step would wait for it
            for inputs, targets, weights in batches:
                with precision or nullcontext():
                    with kernels:
                        outputs = forward(inputs)
                    loss = loss_of(outputs, targets, weights)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if spec.optimizer.l1:
                    add_l1(model.parameters(), spec.optimizer.l1)
                if training.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
                optimizer.step()
                schedule.step()
                total += loss.detach()
            train_loss = total.item() / len(batches)
            trained = time.perf_counter()
            with kernels:
                validation = predictor.rows(rows)

        finite = math.isfinite(train_loss) and bool(validation.isfinite().all())
        measured = meter(exact(validation), exact(truth)) if finite else dict.fromkeys(meter.names, math.nan)
        timings = {"train_seconds": trained - started, "epoch_seconds": time.perf_counter() - started}
        metrics = {**measured, "train_loss": train_loss, **timings, **costs}
        snapshot = partial(_snapshot, predictor, dataset, validation, spec.base)
        yield Report(epoch, metrics, snapshot, partial(_state, epoch, parts, device))
        if not finite:
            return


def _built(spec: StudySpec, dataset: Dataset, device: torch.device) -> Standardized:
    """The model with fresh weights on its device; what it knows of the data is measured on training rows."""
    layout = dataset.encoding.layout
    model = models.build(spec.model, dataset.input_shape, len(dataset.outputs), spec.base, layout)
    fine_tuning.begin(model.network, spec.model, dataset.pretrained)
    model.varied = masking(spec.data)
    fit_first(model.standardize, dataset)
    fit_pieces(model, dataset)
    if model.rescale is not None:
        model.rescale.fit(*moments(dataset.train.targets))
    placement.place(model, device)
    return model


def _state(epoch: int, parts: Mapping[str, Any], device: torch.device) -> TrainingState:
    """Everything that the next epoch depends on."""
    return {name: part.state_dict() for name, part in parts.items()} | {"epoch": epoch} | random_state(device)


def _restore(
    state: TrainingState,
    parts: Mapping[str, Any],
    schedule: torch.optim.lr_scheduler.LRScheduler,
    device: torch.device,
    steps: int,
) -> None:
    """Takes a state up again: what was learned is the state's, and how to go on is this config's own."""
    with warnings.catch_warnings():  # torch wants every step of a schedule to follow one of its optimizer
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(steps):
            schedule.step()
    try:
        for name, part in parts.items():
            if name == "optimizer":
                load_learned(part, state[name])
            else:
                part.load_state_dict(state[name])
        set_random_state(state, device)
    except (AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise _no_state(first_line(error)) from error


def _epoch_of(state: TrainingState, epochs: int) -> int:
    """The epoch at which a state stands, of so many."""
    epoch = state.get("epoch")
    if not isinstance(epoch, int) or not 0 < epoch <= epochs:
        raise _no_state(f"its epoch must be 1 to {epochs}, got {reprlib.repr(epoch):.40}")
    return epoch


def _no_state(reason: str) -> TrainingError:
    return TrainingError(f"the stored state does not fit what is trained: {reason}")


def _size(model: nn.Module) -> float:
    """How many parameters a model has."""
    return float(sum(parameter.numel() for parameter in model.parameters()))


def _latency(predictor: Predictor, examples: Examples, tries: int = 5) -> float:
    """Milliseconds to predict one example: the least of some tries, since everything else only adds to it.

    It is measured once, before the training, since weights have no part in it.
    """
    one = examples.take(np.array([0]))
    least = math.inf
    for _ in range(tries):
        started = time.perf_counter()
        predictor(one).cpu()
        least = min(least, time.perf_counter() - started)
    return least * 1000


def _snapshot(predictor: Predictor, dataset: Dataset, validation: Tensor, base: str) -> Snapshot:
    kept = np.float32 if base == "regression" else np.float16  # half of the disk, and enough for probabilities
    weights = predictor.weights()

    def others() -> dict[Split, NDArray[np.floating[Any]]]:
        splits: dict[Split, Examples | None] = {"test": dataset.test, "held_out": dataset.held_out}
        return {
            split: predictor(examples, weights).cpu().numpy().astype(kept)
            for split, examples in splits.items()
            if examples is not None
        }

    return Snapshot(weights, {"validation": validation.cpu().numpy().astype(kept)}, others)
