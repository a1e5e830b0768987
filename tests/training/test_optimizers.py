import subprocess
import sys
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from hpo.spec import OptimizerSettings
from hpo.training.optimizers import build_optimizer, build_schedule
from tests.conftest import PATIENCE, ROOT

NAMES = ["sgd", "adam", "adamw", "rmsprop", "adagrad"]
TORCHS: dict[str, Any] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05, weight_decay=0.01),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.01),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.05, weight_decay=0.01),
}


def settings_of(name: str) -> OptimizerSettings:
    return OptimizerSettings.model_validate(
        {"name": name, "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "schedule": "none"}
    )


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        model(torch.randn(8, 5, generator=generator)).square().mean().backward()
        optimizer.step()


def model_of(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(5, 3)


@pytest.mark.parametrize("name", NAMES)
def test_it_steps_as_torchs_own(name: str) -> None:
    own, torchs = model_of(), model_of()
    trained(own, build_optimizer(settings_of(name), own.parameters()), 5)
    trained(torchs, TORCHS[name](torchs.parameters()), 5)
    for ours, theirs in zip(own.parameters(), torchs.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        assert ours.grad_fn is None and ours.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_its_state_goes_on_in_another_one(name: str) -> None:
    model = model_of()
    optimizer = build_optimizer(settings_of(name), model.parameters())
    schedule = build_schedule(settings_of(name), optimizer, steps_per_epoch=2, epochs=3)
    trained(model, optimizer, 3)
    schedule.step()
    twin = model_of(1)
    twin.load_state_dict(model.state_dict())
    other = build_optimizer(settings_of(name), twin.parameters())
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    for one, its in ((model, optimizer), (twin, other)):
        trained(one, its, 2)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_torchs_compiler_is_not_loaded() -> None:
    code = (
        "import sys, torch; from tests.training.test_optimizers import *\n"
        "for name in NAMES:\n"
        "    model = model_of(); optimizer = build_optimizer(settings_of(name), model.parameters())\n"
        "    trained(model, optimizer, 2); optimizer.load_state_dict(optimizer.state_dict())\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE, cwd=ROOT)
