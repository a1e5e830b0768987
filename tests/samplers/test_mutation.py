"""Small changes of a config under population based training."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpo.samplers.mutation import explore
from hpo.spec import Parameter, load_search
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


def test_what_the_model_is_tied_to_stays_and_what_is_forbidden_is_not_born() -> None:
    spec = load_search(
        {
            "study": "s",
            "parameters": {
                "optimizer.lr": {"min": 0, "max": 1, "step": 0.1},
                "training.batch_size": {"type": "int", "min": 8, "max": 64, "step": 8, "log": True},
                "model.width": {"equals": "2 * training.batch_size"},
                "optimizer.momentum": {"normal": [0.5, 0.1], "min": 0, "max": 1},
            },
            "forbidden": ["optimizer.lr > 0.45", "optimizer.momentum < 0.4"],
        }
    )
    space, rng = Space.of(spec), np.random.default_rng(0)
    parent = {"optimizer.lr": 0.4, "training.batch_size": 24, "model.width": 48, "optimizer.momentum": 0.41}
    children = [explore(space, parent, rng, 0.5) for _ in range(200)]
    assert all(child.keys() == parent.keys() for child in children)
    assert {child["training.batch_size"] for child in children} == {24}
    assert {child["model.width"] for child in children} == {48}
    assert max(child["optimizer.lr"] for child in children) < 0.45
    assert min(child["optimizer.momentum"] for child in children) >= 0.4
    assert len({child["optimizer.momentum"] for child in children}) > 50


def test_where_nothing_else_is_allowed_a_child_is_as_its_parent() -> None:
    spec = load_search({"study": "s", "parameters": {"x": {"min": 0, "max": 1}}, "forbidden": "x != 0.5"})
    assert explore(Space.of(spec), {"x": 0.5}, np.random.default_rng(0), 0.25) == {"x": 0.5}


FAMILIES = Space(
    {
        "model.name": Parameter(values=("resnet", "mlp")),
        "model.resnet.width": Parameter(type="int", min=8, max=64, when={"model.name": ("resnet",)}),
        "model.mlp.layers": Parameter(type="int", min=1, max=4, when={"model.name": ("mlp",)}),
        "optimizer.lr": Parameter(min=1e-4, max=1.0, log=True),
    },
    {},
)


@given(st.sampled_from(["resnet", "mlp"]), st.integers(8, 64), st.integers(1, 4), st.integers(0, 1000))
def test_a_child_keeps_the_family_of_its_parent(family: str, width: int, layers: int, seed: int) -> None:
    own = {"model.resnet.width": width} if family == "resnet" else {"model.mlp.layers": layers}
    child = explore(FAMILIES, {"model.name": family, **own, "optimizer.lr": 0.1}, np.random.default_rng(seed), 1.0)
    assert {name: child[name] for name in child if name != "optimizer.lr"} == {"model.name": family, **own}
