"""What all kinds of task have in common, and the metrics of those that are not classification."""

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from hpo.spec import TrainingSettings
from hpo.tasks import GOALS
from hpo.tasks.classification import focal
from hpo.tasks.kinds import kind
from hpo.tasks.loss import Loss

CPU = torch.device("cpu")


def examples(task: str, rows: int = 12, outputs: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of a model, and targets."""
    generator = torch.Generator().manual_seed(rows)
    made = torch.randn(rows, outputs, generator=generator)
    if task == "classification":
        return made, torch.randint(outputs, (rows,), generator=generator)
    if task == "multilabel":
        return made, torch.randint(2, (rows, outputs), generator=generator).to(torch.uint8)
    return made, torch.randn(rows, outputs, generator=generator)


@pytest.mark.parametrize("task", GOALS)
def test_a_kind_measures_all_that_its_task_promises(task: str) -> None:
    outputs, targets = examples(task)
    predictions = kind(task).activate(outputs)
    assert predictions.shape == outputs.shape
    assert kind(task).measure(predictions, targets).keys() == GOALS[task].keys()


@pytest.mark.parametrize("task", GOALS)
def test_weights_of_one_change_nothing_and_weights_of_zero_leave_rows_out(task: str) -> None:
    outputs, targets = examples(task)
    loss = Loss(kind(task), targets.numpy(), None, CPU)
    plain = loss(outputs, targets, None)
    torch.testing.assert_close(loss(outputs, targets, torch.ones(12)), plain)
    half = torch.tensor([2.0, 0.0] * 6)
    torch.testing.assert_close(loss(outputs, targets, half), loss(outputs[::2], targets[::2], None))


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_target_probabilities_take_the_place_of_labels(loss: str) -> None:
    outputs, labels = examples("classification")
    soft = torch.nn.functional.one_hot(labels, 3).float()
    task = kind("classification")
    task.training = TrainingSettings(label_smoothing=0.1, loss=loss)
    torch.testing.assert_close(task.loss(outputs, soft), task.loss(outputs, labels))


@given(st.integers(0, 1000), st.floats(0.05, 0.95), st.floats(0.1, 3.0))
def test_losses_of_regression_are_scikit_learns(seed: int, quantile: float, delta: float) -> None:
    generator = np.random.default_rng(seed)
    true, predicted = (torch.from_numpy(values) for values in generator.normal(0, 2, (2, 20, 2)))
    errors = (predicted - true).numpy()
    expected = {
        "squared": reference.mean_squared_error(true, predicted),
        "mae": reference.mean_absolute_error(true, predicted),
        "quantile": reference.mean_pinball_loss(true, predicted, alpha=quantile),
        "huber": 2 * scipy.special.huber(delta, errors).mean(),
    }
    for name, value in expected.items():
        task = kind("regression")
        task.training = TrainingSettings(loss=name, quantile=quantile, huber_delta=delta)
        assert float(task.loss(predicted, true).mean()) == pytest.approx(value)
        task.scale = torch.tensor([2.0, 2.0])
        scaled = task.loss(predicted * 2, true * 2)
        assert float(scaled.mean()) == pytest.approx(value)


def test_the_focal_loss_of_labels_is_that_of_two_classes() -> None:
    outputs, targets = examples("multilabel")
    task = kind("multilabel")
    task.training = TrainingSettings(loss="focal", focal_gamma=1.5)
    pairs = torch.stack([torch.zeros_like(outputs), outputs], dim=2).flatten(0, 1)
    expected = focal(pairs, targets.long().flatten(), 1.5).view(outputs.shape).mean(dim=1)
    torch.testing.assert_close(task.loss(outputs, targets), expected)
    task.training = TrainingSettings(loss="focal", focal_gamma=0)
    torch.testing.assert_close(task.loss(outputs, targets), kind("multilabel").loss(outputs, targets))


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(1, 4))
def test_regression_metrics_are_scikit_learns(seed: int, rows: int, targets: int) -> None:
    generator = np.random.default_rng(seed)
    true, predicted = generator.normal(5, 2, (2, rows, targets))
    measured = kind("regression").measure(torch.from_numpy(predicted), torch.from_numpy(true))
    assert measured["rmse"] == pytest.approx(reference.root_mean_squared_error(true, predicted))
    assert measured["mae"] == pytest.approx(reference.mean_absolute_error(true, predicted))
    assert measured["r2"] == pytest.approx(reference.r2_score(true, predicted), abs=1e-9)


def test_a_target_that_does_not_vary_explains_nothing() -> None:
    constant = torch.full((5, 1), 3.0)
    assert kind("regression").measure(constant, constant) == {"rmse": 0.0, "mae": 0.0, "r2": 0.0}


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(2, 4))
def test_multilabel_metrics_are_scikit_learns(seed: int, rows: int, labels: int) -> None:
    generator = np.random.default_rng(seed)
    true = generator.integers(2, size=(rows, labels)).astype(np.uint8)
    probabilities = generator.uniform(0.01, 0.99, (rows, labels)).astype(np.float32)
    predicted = (probabilities >= 0.5).astype(np.uint8)
    measured = kind("multilabel").measure(torch.from_numpy(probabilities), torch.from_numpy(true))
    assert measured["accuracy"] == pytest.approx((true == predicted).mean(), abs=1e-6)
    assert measured["subset_accuracy"] == pytest.approx(reference.accuracy_score(true, predicted), abs=1e-6)
    for average in ("macro", "micro"):
        expected = reference.f1_score(true, predicted, average=average, zero_division=0)
        assert measured[f"{average}_f1"] == pytest.approx(expected, abs=1e-6)
    own = np.where(true == 1, probabilities, 1 - probabilities)
    assert measured["nll"] == pytest.approx(-np.log(own).mean(), rel=1e-5)
