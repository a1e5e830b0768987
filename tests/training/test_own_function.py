"""The training function that a search file names."""

from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo import spec
from hpo.errors import InputError, SpecError
from hpo.training.own_function import own_function

LOOP = """
def train(config):
    return config["lr"]

def yields(config):
    yield {"loss": 1}

def alone():
    return 0

def of_parameters(lr, width=3):
    return lr

number = 3
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_loop.py").write_text(LOOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_loop", raising=False)
    return tmp_path


def document(**changes: Any) -> dict[str, Any]:
    parameters = {"lr": {"min": 0.0, "max": 1.0}}
    goal = {"metric": "loss", "goal": "minimize"}
    return {"study": "own", "train": "own_loop:train", "objective": goal, "parameters": parameters} | changes


def test_a_sound_one_has_one_epoch_unless_it_says_more(project: Path) -> None:
    assert hpo.validate(document()).training.epochs == 1
    assert hpo.validate(document(train="own_loop:yields", training={"epochs": 3})).training.epochs == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "own_loop:nope"}, "train: training function 'own_loop:nope': module 'own_loop' has no 'nope'"),
        ({"train": "own_lop:train"}, "train: training function 'own_lop:train': module 'own_lop' cannot be imported"),
        ({"train": "own_loop:number"}, "train: training function 'own_loop:number' is no function, but int"),
        ({"train": "own_loop:alone"}, r"train: a training function takes \(config\) or \(config, context\), got \(\)"),
        (
            {"train": "own_loop:of_parameters"},
            "train: a training function takes .* has an argument 'lr', which is a param",
        ),
        ({"train": "own_loop"}, "train: must be module:function, such as net:train"),
        ({"train": "own_loop:yields"}, "training.epochs: is required: 'own_loop:yields' yields a report an epoch"),
        ({"objective": None}, "objective"),
        ({"objective": "loss"}, "objective.goal: is required for 'loss'"),
        ({"target": "ensemble"}, "target: ensemble needs the rows that `data` names"),
        ({"data": "digits"}, "model: is required; or name a training function of your own"),
        ({"optimizer": {"lr": 0.1}}, "optimizer: unknown key"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(project: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        hpo.validate(document(**changes))


def test_an_objective_is_required(project: Path) -> None:
    wanted = document()
    del wanted["objective"]
    with pytest.raises(SpecError, match="objective: is required: name the metric of 'own_loop:train'"):
        hpo.validate(wanted)


@pytest.mark.parametrize("name", ["__main__:train", "tests.x:outer.<locals>.train", "m:<lambda>"])
def test_what_has_no_name_is_given_from_python(name: str) -> None:
    with pytest.raises(InputError, match="can only be given from Python, by train="):
        own_function(spec.load_search(document(train=name)))


def test_without_one_the_built_in_loop_trains() -> None:
    assert own_function(spec.load_search({"study": "s"})) is None


def test_what_is_no_function_is_refused_from_python(project: Path) -> None:
    with pytest.raises(InputError, match=r"train must be a function, or its import path .*, got 3 \(int\)"):
        hpo.search(document(), train=3)  # type: ignore[arg-type]
