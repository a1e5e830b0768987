from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import spec
from hpo.spec import Parameter
from hpo.spec.dimension import distribution
from hpo.spec.space import Space, config_key, never_active, possible_configs


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


# ---- how many configs there are --------------------------------------------------------------------------------------

GRID = {
    "kind": {"values": ["plain", "deep"]},
    "layers": {"type": "int", "min": 1, "max": 7, "step": 3, "when": {"kind": "deep"}},
    "rate": {"min": 0.1, "max": 0.3, "step": 0.1},
}


def search_spec(**changes: Any) -> spec.SearchSpec:
    return spec.load_search({"study": "s", "parameters": GRID, **changes})


def test_all_configs_are_listed_each_once_with_their_active_parameters() -> None:
    found = Space.of(search_spec()).configs(12)
    assert found is not None and len(found) == len(set(map(config_key, found))) == (1 + 3) * 3
    assert all(("layers" in config) == (config["kind"] == "deep") for config in found)
    assert {config.get("layers") for config in found} == {None, 1, 4, 7}


def test_more_than_the_limit_are_not_listed() -> None:
    assert Space.of(search_spec()).configs(11) is None
    for endless in ({"min": 0, "max": 1}, {"type": "int", "min": 0, "max": 10**12}, {"min": 0, "max": 1, "step": 1e-9}):
        assert Space.of(search_spec(parameters={"x": endless})).configs(1000) is None


def test_a_continuous_parameter_that_is_never_active_does_not_count() -> None:
    parameters = {**GRID, "width": {"min": 0, "max": 1, "when": {"kind": "deep", "layers": [4], "rate": [0.2]}}}
    assert possible_configs(search_spec(parameters=parameters)) is None
    fixed = {"x": {"min": 0, "max": 1, "when": {"training.epochs": 3}}, "y": {"values": [1, 2]}}
    assert possible_configs(search_spec(parameters=fixed)) == 2
    assert possible_configs(search_spec(parameters=fixed, training={"epochs": 3})) is None


def test_where_configs_may_repeat_there_is_no_end_of_them() -> None:
    assert possible_configs(search_spec()) == 12
    assert possible_configs(search_spec(target="ensemble")) is None
    assert possible_configs(search_spec(scheduler="pbt")) is None
    assert possible_configs(search_spec(parameters={})) is None


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(-50, 50))
def test_a_step_is_one_config_however_it_is_computed(steps: int, tenths: int, low: int) -> None:
    parameter = Parameter(min=low / 10, max=(low + steps * tenths) / 10, step=tenths / 10)
    found = Space({"p": parameter}, {}).configs(100)
    assert found is not None and len(found) == steps + 1
    keys = set(map(config_key, found))
    assert len(keys) == steps + 1
    for seed in range(5):
        assert config_key(ask(Space({"p": parameter}, {}), seed)) in keys


def test_a_parameter_that_no_config_has_is_told(document: dict[str, Any]) -> None:
    document["parameters"] = {
        "optimizer.momentum": {"min": 0.8, "max": 0.9, "when": {"optimizer.name": "sgd"}},
        "optimizer.nesterov": {"values": [True, False], "when": {"optimizer.momentum": [0.8]}},
        "optimizer.beta1": {"min": 0.8, "max": 0.9, "when": {"optimizer.name": ["adam", "adamw"]}},
        "optimizer.beta2": {"min": 0.8, "max": 0.9, "when": {"optimizer.nesterov": [False]}},
    }
    told = list(never_active(spec.load(document)))
    assert told == [
        "'optimizer.momentum' is never active and so never searched: its `when` wants optimizer.name to be 'sgd', which"
        " is fixed at 'adam'.",
        "'optimizer.nesterov' is never active and so never searched: 'optimizer.momentum' is not.",
        "'optimizer.beta2' is never active and so never searched: 'optimizer.nesterov' is not.",
    ]
