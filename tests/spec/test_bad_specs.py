"""Specs that are wrong in every way: each is refused with the file and a line, none with a traceback."""

import copy
import io
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hpo import spec
from hpo.errors import InputError, SpecError
from hpo.searching.checks import check

_ENOUGH = 150
"""Bad specs a seed; there are eight seeds."""
_PLACE = re.compile(r"bad\.yaml:\d+: ")
_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x" * 300,
    "../../etc",
    "größe\u0000"[:-1],
    "module:function",
    "os:system",
    "no.such.module:thing",
    ":",
    "accuracy",
    [],
    [[]],
    [1, "a", None],
    {},
    {"": 1},
    {"name": None},
    {"min": 2, "max": 1},
    {"min": 0, "max": 1, "log": True},
    {"values": []},
    {"values": [1, 1]},
    {"when": {"model": 1}, "values": [1, 2]},
    {1: 2},
    {"type": "int", "min": 0.5, "max": 1},
    {"min": 0, "max": 1, "step": -1, "default": 9},
    {"equals": "optimizer.lr * 2"},
    {"equals": "model.width / 0"},
    {"normal": [0, 1e300]},
    {"permutation": [[1], [2]]},
    "optimizer.lr >",
    "model.width ** 999 > optimizer.name",
    "training.batch_size",
    "${",
    "${NOT_SET}",
    ["none.yaml"],
)
_KEYS = (
    "name",
    "lr",
    "min",
    "max",
    "typo",
    "when",
    "values",
    "path",
    "optimizer.lr",
    "model.",
    ".",
    "epochs",
    "grace",
    "equals",
    "normal",
    "steps",
    "extends",
    "forbidden",
    "configs",
)
_SCRAPS = (
    "\t",
    "}",
    "[",
    ": ",
    "- ",
    "!!python/object/apply:os.system ['true']",
    "&a *a",
    "<<: *no",
    "\x00",
    "%",
    "'",
    '"',
)


def whole() -> dict[str, Any]:
    """A spec that is right, with something in every section."""
    return {
        "study": "bad",
        "task": "classification",
        "data": {"name": "digits", "validation": 0.2, "augment": ["random_crop"]},
        "model": {"name": "mlp", "layers": 1, "width": 16},
        "training": {"epochs": 9, "batch_size": 64, "device": "cpu", "patience": 3, "min_delta": 0.01, "seeds": 2},
        "optimizer": {"name": "sgd", "lr": 0.1, "schedule": "cosine"},
        "parameters": {
            "optimizer.lr": {"min": 1e-4, "max": 1.0, "log": True, "default": 0.01},
            "optimizer.name": {"values": ["sgd", "adam"]},
            "optimizer.momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer.name": "sgd"}},
            "model.width": {"type": "int", "min": 8, "max": 64, "log": True, "step": 8},
            "optimizer.weight_decay": {"lognormal": [-9, 2], "max": 0.1, "when": {"optimizer.name": ["adam"]}},
            "training.label_smoothing": {"min": 0, "max": 0.2, "steps": 5},
            "training.clip_norm": {"normal": [1, 0.2]},
            "training.batch_size": {"equals": "2 * model.width + model.layers"},
            "data.augment": {"values": [["random_crop"], ["random_crop", "cutout"], []]},
        },
        "forbidden": [
            "optimizer.lr > 0.5 and model.width < 16",
            {"optimizer.name": "sgd", "data.augment": [[], ["random_crop", "cutout"]]},
        ],
        "configs": [{"model.width": 16}, {"optimizer.name": "adam", "optimizer.lr": 0.001}],
        "objective": {"metric": "accuracy", "goal": "maximize"},
        "constraints": ["parameters <= 1e6"],
        "sampler": {"name": "evolution"},
        "scheduler": {"name": "asha", "grace": 1, "eta": 3},
        "budget": {"trials": 8, "time_limit": "10m", "target": 0.99, "plateau": 0.01, "plateau_epochs": 50},
        "callbacks": ["hpo:Callback", {"name": "hpo:Callback"}],
        "failures": {"max_retries": 1, "trial_timeout": "1m"},
        "resources": {"cpu": 1, "gpu": "auto"},
        "seed": 0,
    }


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(document: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """One to three things are replaced, taken out or added."""
    document = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        path = chance.choice([path for path in places(document) if path])
        holder: Any = document
        for key in path[:-1]:
            holder = holder[key]
        what = chance.random()
        if what < 0.6:
            holder[path[-1]] = copy.deepcopy(chance.choice(_ODD))
        elif what < 0.75:
            del holder[path[-1]]
        elif isinstance(holder, dict):
            holder[chance.choice(_KEYS)] = copy.deepcopy(chance.choice(_ODD))
        if not document:
            break
    return document


def text_of(document: dict[str, Any], chance: random.Random) -> str:
    """As YAML, of which every third is damaged."""
    stream = io.StringIO()
    YAML(typ="safe").dump(document, stream)
    text = stream.getvalue()
    if chance.random() < 0.33:
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(_SCRAPS) + text[at + chance.choice((0, 0, 1, 9)) :]
    return text


@pytest.mark.parametrize("seed", range(8))
def test_bad_specs_are_refused_with_their_line(seed: int, tmp_path: Path) -> None:
    chance, file, refused = random.Random(seed), tmp_path / "bad.yaml", 0
    spec.load(whole(), checks=(check,))
    while refused < _ENOUGH:
        text = text_of(changed(whole(), chance), chance)
        file.write_text(text, encoding="utf-8")
        try:
            spec.load(file, checks=(check,))
        except SpecError as error:
            refused += 1
            assert error.lines and all(_PLACE.search(line) for line in error.lines), f"{error}\n\n{text}"
            assert "Traceback" not in str(error) and "pydantic" not in str(error), f"{error}\n\n{text}"
        except InputError as error:
            pytest.fail(f"no line: {error}\n\n{text}")
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error}\n\n{text}")


@pytest.mark.parametrize("number", ["9" * 400, "0x" + "f" * 6000, str(2**63), str(-(2**63))], ids=len)
@pytest.mark.parametrize(
    "key", ["seed", "training.epochs", "parameters.x.min", "parameters.x.values.0", "budget.trials"]
)
def test_a_whole_number_that_no_type_holds_is_refused(key: str, number: str, tmp_path: Path) -> None:
    document: Any = {"study": "a", "parameters": {"x": {"min": 0, "max": 1}}, "training": {}, "budget": {}}
    *above, last = key.split(".")
    if "values" in above:
        document["parameters"]["x"] = {"values": ["NUMBER"]}
    else:
        holder = document
        for part in above:
            holder = holder[part]
        holder[last] = "NUMBER"
    stream = io.StringIO()
    YAML(typ="safe").dump(document, stream)
    (tmp_path / "bad.yaml").write_text(stream.getvalue().replace("NUMBER", number))
    with pytest.raises(SpecError, match=r"bad\.yaml:\d+: must be within 2\^63 of zero, got a whole number of \S+ bits"):
        spec.load(tmp_path / "bad.yaml")
