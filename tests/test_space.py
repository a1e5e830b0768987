from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import spec
from hpo.space import Space, distribution
from hpo.spec import Parameter


def ask(space: Space, seed: int = 0) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return space.suggest(study.ask())


@pytest.fixture
def conditional(document: dict[str, Any]) -> spec.StudySpec:
    document["parameters"] = {
        "optimizer.momentum": {"min": 0.8, "max": 0.9, "when": {"optimizer.name": "sgd"}},
        "optimizer.nesterov": {"values": [True, False], "when": {"optimizer.momentum": [0.8]}},
        "optimizer.name": {"values": ["sgd", "adam"]},
    }
    document["parameters"]["optimizer.momentum"] = {"values": [0.8, 0.9], "when": {"optimizer.name": "sgd"}}
    return spec.load(document)


def test_parents_are_asked_first(conditional: spec.StudySpec) -> None:
    assert list(Space.of(conditional).parameters) == ["optimizer.name", "optimizer.momentum", "optimizer.nesterov"]


def test_inactive_parameters_are_not_asked(conditional: spec.StudySpec) -> None:
    configs = [ask(Space.of(conditional), seed) for seed in range(30)]
    for config in configs:
        assert ("optimizer.momentum" in config) == (config["optimizer.name"] == "sgd")
        assert ("optimizer.nesterov" in config) == (config.get("optimizer.momentum") == 0.8)
    assert len({len(config) for config in configs}) == 3


def test_a_fixed_setting_may_be_a_condition(document: dict[str, Any]) -> None:
    document["parameters"]["optimizer.momentum"] = {"min": 0.8, "max": 0.9, "when": {"optimizer.name": "sgd"}}
    assert "optimizer.momentum" not in ask(Space.of(spec.load(document)))
    document["optimizer"]["name"] = "sgd"
    assert "optimizer.momentum" in ask(Space.of(spec.load(document)))


def test_the_default_config_is_what_was_written(document: dict[str, Any]) -> None:
    document["parameters"]["training.label_smoothing"] = {"min": 0.0, "max": 0.2, "default": 0.05}
    document["parameters"]["optimizer.weight_decay"] = {"min": 0.0, "max": 0.2}
    read = spec.load(document)
    assert Space.of(read).default(read) == {
        "optimizer.lr": 0.01,
        "model.width": 16,
        "training.label_smoothing": 0.05,
    }


def test_a_default_is_found_among_values_of_another_type(document: dict[str, Any]) -> None:
    document["optimizer"]["weight_decay"] = 0
    document["parameters"] = {"optimizer.weight_decay": {"values": [0.001, 0]}}
    read = spec.load(document)
    default = Space.of(read).default(read)
    assert default == {"optimizer.weight_decay": 0} and isinstance(default["optimizer.weight_decay"], int)


@given(st.data())
def test_every_suggestion_is_within_its_inclusive_bounds(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["float", "int", "values"]))
    if kind == "values":
        values = data.draw(st.lists(st.integers(), min_size=1, max_size=4, unique=True))
        parameter = Parameter(values=tuple(values))
    else:
        low = data.draw(st.integers(1, 20))
        high = low + data.draw(st.integers(0, 20))
        parameter = Parameter(type="int" if kind == "int" else "float", min=low, max=high, log=data.draw(st.booleans()))
    space = Space({"p": parameter}, {})
    for seed in range(5):
        assert parameter.contains(ask(space, seed)["p"])


def test_distributions_are_optunas() -> None:
    assert distribution(Parameter(type="int", min=1, max=9, step=4)) == optuna.distributions.IntDistribution(
        1, 9, step=4
    )
    assert distribution(Parameter(min=1, max=9, log=True)) == optuna.distributions.FloatDistribution(1, 9, log=True)
    assert distribution(Parameter(values=("a", None))) == optuna.distributions.CategoricalDistribution(("a", None))
