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


def rates(epochs: int = 4, steps: int = 5, **settings: Any) -> list[float]:
    """The learning rate of each step of a training."""
    read = OptimizerSettings.model_validate({"name": "sgd", "lr": 2.0, **settings})
    optimizer = build_optimizer(read, model_of().parameters())
    schedule = build_schedule(read, optimizer, steps, epochs)
    found = []
    for _ in range(steps * epochs):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("schedule", ["none", "cosine", "step"])
def test_a_warm_up_rises_evenly_to_the_whole_learning_rate(schedule: str) -> None:
    found = rates(schedule=schedule, warmup_epochs=1.6)
    assert found[:9] == pytest.approx([2 * (step + 1) / 8 for step in range(8)] + [2.0])
    assert rates(schedule=schedule, warmup_epochs=0.0) == rates(schedule=schedule)


def test_behind_a_warm_up_the_schedule_is_as_long_as_what_is_left() -> None:
    found = rates(schedule="cosine", warmup_epochs=2)
    assert found[10:] == pytest.approx(rates(epochs=2, schedule="cosine"))
    stepped: dict[str, Any] = {"schedule": "step", "step_epochs": 2, "step_factor": 0.5}
    assert rates(warmup_epochs=1, **stepped)[5:] == pytest.approx(rates(**stepped)[5:])


def test_the_warm_up_of_one_cycle_is_where_it_rises() -> None:
    for warmup in (1, 2):
        found = rates(schedule="one_cycle", warmup_epochs=warmup)
        assert found.index(max(found)) == warmup * 5
    assert rates(schedule="one_cycle") == rates(schedule="one_cycle", warmup_epochs=0)


@pytest.mark.parametrize("schedule", ["none", "cosine", "step", "one_cycle"])
def test_a_warm_up_longer_than_the_training_is_cut(schedule: str) -> None:
    assert max(rates(schedule=schedule, warmup_epochs=9)) <= 2.0  # a rehearsal has two epochs
