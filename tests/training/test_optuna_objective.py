"""Objectives of Optuna's tutorials, as training functions."""

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest

import hpo
from hpo import spec
from hpo.errors import TrainingError
from hpo.spec import SearchSpec
from hpo.study.code import Code
from hpo.study.trial import State
from hpo.training.function import Context
from hpo.training.own_training import OwnTraining

SPACE: dict[str, Any] = {
    "study": "tutorial",
    "parameters": {"x": {"min": -10, "max": 10}},
    "objective": {"metric": "value", "goal": "minimize"},
    "sampler": "random",
    "scheduler": "none",
    "budget": {"trials": 6},
}


@hpo.optuna_objective
def quadratic(trial: Any) -> float:
    x = trial.suggest_float("x", -10, 10)
    return float((x - 2) ** 2)


@hpo.optuna_objective
def everything(trial: Any) -> float:
    kind = trial.suggest_categorical("kind", ["svc", "forest"])
    size = trial.suggest_float("c", 1e-3, 10, log=True) if kind == "svc" else trial.suggest_int("depth", 2, 8)
    value = math.nan
    for step in range(4):
        trial.set_user_attr("doubled", 2.0 * step)
        value = size / (step + 1)
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    assert trial.params.keys() == {"kind", "c" if kind == "svc" else "depth"}
    return float(value)


CONDITIONAL = {
    **SPACE,
    "study": "conditional",
    "training": {"epochs": 4},
    "parameters": {
        "kind": {"values": ["svc", "forest"]},
        "c": {"min": 1e-3, "max": 10, "log": True, "when": {"kind": "svc"}},
        "depth": {"type": "int", "min": 2, "max": 8, "when": {"kind": "forest"}},
    },
}


def trained(function: Callable[..., Any], config: dict[str, Any], space: dict[str, Any] = SPACE) -> list[Any]:
    """The reports of one training."""
    read: SearchSpec = spec.load_search(space)
    return list(OwnTraining(function, config, Context(read, None, 1)))


def test_what_is_returned_is_the_objective() -> None:
    (report,) = trained(quadratic, {"x": 5.0})
    assert report.metrics == {"value": 9.0} and report.epoch == 10, "it is of the full resource"


def test_each_report_is_an_epoch_and_numbers_are_metrics() -> None:
    reports = trained(everything, {"kind": "forest", "depth": 8}, CONDITIONAL)
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert [report.metrics["value"] for report in reports] == [8, 4, 8 / 3, 2]
    assert reports[3].metrics["doubled"] == 6.0


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda trial: trial.suggest_float("y", 0, 1), r"asks for 'y', .* write `y: \{min: 0, max: 1\}` below"),
        (lambda trial: trial.suggest_int("y", 1, 9, log=True), r"`y: \{type: int, min: 1, max: 9, log: true\}`"),
        (lambda trial: trial.suggest_categorical("y", ["a", "b"]), r"`y: \{values: \[a, b\]\}`"),
        (lambda trial: trial.suggest_float("x", 0, 1), r"wants 'x' from 0 to 1, and the search proposes 5.5"),
        (lambda trial: trial.suggest_int("x", 0, 9), "write `type: int` there"),
        (lambda trial: trial.suggest_categorical("x", [1, 2]), r"proposes 5.5 \(float\), none of"),
        (lambda trial: None, "must give a number for value, got None"),
        (lambda trial: (1.0, 2.0), "must give a number for value, got "),
    ],
)
def test_a_space_that_is_not_declared_so_is_shown_as_it_should_be(objective: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        trained(hpo.optuna_objective(objective), {"x": 5.5})


def test_pruned_by_itself_it_has_no_value() -> None:
    def gives_up(trial: Any) -> float:
        raise optuna.TrialPruned

    (report,) = trained(hpo.optuna_objective(gives_up), {"x": 0.0})
    assert math.isnan(report.metrics["value"])


def test_its_code_is_that_of_the_objective() -> None:
    assert Code.of(quadratic).name.endswith("test_optuna_objective:quadratic")


@pytest.mark.usefixtures("ray_cluster")
def test_the_tutorial_runs_as_a_search() -> None:
    result = hpo.search(SPACE, train=quadratic)
    assert len(result.trials) == 6 and result.best_value == pytest.approx((result.best_params["x"] - 2) ** 2)
    assert result.best_trial.params == result.best_params
    again = hpo.resume("tutorial", train=quadratic, trials="+2")
    assert len(again.trials) == 8


@pytest.mark.usefixtures("ray_cluster")
def test_a_conditional_objective_is_stopped_early() -> None:
    result = hpo.search({**CONDITIONAL, "scheduler": {"name": "asha_stop", "grace": 1, "eta": 2}}, train=everything)
    assert {trial.state for trial in result.trials} <= {State.COMPLETE, State.PRUNED}
    assert all(set(trial.config) in ({"kind", "c"}, {"kind", "depth"}) for trial in result.trials)
    assert any(trial.state is State.PRUNED and trial.epoch < 4 for trial in result.trials)
