"""The JSON schema for editors takes what is right, in all its short forms, and refuses common mistakes."""

import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from hpo import api, spec
from hpo.errors import SpecError
from tests.conftest import ROOT, Run
from tests.searching.test_spaces import EVERYTHING
from tests.searching.test_spaces import GRID as GRID_DOCUMENT
from tests.spec.test_bad_specs import whole

SCHEMA = api.schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SNIPPETS = [
    (page.name, text)
    for page in sorted((ROOT / "docs").glob("*.md"))
    for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
]


def errors(document: Any) -> list[str]:
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message:.200}" for error in VALIDATOR.iter_errors(document)
    ]


def test_it_is_a_schema_that_explains_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for part in SCHEMA["$defs"].values():
        for key, value in part["properties"].items():
            assert value is False or value.get("description"), key
    assert all("description" in value or "$ref" in value for value in SCHEMA["properties"].values())


@pytest.mark.parametrize("path", sorted((ROOT / "search_spaces").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_spaces_are_taken(path: Path) -> None:
    assert errors(spec.parse_plain(path.read_text())) == []


def test_there_is_yaml_in_the_documentation() -> None:
    assert len(SNIPPETS) >= 4


@pytest.mark.parametrize(
    ("page", "text"), SNIPPETS, ids=[f"{page}-{place}" for place, (page, _) in enumerate(SNIPPETS)]
)
def test_yaml_of_the_documentation_is_taken_by_both(page: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my_code.py").write_text(OWN)
    monkeypatch.setitem(sys.modules, "my_code", None)
    monkeypatch.delitem(sys.modules, "my_code")  # and what is imported here is forgotten
    document = spec.parse_plain(text)
    fragment = "study" not in document and "extends" not in document
    filled = {"study": "s", "data": "digits", "model": "mlp", **document} if fragment else document
    assert errors(filled) == []
    if "extends" not in filled:
        spec.load_search(filled)


OWN = """
from hpo.tasks.classification import Classification

class Ordinal(Classification):
    metrics = {**Classification.metrics, "distance": "minimize"}
"""
"""The task of the user's own that the documentation names."""

TRAINED = {"study": "s", "data": "digits", "model": "mlp"}
RIGHT: list[dict[str, Any]] = [
    whole(),
    EVERYTHING,
    GRID_DOCUMENT,
    TRAINED,
    {**TRAINED, "sampler": "tpe", "scheduler": "none", "objective": "nll"},
    {**TRAINED, "model": "my_module:net", "sampler": {"startup": 3}, "scheduler": {"eta": 3}},
    {**TRAINED, "objective": ["accuracy", {"metric": "latency_ms"}]},
    {**TRAINED, "constraints": "latency_ms <= 5"},
    {**TRAINED, "metrics": ["f1_at_0.3", {"name": "my:profit", "goal": "maximize", "price": 2}]},
    {**TRAINED, "training": {"loss": "my:loss", "loss_settings": {"a": 1}, "class_weights": {"a": 2}}},
    {**TRAINED, "constraints": ["parameters >= 1e6", {"metric": "a", "relation": "<=", "bound": 1}]},
    {**TRAINED, "budget": {"time_limit": "1.5h"}, "failures": {"trial_timeout": 30}},
    {**TRAINED, "data": {"name": "npz", "path": "${DATA:-x}"}, "training": {"epochs": "${EPOCHS:-3}"}},
    {"study": "s", "objective": {"metric": "loss", "goal": "minimize"}, "parameters": {"a b": {"values": [1, [2, 3]]}}},
    {"extends": "base.yaml", "parameters": {"optimizer.lr": {"max": 0.5}, "model.width": None}},
    {"extends": ["a.yaml", "b.yaml"], "sampler": {"startup": 3}},
]


@pytest.mark.parametrize("document", RIGHT, ids=range(len(RIGHT)))
def test_short_forms_are_taken(document: dict[str, Any]) -> None:
    assert errors(json.loads(json.dumps(document))) == []


MISTAKES: dict[str, Any] = {
    "studdy": "a",
    "training.epoch": 3,
    "training.epochs": "many",
    "training.batch_size": 0,
    "optimizer.lr": -1,
    "optimizer.name": "sdg",
    "optimizer.schedule": "cosin",
    "task": "clasification",
    "study": "../up",
    "seed": -1,
    "model.name": "mpl",
    "data.name": "digit",
    "data.augment": ["crop"],
    "data.validation": 2,
    "sampler": "tep",
    "scheduler": {"name": "ashaa"},
    "objective": [],
    "objective.goal": "max",
    "constraints": ["latency_ms < 5"],
    "training.loss": "focl",
    "training.class_weights": "automatic",
    "target": "ensembles",
    "budget.time_limit": "soon",
    "budget.trials": 1.5,
    "budget.trial": 8,
    "resources.gpu": "some",
    "failures.max_retries": -1,
    "configs": [3],
    "forbidden": [3],
    "extends": 3,
    "parameters": {"optimizer.rl": {"min": 0.1, "max": 1}},
    "parameters.": {"training.epochs": {"values": [1, 2]}},
    "parameters..": {"model.name": {"min": 1, "max": 2}},
    "parameters...": {"model.name": {"values": ["mlp", 3]}},
    "parameters.optimizer.lr": {"max": 1},
    "parameters.optimizer.lr ": {"min": 0.1, "max": 1, "values": [0.1]},
    "parameters.optimizer.lr  ": {"values": []},
    "parameters.optimizer.lr   ": {"min": 0.1, "max": 1, "steps": 1},
    "parameters.optimizer.lr    ": {"min": 0, "max": 1, "log": True},
    "parameters.optimizer.lr     ": {"min": 0.1, "max": 1, "typ": "int"},
    "parameters.optimizer.lr      ": {"equals": 4},
    "parameters.optimizer.lr       ": {"normal": [0.1]},
    "parameters.optimizer.lr        ": {"permutation": [1, 2], "min": 0},
    "parameters.optimizer.lr         ": {"min": 0.1, "max": 1, "type": "integer"},
    "parameters.optimizer.lr          ": [0.1, 1],
}


@pytest.mark.parametrize("key", MISTAKES)
def test_mistakes_are_refused_by_both(key: str) -> None:
    document = copy.deepcopy(whole())
    section, _, name = key.strip().rstrip(".").partition(".")
    if name and isinstance(document.get(section), dict):
        document[section][name] = MISTAKES[key]
    else:
        document[section] = MISTAKES[key]
    assert errors(document) != []
    with pytest.raises(SpecError):
        api.validate(document)


def test_a_missing_section_is_refused() -> None:
    for missing in ("study", "data", "model"):
        assert errors({key: value for key, value in whole().items() if key != missing}) != []


def test_the_command_prints_it(hpo: Run) -> None:
    code, out, _ = hpo("schema")
    assert code == 0 and json.loads(out) == json.loads(json.dumps(SCHEMA))
