"""Optimizers and learning-rate schedules, from the `optimizer` section."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from hpo.spec import OptimizerSettings

_COMPILED = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
"""Methods that torch wraps for torch.compile."""


def _eager(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """An optimizer that does without torch's compiler: at its first step torch's own load it, for a second or two."""
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in _COMPILED}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)


_SGD, _Adam, _AdamW = _eager(torch.optim.SGD), _eager(torch.optim.Adam), _eager(torch.optim.AdamW)
_RMSprop, _Adagrad = _eager(torch.optim.RMSprop), _eager(torch.optim.Adagrad)


def build_optimizer(settings: OptimizerSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer over these parameters; fused (one kernel a step) where torch has it."""
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    betas = (settings.beta1, settings.beta2)
    match settings.name:
        case "sgd":
            nesterov = settings.nesterov and settings.momentum > 0
            return _SGD(parameters, momentum=settings.momentum, nesterov=nesterov, fused=True, **common)
        case "adam":
            return _Adam(parameters, betas=betas, fused=True, **common)
        case "adamw":
            return _AdamW(parameters, betas=betas, fused=True, **common)
        case "rmsprop":
            return _RMSprop(parameters, momentum=settings.momentum, **common)
        case "adagrad":
            return _Adagrad(parameters, **common)


def build_schedule(
    settings: OptimizerSettings, optimizer: torch.optim.Optimizer, steps_per_epoch: int, epochs: int
) -> lr_scheduler.LRScheduler:
    """The learning-rate schedule, stepped after every optimizer step."""
    steps = steps_per_epoch * epochs
    match settings.schedule:
        case "none":
            return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        case "step":
            return lr_scheduler.StepLR(optimizer, settings.step_epochs * steps_per_epoch, settings.step_factor)
        case "one_cycle":
            # one step more: the schedule is stepped once after the last optimizer step too
            return lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps + 1, cycle_momentum=False)
