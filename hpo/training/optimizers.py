"""Optimizers and learning-rate schedules, from the `optimizer` section."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
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


@torch.no_grad()
def add_l1(parameters: Iterable[nn.Parameter], weight: float) -> None:
    """Adds to gradients those of `weight` times the sum of the parameters' sizes; 0 has the gradient 0."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=weight)


def load_learned(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], settings: bool = False) -> None:
    """Takes up what an optimizer has learned, with the settings that this one has.

    Fused steps write to these tensors as if each had its parameter's shape, so they are copied into some that have.

    Args:
        optimizer: as it was made.
        state: its `state_dict`, of before.
        settings: whether numbers such as the learning rate are taken up too.

    Raises:
        ValueError: a tensor has another shape or kind, or is of a parameter that is not there.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    learned = {}
    for place, values in state["state"].items():
        if not isinstance(place, int) or not 0 <= place < len(parameters):
            raise ValueError(f"the optimizer has no parameter {place!r:.40}")
        learned[place] = {name: _own(parameters[place], name, value) for name, value in values.items()}
    groups = optimizer.state_dict()["param_groups"]
    if settings:
        groups = [{**own, **_numbers(own, other)} for own, other in zip(groups, state["param_groups"], strict=True)]
    optimizer.load_state_dict({"state": learned, "param_groups": groups})


_STEPS = ("fused", "foreach", "capturable", "differentiable")
"""Settings that say by which code an optimizer steps."""


def with_own_steps(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """A state of an optimizer which steps by the code that this one was made for.

    A fused step, which writes without looking at shapes, could else be switched on by whoever has written the state.

    Raises:
        ValueError: the state has other groups of parameters.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = [
        {
            **{name: value for name, value in other.items() if name not in _STEPS},
            **{name: mine[name] for name in _STEPS if name in mine},
        }
        for mine, other in zip(own, state["param_groups"], strict=True)
    ]
    return {**state, "param_groups": groups}


def _numbers(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among an optimizer's stored settings that it has now too."""
    return {
        name: other[name]
        for name, value in own.items()
        if isinstance(value, float) and isinstance(other.get(name), int | float)
    }


def _own(parameter: Tensor, name: str, value: Tensor | None) -> Tensor | None:
    """A value of an optimizer's state in memory of its own, laid out as its parameter; SGD's first momentum is None."""
    if value is None:
        return None
    own = torch.empty(()) if name == "step" else torch.empty_like(parameter)
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != own.shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the optimizer's {name!r:.40} must be floats of shape {tuple(own.shape)}, got {got}")
    return own.detach().copy_(value)


def build_schedule(
    settings: OptimizerSettings, optimizer: torch.optim.Optimizer, steps_per_epoch: int, epochs: int
) -> lr_scheduler.LRScheduler:
    """The learning-rate schedule, stepped after every optimizer step."""
    steps = steps_per_epoch * epochs
    warmup = min(round(settings.warmup_epochs * steps_per_epoch), steps)
    if warmup and settings.schedule != "one_cycle":
        return lr_scheduler.LambdaLR(optimizer, _warmed_up(settings, warmup, steps_per_epoch, steps))
    match settings.schedule:
        case "none":
            return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        case "step":
            return lr_scheduler.StepLR(optimizer, settings.step_epochs * steps_per_epoch, settings.step_factor)
        case "one_cycle":
            # one step more: the schedule is stepped once after the last optimizer step too
            rise = warmup / steps if warmup else _RISE
            return lr_scheduler.OneCycleLR(
                optimizer, settings.lr, total_steps=steps + 1, pct_start=rise, cycle_momentum=False
            )


_RISE = 0.3
"""The share of its steps in which `one_cycle` rises, if no warm-up says otherwise; torch's default."""


def _warmed_up(settings: OptimizerSettings, warmup: int, steps_per_epoch: int, steps: int) -> Callable[[int], float]:
    """The factor of the learning rate at each step, with a linear warm-up of so many steps (Goyal et al. 2017).

    Args:
        settings: whose schedule is none, cosine or step.
        warmup: steps at the beginning, of which the last has the whole learning rate.
        steps_per_epoch: optimizer steps of an epoch.
        steps: in all.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        match settings.schedule:
            case "cosine":
                return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2
            case "step":
                return settings.step_factor ** (step // (settings.step_epochs * steps_per_epoch))
        return 1.0

    return factor
