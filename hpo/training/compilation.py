"""`training.compile`: the model's forward and backward pass as generated code (torch.compile)."""

import math
import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from hpo.errors import first_line
from hpo.files.torch_cache import keep_compiled_apart

Forward = Callable[[Tensor], Tensor]

_STEPS_THAT_PAY = {"cuda": 20_000}
"""Device -> optimizer steps of a trial from which on `auto` compiles; never on a device that is not here."""
_SHAPES = 64
"""Shapes of models whose code a warm worker keeps; torch would give up after 8."""


def forward_pass(model: nn.Module, wanted: bool | Literal["auto"], device: torch.device, steps: int) -> Forward:
    """The forward pass to train with: the model itself, or compiled.

    A warm worker keeps the code for models of the same shapes, and torch keeps it on the disk for later ones. Where it
    cannot be compiled, as where there is no compiler, a warning says so and the model is trained as it is.

    Args:
        model: on its device.
        wanted: `training.compile`; by `auto` only where it pays within a trial.
        device: where it is trained.
        steps: of the optimizer in the whole trial.
    """
    if wanted == "auto":
        wanted = steps >= _STEPS_THAT_PAY.get(device.type, math.inf)
    return _Compiled(model) if wanted else model


class _Compiled:
    """A model's compiled forward pass, until compiling it fails."""

    def __init__(self, model: nn.Module) -> None:
        keep_compiled_apart()
        import torch._dynamo  # takes seconds, and most trials do without

        limits = torch._dynamo.config
        limits.cache_size_limit = max(_SHAPES, limits.cache_size_limit)
        self._failure: type[Exception] = torch._dynamo.exc.TorchDynamoException
        self._model = model
        self._forward: Forward = torch.compile(model)

    def __call__(self, inputs: Tensor) -> Tensor:
        try:
            outputs: Tensor = self._forward(inputs)
            return outputs
        except self._failure as error:
            warnings.warn(
                f"training.compile: trained without, since torch.compile failed: {first_line(error):.200}", stacklevel=2
            )
            self._forward = self._model
            return self(inputs)
