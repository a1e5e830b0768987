"""Several model families in one study: `model.name` as a parameter, and settings that are of one family alone."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import models, spec
from hpo.errors import SpecError
from hpo.spec import Config, StudySpec
from hpo.spec.families import family_of, goes_with
from hpo.spec.settings import as_options, as_yaml
from hpo.spec.space import Space, never_active

MIXED: dict[str, Any] = {
    "study": "mixed",
    "data": {"name": "digits"},
    "model": {"name": "convnet", "dropout": 0.1, "convnet": {"stages": 2}, "mlp": {"layers": 2, "dropout": 0.3}},
    "parameters": {
        "model.name": {"values": ["convnet", "mlp"]},
        "model.convnet.width": {"values": [4, 8]},
        "model.mlp.width": {"type": "int", "min": 16, "max": 18, "default": 17},
        "model.mlp.layers": {"type": "int", "min": 1, "max": 3},
        "optimizer.lr": {"values": [0.01, 0.1]},
    },
}


def mixed(**sections: Any) -> dict[str, Any]:
    document = copy.deepcopy(MIXED)
    for name, changed in sections.items():
        document[name] = {**document[name], **changed} if isinstance(changed, dict) else changed
    return document


def read(document: dict[str, Any], overrides: dict[str, Any] | None = None) -> StudySpec:
    return spec.load(document, overrides, checks=(models.check,))


def model(document: dict[str, Any], config: Config) -> dict[str, Any]:
    return read(document).apply(config).model.model_dump()


def test_a_trial_has_one_model_with_the_settings_that_are_its_own() -> None:
    convnet = {"name": "convnet", "dropout": 0.1, "stages": 2, "width": 8}
    assert model(MIXED, {"model.name": "convnet", "model.convnet.width": 8}) == convnet
    mlp = {"name": "mlp", "dropout": 0.3, "layers": 1, "width": 16}  # its own dropout, over that of all
    assert model(MIXED, {"model.name": "mlp", "model.mlp.width": 16, "model.mlp.layers": 1}) == mlp
    assert model(MIXED, {"model.name": "mlp"}) == {"name": "mlp", "dropout": 0.3, "layers": 2}


def test_every_config_has_the_settings_of_its_family_and_none_of_the_other() -> None:
    read_ = read(MIXED)
    configs = Space.of(read_).configs(100)
    assert configs is not None and len(configs) == 2 * 2 + 3 * 3 * 2
    for config in configs:
        named = {family for name in config if (family := family_of(name)) is not None}
        assert named == {config["model.name"]}
        applied = read_.apply(config)
        assert list(models.unknown_settings(applied.model)) == []
        assert applied.apply(config) == applied  # as a spec that is applied twice


@given(st.sampled_from(["convnet", "mlp"]), st.sampled_from([4, 8]), st.integers(1, 3))
def test_a_shared_parameter_reaches_the_families_of_its_when(family: str, width: int, layers: int) -> None:
    document = mixed()
    document["parameters"] = {
        "model.name": {"values": ["convnet", "mlp"]},
        "model.width": {"values": [4, 8]},
        "model.layers": {"type": "int", "min": 1, "max": 3, "when": {"model.name": "mlp"}},
    }
    document["model"] = {"name": "mlp"}
    config = Space.of(read(document)).start(
        read(document), {"model.name": family, "model.width": width, "model.layers": layers}
    )
    expected = {"name": family, "width": width, **({"layers": layers} if family == "mlp" else {})}
    assert model(document, config) == expected


def test_the_first_trial_is_of_the_family_in_the_model_section() -> None:
    read_ = read(MIXED)
    assert Space.of(read_).default(read_) == {"model.name": "convnet"}
    read_ = read(mixed(model={"name": "mlp"}))
    assert Space.of(read_).default(read_) == {"model.name": "mlp", "model.mlp.width": 17, "model.mlp.layers": 2}
    read_ = read(mixed(parameters={"model.name": {"values": ["convnet", "mlp"], "default": "mlp"}}))
    assert Space.of(read_).default(read_)["model.name"] == "mlp"


def test_what_is_stored_is_read_back() -> None:
    read_ = read(MIXED)
    assert read_.parameters["model.mlp.width"].when == {"model.name": ("mlp",)}
    assert spec.load(spec.parse_plain(spec.dump(read_))) == read_
    assert read_.families == ("convnet", "mlp") and read(mixed(), {"model.name": "mlp"}).families == ("mlp",)


def test_ties_and_forbidden_combinations_know_the_settings_of_families() -> None:
    document = mixed(
        parameters={"model.mlp.width": {"equals": "16 * model.mlp.layers"}},
        forbidden=["model.mlp.layers > 2", {"model.name": "convnet", "optimizer.lr": 0.1}],
    )
    configs = Space.of(read(document)).configs(100)
    assert configs is not None and len(configs) == 2 * 1 + 2 * 2
    space = Space.of(read(document))
    tied = {config["model.mlp.width"] for each in configs if "model.mlp.width" in (config := space.config(each))}
    assert tied == {16, 32}


def test_one_family_is_chosen_by_hand() -> None:
    read_ = read(MIXED, {"model.name": "mlp", "model.mlp.dropout": 0.2})
    assert read_.apply({"model.mlp.layers": 3}).model.settings == {"layers": 3, "dropout": 0.2}
    assert read_.apply({}).model.settings == {"layers": 2, "dropout": 0.2}
    (remark,) = never_active(read_)
    assert remark.startswith("'model.convnet.width' is never active")
    config = Space.of(read_).default(read_)
    assert config == {"model.mlp.width": 17, "model.mlp.layers": 2}
    fixed = read(MIXED, {"model.mlp.layers": 3})  # is no longer searched, and the families still are
    assert "model.mlp.layers" not in fixed.parameters
    assert fixed.apply({"model.name": "mlp"}).model.settings["layers"] == 3


def test_a_config_is_pasted_as_settings_and_as_options() -> None:
    config = {"model.name": "mlp", "model.mlp.width": 18, "model.mlp.layers": 1, "optimizer.lr": 0.1}
    pasted = spec.parse_plain(as_yaml(config))
    assert pasted == {"model": {"name": "mlp", "mlp": {"width": 18, "layers": 1}}, "optimizer": {"lr": 0.1}}
    again = read({"study": "again", "data": {"name": "digits"}, **pasted})
    assert again.apply({}).model.settings == {"width": 18, "layers": 1}
    options = dict(spec.parse_override(word) for word in as_options(read(MIXED), config).split() if word != "--set")
    assert read(MIXED, options).apply({}).model.settings == {"dropout": 0.3, "layers": 1, "width": 18}


def test_a_mapping_of_a_name_that_is_no_family_is_a_setting_as_ever(tmp_path: Path) -> None:
    document = {"study": "own", "data": {"name": "digits"}, "model": {"name": "net:net", "mlp": {"hidden": 8}}}
    assert spec.load(document).apply({}).model.settings == {"mlp": {"hidden": 8}}
    assert spec.load(document).of_family("net:net").model.settings == {"mlp": {"hidden": 8}}


def test_conditions_on_the_family_go_through_parents() -> None:
    read_ = read(mixed(parameters={"model.mlp.dropout": {"min": 0, "max": 0.5, "when": {"model.mlp.layers": [2, 3]}}}))
    assert read_.parameters["model.mlp.dropout"].when == {"model.name": ("mlp",), "model.mlp.layers": (2, 3)}
    assert goes_with(read_.parameters, "model.mlp.dropout", "mlp")
    assert not goes_with(read_.parameters, "model.mlp.dropout", "convnet")
    assert goes_with(read_.parameters, "optimizer.lr", "convnet")


WIDTH = {"type": "int", "min": 4, "max": 8}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": {"stages": 2}},
            r"model.stages: model 'mlp' has no such setting, and 'convnet' has: as a parameter call it"
            r" model.convnet.stages; fixed, write it in the settings of that one, {name: convnet, convnet: {stages: ..",
        ),
        ({"parameters": {"model.layers": WIDTH}}, r"parameters.model.layers: is searched for 'mlp' too, which has a"),
        (
            {"parameters": {"model.stages": WIDTH}},
            "parameters.model.stages: is searched for 'convnet' too, .* leave one",
        ),
        (
            {"parameters": {"model.convolutions": WIDTH}},
            "model.convolutions: model 'mlp' has no such setting, and 'conv",
        ),
        (
            {"model": {"name": "resnet"}},
            r"model.name: must be one of those that are searched \(convnet, mlp\), got 're",
        ),
        ({"model": {"mlp": {"layer": 2}}}, "model.mlp.layer: model 'mlp' has no such setting. Did you mean 'layers'"),
        ({"model": {"mlp": {"name": "x"}}}, "model.mlp.name: is no setting: these are the settings of 'mlp'"),
        ({"model": {"mlp": {"layers": "two"}}}, "model.mlp.layers: takes a number, got the text 'two'"),
        ({"model": {"mlp": 3}}, "model.mlp: model 'convnet' has no such setting"),
        ({"parameters": {"model.name": {"min": 1, "max": 2}}}, r"model.name: is a list of models by their names: {val"),
        ({"parameters": {"model.name": {"values": ["convnet", 3]}}}, "parameters.model.name: is a list of models"),
        ({"parameters": {"model.name": {"values": ["convnet", "mpl"]}}}, "model.name: unknown model 'mpl'. Did you"),
        (
            {"parameters": {"model.name": {"values": ["convnet", "mlp"], "when": {"optimizer.lr": 0.1}}}},
            "model.name.when: every trial trains a model, so its name is always searched",
        ),
        (
            {"parameters": {"model.mpl.width": WIDTH}},
            "model.mpl.width: is a setting of 'mpl', which model.name never is",
        ),
        ({"parameters": {"model.mlp.": WIDTH}}, "names no setting of 'mlp'; write model.mlp.setting"),
        ({"parameters": {"model.mlp.widht": WIDTH}}, "parameters.model.mlp.widht: .* Did you mean 'width'"),
        ({"parameters": {"model.mlp.dropout": {"values": ["no"]}}}, "model.mlp.dropout: takes a number, got the text"),
        (
            {"parameters": {"model.mlp.width": {**WIDTH, "when": {"model.name": "convnet"}}}},
            "'model.mlp.width' is a setting of 'mlp', and its `when` wants model.name to be 'convnet'",
        ),
        ({"parameters": {"optimizer.sgd.lr": {"min": 0.1, "max": 1}}}, "a parameter is named section.setting"),
        ({"forbidden": [{"model.name": "resnet"}]}, "is never 'resnet': 'model.name' is in {convnet, mlp}"),
        ({"configs": [{"model.name": "mlp", "model.convnet.width": 4}]}, "convnet.width: is not active in this config"),
    ],
)
def test_what_is_wrong_with_families_is_told(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(mixed(**sections))


def test_a_family_that_nobody_knows_is_told_where_the_name_is_fixed_too() -> None:
    document = mixed(model={"name": "convnet", "convnet": {}, "mlp": {}})
    document["model"] = {"name": "convnet"}
    document["parameters"] = {"model.convent.width": WIDTH}
    with pytest.raises(SpecError, match=r"model.convent.width: unknown model 'convent'. Did you mean 'convnet'\?"):
        read(document)


@pytest.mark.parametrize(
    "setting",
    ["model.mlp.layers=3", "parameters.model.mlp.layers.max=2", "parameters.model.name.values=[mlp, convnet]"],
)
def test_the_command_line_reaches_them(setting: str) -> None:
    name, value = spec.parse_override(setting)
    read_ = read(MIXED, {name: value})
    found = {
        "model.mlp.layers": read_.setting("model.mlp.layers"),
        "parameters.model.mlp.layers.max": getattr(read_.parameters.get("model.mlp.layers"), "max", None),
        "parameters.model.name.values": list(read_.families),
    }
    assert found[name] == value
