"""Small changes of a config under population based training."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpo.samplers.mutation import explore
from hpo.spec import Parameter
from hpo.spec.space import Space

SPACE = Space(
    {
        "model.width": Parameter(type="int", min=8, max=64, log=True),
        "optimizer.name": Parameter(values=("sgd", "adamw")),
        "optimizer.lr": Parameter(min=1e-4, max=1.0, log=True),
        "training.batch_size": Parameter(type="int", min=16, max=128, step=16),
        "optimizer.nesterov": Parameter(values=(False, True)),
        "optimizer.momentum": Parameter(min=0.8, max=0.99, when={"optimizer.name": ("sgd",)}),
    },
    {},
)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    config: dict[str, Any] = {
        "model.width": draw(st.integers(8, 64)),
        "optimizer.name": draw(st.sampled_from(["sgd", "adamw"])),
        "optimizer.lr": draw(st.floats(1e-4, 1.0)),
        "training.batch_size": 16 * draw(st.integers(1, 8)),
        "optimizer.nesterov": draw(st.booleans()),
    }
    if config["optimizer.name"] == "sgd":
        config["optimizer.momentum"] = draw(st.floats(0.8, 0.99))
    return config


@given(configs(), st.integers(0, 1000), st.sampled_from([0.0, 0.25, 1.0]))
def test_a_child_is_in_the_space_and_its_model_and_optimizer_are_its_parents(
    config: dict[str, Any], seed: int, resample: float
) -> None:
    child = explore(SPACE, config, np.random.default_rng(seed), resample)
    assert child.keys() == config.keys()
    assert all(SPACE.parameters[name].contains(value) for name, value in child.items())
    for name in ("model.width", "optimizer.name"):
        assert child[name] == config[name]


@given(configs(), st.integers(0, 1000))
def test_without_a_draw_numbers_take_one_small_step_and_categories_stay(config: dict[str, Any], seed: int) -> None:
    child = explore(SPACE, config, np.random.default_rng(seed), 0.0)
    assert child["optimizer.nesterov"] == config["optimizer.nesterov"]
    assert abs(np.log(child["optimizer.lr"] / config["optimizer.lr"])) <= np.log(1.2) + 1e-9
    assert abs(child["training.batch_size"] - config["training.batch_size"]) == 16
    if "optimizer.momentum" in config:
        assert abs(child["optimizer.momentum"] - config["optimizer.momentum"]) <= 0.019 + 1e-9
