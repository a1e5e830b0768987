"""Fine-tuning: weights that training begins from, layers that are not trained, and a body that learns more slowly.

What is trained in an epoch depends on that epoch's number alone, so a trial that goes on does as one that never paused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from hpo import models
from hpo.datasets import Dataset
from hpo.files.pretrained import Pretrained
from hpo.models import layers
from hpo.models.pretrained import begin_from, match
from hpo.models.standardize import Standardized
from hpo.spec import ModelSettings, OptimizerSettings, StudySpec
from hpo.spec.probing import config_as_written
from hpo.training.optimizers import level_momentum


def begin(network: nn.Module, model: ModelSettings, pretrained: Pretrained | None) -> None:
    """Lays pretrained weights into a network with fresh ones, where the search names a file of them.

    Raises:
        ValueError: the file was not read with the data, or nothing in it fits.
    """
    if model.weights is None:
        return
    if pretrained is None:
        raise ValueError(f"the weights of '{model.weights}' were not read with the data")
    begin_from(network, pretrained)


def notes(spec: StudySpec, dataset: Dataset) -> Iterator[str]:
    """What the config as it is written takes of the weights in a file, and which of its layers are not trained.

    Raises:
        ValueError: nothing in the file fits, or nothing is left to train.
    """
    config = config_as_written(spec)
    if config is None:  # it is forbidden, so that no trial has it
        return
    spec = spec.apply(config)
    layout, outputs = dataset.encoding.layout, len(dataset.outputs)
    with torch.random.fork_rng([]):
        model = models.build(spec.model, dataset.input_shape, outputs, spec.base, layout)
    network = model.network
    if dataset.pretrained is not None:
        yield f"model.weights: {match(network, dataset.pretrained).told(dataset.pretrained.name)}."
    waiting, last = Unfreezing(model, spec).frozen_in(1), layers.head(network)
    names = {name for name, _ in network.named_parameters()}
    if waiting:
        when = " in the first epoch" if spec.training.unfreeze_epochs is not None else ""
        yield f"{len(waiting & names)} of {len(names)} tensors are frozen{when}; the head is layer '{last}'."
    elif spec.optimizer.body_lr is not None:
        yield f"all layers but the head, '{last}', learn by optimizer.body_lr."


def groups(network: nn.Module, settings: OptimizerSettings) -> list[Any]:
    """The parameters for an optimizer: all of them, or body and head where the body has a learning rate of its own."""
    if settings.body_lr is None:
        return list(network.parameters())
    own = {id(parameter) for parameter in network.get_submodule(layers.head(network)).parameters()}
    body = [parameter for parameter in network.parameters() if id(parameter) not in own]
    head = [parameter for parameter in network.parameters() if id(parameter) in own]
    return [{"params": part, "lr": rate} for part, rate in ((body, settings.body_lr), (head, settings.lr)) if part]


class Unfreezing:
    """Decides which layers of a network are trained in an epoch.

    Frozen layers get no gradients, and their normalizations neither take up statistics nor use those of a batch. With
    gradual unfreezing (Howard and Ruder 2018, "Universal Language Model Fine-tuning", section 3.3) the head is trained
    alone at first, and every so many epochs a stage more, from the head on.

    Args:
        model: whose network's layers.
        spec: with `model.frozen` and `training.unfreeze_epochs`.

    Raises:
        ValueError: a pattern of `model.frozen` matches no layer, or nothing is left to train.
    """

    def __init__(self, model: Standardized, spec: StudySpec) -> None:
        self._model, network = model, model.network
        self._parameters: Mapping[str, nn.Parameter] = dict(network.named_parameters())
        self._norms = {name: layer for name, layer in network.named_modules() if isinstance(layer, _NormBase)}
        self._frozen, self._stages = frozenset[str](), list[frozenset[str]]()
        self._span = spec.training.unfreeze_epochs
        if spec.model.frozen:
            self._frozen = layers.chosen(network, spec.model.frozen)
        if self._frozen >= self._parameters.keys():
            raise ValueError("frozen: all layers are frozen, and nothing is left to train; leave the last one out")
        if self._span is not None:
            left = [stage - self._frozen for stage in layers.stages(network)]
            self._stages = [stage for stage in left if stage & self._parameters.keys()]

    def begin(self, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        """Sets the model to training for an epoch, the first of which is 1, and freezes what is not trained in it."""
        self._model.train()
        level_momentum(optimizer)
        frozen = self.frozen_in(epoch)
        if not frozen and not self._stages:
            return
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name not in frozen)
            if name in frozen:
                parameter.grad = None
        for name, layer in self._norms.items():
            layer.train(name not in frozen)

    def frozen_in(self, epoch: int) -> frozenset[str]:
        """The names of parameters and normalization layers that are not trained in an epoch."""
        if self._span is None:
            return self._frozen
        trained = 1 + (epoch - 1) // self._span
        waiting = self._stages[: max(0, len(self._stages) - trained)]
        return self._frozen.union(*waiting)
