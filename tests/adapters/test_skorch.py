"""skorch itself, under a search."""

from typing import Any

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import LRScheduler
from torch import nn

import hpo
from hpo.adapters.skorch import ReportCallback
from hpo.errors import TrainingError
from hpo.spec import Config
from hpo.training import Context
from hpo.training.function import taken
from hpo.training.reports import reports_of
from tests.adapters import going_on
from tests.adapters.going_on import EPOCHS, paused, searched, whole

DRAWN = np.random.default_rng(0)
X = DRAWN.normal(size=(80, 4)).astype(np.float32)
Y = X[:, :3].argmax(1)
SPEC = searched("valid_loss")


class Net(nn.Module):
    """Has what a state is made of: batch norm, and dropout that draws."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, outputs))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(rows)
        return outputs


def fit(config: Config, report: ReportCallback | None = None, **settings: Any) -> NeuralNetClassifier:
    schedule = LRScheduler("StepLR", step_size=2, gamma=0.1)
    net = NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=config["lr"],
        batch_size=16,
        iterator_train__shuffle=True,
        **{"callbacks": [schedule, report or ReportCallback(predictions=(X, Y))], "max_epochs": EPOCHS, "verbose": 0}
        | settings,
    )
    return net.fit(X, Y)


def train(config: Config) -> None:
    fit(config)


@pytest.mark.parametrize("stops", [{1}, {2}, {1, 2, 3}])
def test_a_trial_goes_on_as_if_it_had_not_been_paused(stops: set[int]) -> None:
    expected = whole(train, {"lr": 0.05}, SPEC)
    found = paused(train, {"lr": 0.05}, stops, SPEC)
    assert [report.epoch for report in found] == [1, 2, 3, 4]
    assert [report.metrics for report in found] == [report.metrics for report in expected]
    assert set(found[0].metrics) == {"train_loss", "valid_loss", "valid_acc", "event_lr"}
    assert len({report.metrics["valid_loss"] for report in found}) == EPOCHS
    assert found[0].metrics["event_lr"] > found[-1].metrics["event_lr"], "the schedule is at work"


def test_copies_train_side_by_side_as_alone() -> None:
    going_on.check_copies(train, {"lr": 0.05}, SPEC)


def test_predictions_make_it_a_candidate_for_ensembles() -> None:
    left = taken(whole(train, {"lr": 0.05}, SPEC)[-1])
    assert np.allclose(left.predictions["validation"].astype(np.float32).sum(axis=1), 1, atol=1e-2)
    assert (left.predictions["validation"].argmax(1) == left.targets["validation"]).mean() > 0.4
    assert left.state is not None and "layers.0.weight" in left.state["module"]


def test_values_are_predicted() -> None:
    def values(config: Config) -> None:
        report = ReportCallback(["valid_loss"], predictions=(X, X[:, :1]))
        settings: dict[str, Any] = {"max_epochs": EPOCHS, "lr": config["lr"], "verbose": 0}
        NeuralNetRegressor(Net, module__outputs=1, callbacks=[report], **settings).fit(X, X[:, :1])

    last = whole(values, {"lr": 0.01}, searched("valid_loss", task="regression"))[-1]
    assert set(last.metrics) == {"valid_loss"} and taken(last).predictions["validation"].shape == (80, 1)


def test_a_child_keeps_its_own_learning_rate() -> None:
    parent = next(reports_of(train, {"lr": 0.05}, Context(SPEC, None, 7)))
    assert parent.state is not None
    child = next(reports_of(train, {"lr": 0.4}, Context(SPEC, None, 8, parent.state(), inherited=True)))
    assert child.epoch == 2 and child.metrics["event_lr"] == pytest.approx(0.4)


def test_a_metric_that_was_not_measured_is_told() -> None:
    with pytest.raises(TrainingError, match="skorch has measured no 'valid_f1' in this epoch"):
        whole(lambda config: fit(config, ReportCallback(["valid_f1"])) and None, {"lr": 0.05}, SPEC)


def test_a_state_of_something_else_is_told() -> None:
    first = next(reports_of(train, {"lr": 0.1}, Context(SPEC, None, 7)))
    assert first.state is not None
    state = first.state()
    state["context"]["tracked"].pop("module")
    with pytest.raises(TrainingError, match="the stored state has no 'module'"):
        next(reports_of(train, {"lr": 0.1}, Context(SPEC, None, 7, state)))


def test_outside_of_a_search_it_does_nothing() -> None:
    assert hpo.context() is None
    assert len(fit({"lr": 0.05}, max_epochs=2).history) == 2
