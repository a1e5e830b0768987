"""XGBoost and LightGBM themselves under a search."""

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from hpo.adapters import lightgbm as lightgbm_adapter
from hpo.adapters import xgboost as xgboost_adapter
from hpo.adapters.boosting import Boosting
from hpo.errors import TrainingError
from hpo.spec import Config
from hpo.training import Context, TrialContext
from hpo.training.function import taken
from hpo.training.reports import reports_of
from tests.adapters import going_on
from tests.adapters.going_on import EPOCHS, paused, searched, whole

ROUNDS = 10
KINDS: dict[str, Any] = {
    "binary": (load_breast_cancer, {"objective": "binary:logistic"}, {"objective": "binary"}),
    "classes": (
        load_iris,
        {"objective": "multi:softprob", "num_class": 3},
        {"objective": "multiclass", "num_class": 3},
    ),
    "values": (load_diabetes, {"objective": "reg:squarederror"}, {"objective": "regression"}),
}


def rows(kind: str) -> tuple[Any, Any, Any, Any]:
    X, y = KINDS[kind][0](return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, other = order[:-50], order[-50:]
    return X[train], y[train], X[other], y[other]


def by_xgboost(config: Config) -> None:
    X, y, other_x, other_y = rows(config["kind"])
    validation = xgboost.DMatrix(other_x, other_y)
    report = xgboost_adapter.ReportCallback(ROUNDS, predictions=validation)
    settings = {**KINDS[config["kind"]][1], "eta": config["lr"], "max_depth": 3, "nthread": 1}
    data = [(validation, "val")]
    xgboost.train(
        settings, xgboost.DMatrix(X, y), report.left, evals=data, callbacks=[report], xgb_model=report.model,
        verbose_eval=False,
    )  # fmt: skip


def by_lightgbm(config: Config) -> None:
    X, y, other_x, other_y = rows(config["kind"])
    data = lightgbm.Dataset(X, y)
    report = lightgbm_adapter.ReportCallback(ROUNDS, predictions=(other_x, other_y))
    settings = {**KINDS[config["kind"]][2], "learning_rate": config["lr"], "num_leaves": 7}
    quiet = {"num_threads": 1, "verbosity": -1, "deterministic": True, "force_row_wise": True}
    lightgbm.train(
        settings | quiet,
        data,
        report.left,
        valid_sets=[lightgbm.Dataset(other_x, other_y, reference=data)],
        valid_names=["val"],
        callbacks=[report],
        init_model=report.model,
    )


@pytest.mark.parametrize("train", [by_xgboost, by_lightgbm])
@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_goes_on_as_if_it_had_not_been_paused(train: Any, kind: str) -> None:
    spec = searched("loss", task="regression" if kind == "values" else "classification")
    name = {"binary": "logloss", "classes": "mlogloss", "values": "rmse"}[kind]
    if train is by_lightgbm:
        name = {"binary": "binary_logloss", "classes": "multi_logloss", "values": "l2"}[kind]
    given = searched(f"val_{name}", task=spec.task)
    config = {"lr": 0.1, "kind": kind}
    expected = whole(train, config, given)
    assert [report.epoch for report in expected] == [1, 2, 3, 4]
    assert expected[-1].metrics[f"val_{name}"] < expected[0].metrics[f"val_{name}"]
    for stops in ({2}, {1, 2, 3}):
        found = paused(train, config, stops, given)
        values = [report.metrics[f"val_{name}"] for report in expected]
        exact = 0.0 if train is by_xgboost else 1e-12  # with several threads LightGBM sums in another order
        assert [report.metrics[f"val_{name}"] for report in found] == pytest.approx(values, rel=exact, abs=0)
    left = taken(found[-1])
    assert len(left.predictions["validation"]) == 50
    if kind != "values":
        predicted = left.predictions["validation"]
        assert (predicted.argmax(1) == left.targets["validation"]).mean() > 0.85


@pytest.mark.parametrize("train", [by_xgboost, by_lightgbm])
def test_copies_train_side_by_side_as_alone(train: Any) -> None:
    name = "val_binary_logloss" if train is by_lightgbm else "val_logloss"
    going_on.check_copies(train, {"lr": 0.1, "kind": "binary"}, searched(name))


def boosting(rounds: int, epochs: int, state: Any = None) -> Boosting:
    given = Context(searched(training={"epochs": epochs}), None, 7, state)
    return Boosting(rounds, context=TrialContext(given))


@given(epochs=st.integers(1, 20), more=st.integers(0, 30))
def test_each_epoch_ends_with_one_round_and_the_last_with_the_last(epochs: int, more: int) -> None:
    rounds = epochs + more
    trial = boosting(rounds, epochs)
    ends = [place for place in range(rounds) if trial.ends_an_epoch(place)]
    assert [trial._epoch(place) for place in ends] == list(range(1, epochs + 1))
    assert ends[-1] == rounds - 1


def test_more_epochs_than_rounds_are_refused() -> None:
    with pytest.raises(TrainingError, match="3 rounds are fewer than the 4 epochs of `training.epochs`"):
        boosting(3, EPOCHS)


def test_a_state_of_something_else_is_told() -> None:
    with pytest.raises(TrainingError, match="the stored state is not of boosting"):
        boosting(8, EPOCHS, {"epoch": 3})


def test_a_model_that_is_not_given_is_missed() -> None:
    def forgets(config: Config) -> None:
        report = xgboost_adapter.ReportCallback(ROUNDS)
        X, y, *_ = rows("binary")
        data = xgboost.DMatrix(X, y)
        xgboost.train({}, data, report.left, evals=[(data, "val")], callbacks=[report], verbose_eval=False)

    given = searched("val_rmse")
    first = next(reports_of(forgets, {}, Context(given, None, 7)))
    assert first.state is not None
    with pytest.raises(TrainingError, match="the model to go on from was not given to XGBoost"):
        next(reports_of(forgets, {}, Context(given, None, 7, first.state())))


def test_outside_of_a_search_they_do_nothing() -> None:
    for train in (by_xgboost, by_lightgbm):
        train({"lr": 0.3, "kind": "binary"})
