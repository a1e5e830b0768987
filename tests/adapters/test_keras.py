"""Keras itself, on PyTorch, under a search."""

from typing import Any

import numpy as np
import pytest

from hpo.adapters.keras import ReportCallback  # sets Keras' backend, so it comes first
from hpo.errors import TrainingError
from hpo.spec import Config
from hpo.training import Context
from hpo.training.function import taken
from hpo.training.reports import reports_of
from tests.adapters import going_on
from tests.adapters.going_on import EPOCHS, paused, searched, whole

import keras  # isort: skip

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"
)  # Keras' own
DRAWN = np.random.default_rng(0)
X = DRAWN.normal(size=(60, 4)).astype(np.float32)
Y = X[:, :3].argmax(1)


def fit(config: Config, report: ReportCallback | None = None, **options: Any) -> Any:
    report = report or ReportCallback(predictions=(X, Y))
    model = keras.Sequential(
        [
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(config["lr"]), "sparse_categorical_crossentropy", metrics=["accuracy"])
    settings = {"epochs": EPOCHS, "batch_size": 8, "initial_epoch": report.initial_epoch, "verbose": 0, **options}
    model.fit(X, Y, validation_data=(X, Y), callbacks=[report], **settings)
    return model


def train(config: Config) -> None:
    fit(config)


@pytest.mark.parametrize("stops", [{1}, {2}, {1, 2, 3}])
def test_a_trial_goes_on_as_if_it_had_not_been_paused(stops: set[int]) -> None:
    expected = whole(train, {"lr": 0.05})
    found = paused(train, {"lr": 0.05}, stops)
    assert [report.epoch for report in found] == [1, 2, 3, 4]
    assert [report.metrics for report in found] == [report.metrics for report in expected]
    assert set(found[0].metrics) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert len({report.metrics["val_loss"] for report in found}) == EPOCHS


def test_copies_train_side_by_side_as_alone() -> None:
    going_on.check_copies(train, {"lr": 0.05})


def test_predictions_make_it_a_candidate_for_ensembles() -> None:
    last = whole(train, {"lr": 0.05})[-1]
    left = taken(last)
    right = left.predictions["validation"].argmax(1) == left.targets["validation"]
    assert right.mean() == pytest.approx(last.metrics["val_accuracy"])
    assert left.state is not None and len(left.state["variables"]) > 8


def test_metrics_are_chosen() -> None:
    reports = whole(lambda config: fit(config, ReportCallback({"val_loss": "val_loss"})) and None, {"lr": 0.05})
    assert set(reports[0].metrics) == {"val_loss"}


def test_a_child_keeps_its_own_learning_rate() -> None:
    rates: list[float] = []

    class Noted(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            rates.append(float(self.model.optimizer.learning_rate))

    def noted(config: Config) -> None:
        report = ReportCallback()
        model = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
        model.compile(keras.optimizers.Adam(config["lr"]), "sparse_categorical_crossentropy")
        settings = {"epochs": EPOCHS, "initial_epoch": report.initial_epoch, "verbose": 0}
        model.fit(X, Y, validation_data=(X, Y), callbacks=[Noted(), report], **settings)

    parent = next(reports_of(noted, {"lr": 0.05}, Context(searched(), None, 7)))
    assert parent.state is not None
    rates.clear()
    child = next(reports_of(noted, {"lr": 0.4}, Context(searched(), None, 8, parent.state(), inherited=True)))
    assert child.epoch == 2 and rates == pytest.approx([0.4])


def test_without_its_epoch_a_trial_is_not_saved_and_that_is_told() -> None:
    def forgets(config: Config) -> None:
        model = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(X, Y, validation_data=(X, Y), callbacks=[ReportCallback()], verbose=0)

    with pytest.warns(RuntimeWarning, match="initial_epoch=report.initial_epoch"):
        (report,) = whole(forgets, {})
    assert report.state is None


def test_states_of_something_else_are_told() -> None:
    first = next(reports_of(train, {"lr": 0.1}, Context(searched(), None, 7)))
    assert first.state is not None
    state = first.state()
    state["context"]["saved"]["variables"].pop()
    with pytest.raises(TrainingError, match="the stored state of the model does not fit"):
        next(reports_of(train, {"lr": 0.1}, Context(searched(), None, 7, state)))
    state["context"]["saved"] = {"mine": 1}
    with pytest.raises(TrainingError, match="the stored state is not of hpo.adapters.keras"):
        next(reports_of(train, {"lr": 0.1}, Context(searched(), None, 7, state)))


def test_outside_of_a_search_it_does_nothing() -> None:
    assert fit({"lr": 0.05}, epochs=1) is not None
