"""What a study is asked for from Python."""

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import hpo
from hpo import spec
from hpo.errors import StudyError
from hpo.study.dataframe import dataframe
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import data_summary


def test_trials_are_a_list_that_may_still_be_called(study: Study) -> None:
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3, 4]
    assert study.trials() == study.trials and study.trials[4].state is State.FAILED


def test_the_best_has_the_names_of_optuna(study: Study) -> None:
    best = study.best()
    assert best is not None and study.best_trial.number == best.number
    assert (study.best_value, study.best_params) == (best.value, best.config)
    assert study.best_trial.params == study.best_params and study.best_params is not best.config


def test_a_study_without_a_value_says_so(document: dict[str, Any], tmp_path: Path) -> None:
    empty = Study.create(tmp_path / "studies", spec.load(document), data_summary())
    for wish in ("best_trial", "best_params", "best_value"):
        with pytest.raises(StudyError, match="study 'squares' has no trial with a value yet"):
            getattr(empty, wish)
    assert empty.best() is None and list(empty.to_dataframe().columns[:2]) == ["state", "value"]
    assert len(empty.to_dataframe()) == 0


def test_a_dataframe_has_a_row_a_trial_and_types(study: Study) -> None:
    table = study.to_dataframe()
    assert list(table.index) == [0, 1, 2, 3, 4] and table.index.name == "trial"
    wanted = {
        "state": "string",
        "value": "float64",
        "epochs": "Int64",
        "best_epoch": "Int64",
        "reason": "string",
        "params.optimizer.lr": "float64",
        "params.model.width": "Int64",
        "metrics.accuracy": "float64",
    }
    assert {name: str(table.dtypes[name]) for name in wanted} == wanted
    assert str(table.dtypes["started"]).startswith("datetime64") and table["started"].dt.tz is not None
    for trial in study.trials:
        row = table.loc[trial.number]
        assert row["state"] == trial.state.value and row["epochs"] == trial.epoch
        assert {name: row[f"params.{name}"] for name in trial.config} == trial.config
    assert math.isnan(table.loc[4, "value"]) and table.loc[4, "best_epoch"] is pd.NA
    assert table.loc[4, "reason"] == "Traceback\nValueError: no" and "feasible" not in table
    assert (table["reported"].dropna() >= table["started"][table["reported"].notna()]).all()


def test_a_moment_that_is_none_is_missing() -> None:
    from hpo.study.dataframe import _moments

    assert list(_moments([1.0, 9e15, None]).isna()) == [False, True, True]


def test_columns_take_the_narrowest_type(study: Study) -> None:
    from dataclasses import replace

    configs: list[dict[str, Any]] = [
        {"a": True, "b": 1, "c": 1.5, "d": "x", "e": [1, 2], "f": None},
        {"a": False, "b": 2, "c": 2, "e": [3], "f": 1},
        {"b": 2**40, "c": 0.1, "d": "y", "e": "text", "f": 2.5},
    ]
    trials = [replace(study.trials[0], number=place, config=config) for place, config in enumerate(configs)]
    table = dataframe(trials, study.spec)
    kinds = {name: str(table.dtypes[f"params.{name}"]) for name in "abcdef"}
    assert kinds == {"a": "boolean", "b": "Int64", "c": "float64", "d": "string", "e": "object", "f": "float64"}
    assert table.loc[2, "params.b"] == 2**40 and table.loc[0, "params.e"] == [1, 2]


def test_learning_curves_are_drawn_and_leave_pyplot_as_it_was(study: Study) -> None:
    before = plt.get_fignums()
    (axes,) = study.plot().axes
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("squares", "epoch", "accuracy")
    assert len(axes.lines) >= 4 and plt.get_fignums() == before


def test_reprs_are_one_short_line(study: Study) -> None:
    assert repr(study).startswith("<Study 'squares' in '") and repr(study).endswith("(trial 0)>")
    assert "maximize accuracy: 5 trials, best accuracy" in repr(study)
    for trial in study.trials:
        assert repr(trial).startswith(f"<Trial {trial.number}, {trial.state.value}, epoch {trial.epoch}")
        assert "\n" not in repr(trial) and len(repr(trial)) < 300


def test_a_repr_shows_no_control_characters_and_never_fails(study: Study) -> None:
    from dataclasses import replace

    trial = replace(study.trials[0], config={"a": "\x1b[31m", "b": "x" * 1000})
    assert "\x1b" not in repr(trial) and len(repr(trial)) < 300
    opened = Study.open(study.folder.parent, "squares")
    (study.folder / "journal.log").write_text("{")
    assert repr(opened).startswith("<Study 'squares' in ")


def test_a_simulation_has_the_same_names() -> None:
    space = {
        "study": "bowl",
        "parameters": {"x": {"min": -1, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "training": {"epochs": 3},
        "budget": {"trials": 5},
    }
    found = hpo.simulate(space, lambda config, epoch: ({"loss": config["x"] ** 2 + 1 / epoch}, 1.0), workers=2)
    assert found.best is not None and found.best_trial.number == found.best.number
    assert found.best_value == found.study.best_value and found.best_params == found.best.config
    assert len(found.trials) == 5 and repr(found).startswith("<SimulationResult of study 'bowl': 5 trials, best loss")
    table = found.study.to_dataframe()
    assert table["started"].iloc[0] == pd.Timestamp(0, tz="UTC") and (table["state"] != "failed").all()
    assert repr(found.study).startswith("<Study 'bowl' in memory, minimize loss: 5 trials, best loss")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("/home/me/loop.py", "KeyError: 'x' (loop.py:3, in train)"),
        ("/venv/lib/python3.11/site-packages/torch/nn.py", "KeyError: 'x'"),
        ("/elsewhere/hpo/training/reports.py", "KeyError: 'x'"),
        (f"/hpo/{'n' * 300}", f"KeyError: 'x' ({'n' * 300}:3, in train)"),
    ],
)
def test_a_cause_names_the_place_in_the_users_code(study: Study, file: str, told: str) -> None:
    reason = f'Traceback (most recent call last):\n  File "{file}", line 3, in train\n    x["x"]\nKeyError: \'x\''
    trial = study.writer.end(study.writer.ask().number, Outcome(State.FAILED, reason))
    assert trial.cause == told and trial.has_traceback
