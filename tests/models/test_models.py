from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo import models, spec
from hpo.datasets.moments import moments
from hpo.spec import Named


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mlp", {"layers": 3, "dropout": 0.5}),
        ("convnet", {"stages": 2, "convolutions": 2, "width": 8}),
        ("resnet", {"depth": 8, "width": 4}),
        ("resnet", {"depth": 14, "width": 8, "dropout": 0.1}),
        ("resnet", {"depth": 18, "width": 8}),
    ],
)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 11, 9)])
def test_models_give_one_row_of_logits_an_image_and_learn(
    name: str, settings: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    model = models.build(Named(name=name, **settings), shape, 5)
    logits = model(torch.rand(4, *shape) * 255)
    assert logits.shape == (4, 5)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_resnet_has_the_depth_that_it_says() -> None:
    model = models.build(Named.model_validate({"name": "resnet", "depth": 20}), (3, 32, 32), 10)
    convolutions = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d) and "shortcut" not in name
    ]
    assert len(convolutions) + 1 == 20
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == pytest.approx(0.27e6, rel=0.03)  # He et al. 2016, table 6


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet", {"depth": 21}, "depth must be 6n\\+2"),
        ("resnet", {"depth": 2}, "depth must be 6n\\+2"),
        ("resnet", {"width": 0}, "width must be at least 1"),
        ("mlp", {"dropout": 1.0}, "dropout in"),
        ("convnet", {"stages": 9}, "halves images 8 times"),
    ],
)
def test_impossible_settings_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.build(Named(name=name, **settings), (1, 8, 8), 3)


@given(st.integers(0, 100), st.integers(1, 3))
def test_moments_are_those_of_the_pixels(seed: int, channels: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (5, 4, 3, channels), dtype=np.uint8)
    mean, std = moments(images)
    np.testing.assert_allclose(mean, images.reshape(-1, channels).mean(axis=0))
    np.testing.assert_allclose(std, images.reshape(-1, channels).astype(float).std(axis=0), rtol=1e-6)


def test_a_constant_channel_is_left_alone() -> None:
    _, std = moments(np.full((2, 3, 3, 1), 7, np.uint8))
    assert std == [1.0]


def switched(input_shape: tuple[int, ...], outputs: int, *, bias: bool = True, width=8, kind: str = "a") -> Any:  # type: ignore[no-untyped-def]
    """A model with a switch, a number and a text."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"bias": "no"}},
            "takes true or false, got the text 'no': to YAML 1.2, yes, no, on and off are texts",
        ),
        ({"parameters": {"model.bias": {"values": ["yes", False]}}}, "takes true or false, got the text 'yes'"),
        ({"parameters": {"model.width": {"values": ["8", 16]}}}, "takes a number, got the text '8'"),
        ({"parameters": {"model.kind": {"values": ["yes", "no"]}}, "model": {"bias": False, "width": 4}}, None),
    ],
)
def test_a_text_for_a_switch_or_a_number_is_told(changes: dict[str, Any], message: str | None) -> None:
    model = {"name": "tests.models.test_models:switched", **changes.get("model", {})}
    given = {"study": "s", "data": "digits", "model": model, "parameters": changes.get("parameters", {})}
    problems = [problem.message for problem in models.check(spec.load(given))]
    assert len(problems) == (message is not None)
    assert all(message in problem for problem in problems if message is not None)
