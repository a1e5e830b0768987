"""Three ways to train the same model on the same rows: as tutorials do it, with the known tricks, and by the product.

Each yields an `Epoch` at the end of each one. All have a network that is the same function, and the same optimizer,
schedule and batch size.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils import data
from torchvision import transforms

from hpo import models
from hpo.datasets import Dataset, Examples
from hpo.datasets.moments import moments
from hpo.kernels.layers import BatchNormReLU
from hpo.spec import OptimizerSettings, StudySpec
from hpo.training import Context, train

_PADDING = 4


@dataclass(frozen=True)
class Epoch:
    """Seconds of the training pass, and of it with the validation; accuracies, that on test rows in the last one."""

    train_seconds: float
    seconds: float
    validation: float
    test: float | None = None


Loop = Callable[[StudySpec, Dataset, int], Iterator[Epoch]]
"""A spec, its data and a seed -> the epochs."""


# ---- as tutorials write it -------------------------------------------------------------------------------------------


class Pictures(data.Dataset[tuple[Tensor, int]]):
    """Images that are transformed one by one."""

    def __init__(self, examples: Examples, transform: transforms.Compose) -> None:
        self._examples, self._transform = examples, transform

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._examples.inputs[row])), int(self._examples.targets[row])


def tutorial(spec: StudySpec, dataset: Dataset, seed: int, workers: int = 0) -> Iterator[Epoch]:
    """A DataLoader over torchvision's transforms, float32, `loss.item()` at every step."""
    torch.manual_seed(seed)
    mean, std = (tuple(it / 255) for it in moments(dataset.train.inputs))
    plain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    varied = transforms.Compose(
        [transforms.RandomCrop(32, padding=_PADDING), transforms.RandomHorizontalFlip(), *plain.transforms]
    )
    size = spec.training.batch_size
    train_loader = data.DataLoader(Pictures(dataset.train, varied), size, shuffle=True, num_workers=workers)
    loaders = [
        data.DataLoader(Pictures(it, plain), size, num_workers=workers) for it in (dataset.validation, dataset.test)
    ]
    model = _network(spec, dataset)
    optimizer = _sgd(spec.optimizer, model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(train_loader) * spec.training.epochs)
    criterion = nn.CrossEntropyLoss()

    def accuracy(loader: data.DataLoader[tuple[Tensor, int]]) -> float:
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in loader:
                right += (model(images).argmax(dim=1) == labels).sum().item()
        return right / len(loader.dataset)  # type: ignore[arg-type]

    for epoch in range(1, spec.training.epochs + 1):
        started = time.perf_counter()
        model.train()
        running_loss = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            running_loss += loss.item()
        trained = time.perf_counter()
        validation = accuracy(loaders[0])
        ended = time.perf_counter()
        test = accuracy(loaders[1]) if epoch == spec.training.epochs else None
        yield Epoch(trained - started, ended - started, validation, test)


# ---- with the known tricks -------------------------------------------------------------------------------------------


def tricks(spec: StudySpec, dataset: Dataset, seed: int, compiled: bool = False) -> Iterator[Epoch]:
    """All rows as one normalized tensor, batched augmentation, channels_last, a fused optimizer, no wait in a step."""
    torch.manual_seed(seed)
    mean, std = (torch.from_numpy(it).float().view(1, -1, 1, 1) for it in moments(dataset.train.inputs))

    def rows(examples: Examples) -> tuple[Tensor, Tensor]:
        images = (torch.from_numpy(examples.inputs).permute(0, 3, 1, 2).float() - mean) / std
        return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(examples.targets)

    images, labels = rows(dataset.train)
    others = rows(dataset.validation), rows(dataset.test)
    model = _network(spec, dataset).to(memory_format=torch.channels_last)
    forward = torch.compile(model) if compiled else model
    optimizer = _sgd(spec.optimizer, model, fused=True)
    size = spec.training.batch_size
    steps = len(images) // size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * spec.training.epochs)

    def accuracy(images: Tensor, labels: Tensor) -> float:
        model.eval()
        with torch.inference_mode():
            predicted = torch.cat([model(batch).argmax(dim=1) for batch in images.split(512)])
        return float((predicted == labels).float().mean())

    for epoch in range(1, spec.training.epochs + 1):
        started = time.perf_counter()
        model.train()
        total = torch.zeros(())
        for picked in torch.randperm(len(images)).split(size)[:steps]:
            loss = nn.functional.cross_entropy(forward(_varied(images[picked])), labels[picked])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        total.item()
        trained = time.perf_counter()
        validation = accuracy(*others[0])
        ended = time.perf_counter()
        test = accuracy(*others[1]) if epoch == spec.training.epochs else None
        yield Epoch(trained - started, ended - started, validation, test)


def _varied(images: Tensor) -> Tensor:
    """Random crops and flips `(n, c, h, w)`, each image with draws of its own."""
    n, _, height, width = images.shape
    padded = nn.functional.pad(images, (_PADDING,) * 4)
    top, left = torch.randint(2 * _PADDING + 1, (2, n, 1))
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    pixels = padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return pixels.permute(0, 3, 1, 2)


# ---- the product -----------------------------------------------------------------------------------------------------


def product(spec: StudySpec, dataset: Dataset, seed: int) -> Iterator[Epoch]:
    """`hpo.training.train` as a worker calls it; compiled where the spec says so."""
    for report in train({}, Context(spec, dataset, seed)):
        test = None
        if report.epoch == spec.training.epochs:
            others = report.snapshot().others
            assert others is not None
            test = _accuracy(others()["test"], dataset.test.targets)
        yield Epoch(report.metrics["train_seconds"], report.metrics["epoch_seconds"], report.metrics["accuracy"], test)


def _accuracy(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def _network(spec: StudySpec, dataset: Dataset) -> nn.Module:
    function = models.MODELS.load(spec.model.name)
    network: nn.Module = function(dataset.input_shape, len(dataset.outputs), **spec.model.settings)
    return _as_written(network) if isinstance(network, nn.Sequential) else network


def _as_written(network: nn.Sequential) -> nn.Sequential:
    """The same function as layers of torch, in the usual order: the product pools before ReLU."""
    layers: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, BatchNormReLU):
            layers += [nn.BatchNorm2d(layer.num_features), nn.ReLU(), *([nn.MaxPool2d(2)] if layer.pool else [])]
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def _sgd(settings: OptimizerSettings, model: nn.Module, fused: bool = False) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=fused or None,
    )
