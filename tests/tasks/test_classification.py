import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.utils.class_weight import compute_class_weight

from hpo.models.mlp import mlp
from hpo.spec import TrainingSettings
from hpo.tasks import GOALS, classification
from hpo.tasks.kinds import kind, predict


def rows(seed: int, n: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    return logits.double().softmax(1), torch.randint(classes, (n,), generator=generator)


@given(st.integers(0, 1000), st.integers(2, 60), st.integers(2, 6))
def test_metrics_agree_with_scikit_learn(seed: int, n: int, classes: int) -> None:
    probabilities, labels = rows(seed, n, classes)
    measured = kind("classification").measure(probabilities, labels)
    predicted, true = probabilities.argmax(1).numpy(), labels.numpy()
    present = sorted(set(true) | set(predicted))  # both leave out a class that nobody names
    assert measured.keys() == GOALS["classification"].keys()
    assert measured["accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
    assert measured["macro_f1"] == pytest.approx(
        reference.f1_score(true, predicted, average="macro", labels=present, zero_division=0), abs=1e-6
    )
    correlation = reference.matthews_corrcoef(true, predicted) if len(present) > 1 else 0.0
    assert measured["mcc"] == pytest.approx(correlation, abs=1e-9)
    recalls = reference.recall_score(true, predicted, average="macro", labels=sorted(set(true)), zero_division=0)
    assert measured["balanced_accuracy"] == pytest.approx(recalls, abs=1e-9)
    assert measured["nll"] == pytest.approx(
        reference.log_loss(true, probabilities.numpy(), labels=range(classes)), rel=1e-4
    )


def test_calibration_error_of_a_coin_that_is_sure() -> None:
    probabilities = torch.tensor([[0.9, 0.1]]).repeat(10, 1)
    labels = torch.tensor([0] * 6 + [1] * 4)
    assert kind("classification").measure(probabilities, labels)["ece"] == pytest.approx(0.3, abs=1e-6)


def test_a_float16_zero_costs_a_finite_amount() -> None:
    assert math.isfinite(float(classification.nll(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))))


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    model = mlp((1, 4, 4), 3).eval()
    images = torch.randint(256, (10, 1, 4, 4), dtype=torch.uint8)
    whole = predict(model, images, kind("classification").activate, batch_size=10)
    parts = predict(model, images, kind("classification").activate, batch_size=3)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole.sum(1), torch.ones(10))


@given(st.integers(0, 1000), st.integers(4, 60), st.integers(2, 5), st.sampled_from([0, 1, 2]))
def test_rankings_are_scikit_learns_with_ties_and_absent_classes(seed: int, n: int, classes: int, digits: int) -> None:
    probabilities, labels = rows(seed, n, classes)
    probabilities = (probabilities * 10**digits).round()  # ties
    labels = labels.clamp_max(classes - 2) if seed % 3 == 0 and classes > 2 else labels  # the last class is absent
    labels[:2] = torch.tensor([0, 1])
    measured = kind("classification").measure(probabilities, labels)
    scores, true = probabilities.numpy(), labels.numpy()
    present = [1] if classes == 2 else sorted(set(true))
    expected = {
        "auroc": [reference.roc_auc_score(true == place, scores[:, place]) for place in present],
        "auprc": [reference.average_precision_score(true == place, scores[:, place]) for place in present],
    }
    for name, values in expected.items():
        assert measured[name] == pytest.approx(np.mean(values), abs=1e-9)


def test_rankings_of_one_class_alone_say_that_nothing_is_known() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    only = {label: kind("classification").measure(probabilities, torch.tensor([label] * 2)) for label in (0, 1)}
    assert (only[0]["auroc"], only[0]["auprc"]) == (0.5, 0.0)
    assert (only[1]["auroc"], only[1]["auprc"]) == (0.5, 1.0)
    assert only[0]["mcc"] == 0.0 and only[0]["balanced_accuracy"] == 0.5


def test_the_positive_class_is_the_one_that_is_named() -> None:
    probabilities, labels = rows(1, 40, 3)
    task = kind("classification")
    task.positive = 2
    measured = task.measure(probabilities, labels)
    expected = reference.average_precision_score(labels.numpy() == 2, probabilities[:, 2].numpy())
    assert measured["auprc"] == pytest.approx(expected)


@given(st.integers(0, 1000), st.floats(0.0, 5.0), st.booleans())
def test_focal_loss_is_its_definition(seed: int, gamma: float, soft: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(7, 3, generator=generator)
    labels, weights = torch.randint(3, (7,), generator=generator), torch.tensor([1.0, 2.0, 0.5])
    targets = torch.nn.functional.one_hot(labels, 3).float() if soft else labels
    own = outputs.softmax(1)[torch.arange(7), labels]
    expected = -((1 - own) ** gamma) * own.log() * weights[labels]
    torch.testing.assert_close(classification.focal(outputs, targets, gamma, weights), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_loss_without_focus_is_cross_entropy(smoothing: float) -> None:
    outputs, labels = torch.randn(9, 4), torch.arange(9) % 4
    expected = torch.nn.functional.cross_entropy(outputs, labels, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(classification.focal(outputs, labels, 0.0, None, smoothing), expected)


def test_focal_loss_of_a_row_that_is_surely_right_has_a_finite_gradient() -> None:
    outputs = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    classification.focal(outputs, torch.tensor([0]), 0.5).sum().backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_class_weights_are_scikit_learns_balanced_ones(labels: list[int]) -> None:
    targets = np.array(labels)
    task = kind("classification")
    task.training, task.outputs = TrainingSettings(class_weights="auto"), ("a", "b", "c", "d")
    task.learns_from(targets, torch.device("cpu"))
    weights = task.class_weights
    assert weights is not None and weights[targets].mean() == pytest.approx(1.0, abs=1e-5)
    present = np.unique(targets)
    expected = compute_class_weight("balanced", classes=present, y=targets)
    np.testing.assert_allclose(weights[present], expected, rtol=1e-5)
    soft = torch.nn.functional.one_hot(torch.from_numpy(targets), 4).numpy()
    task.learns_from(soft, torch.device("cpu"))
    torch.testing.assert_close(task.class_weights, weights)


def test_class_weights_go_by_the_names_of_classes_and_into_the_loss() -> None:
    task = kind("classification")
    task.training, task.outputs = TrainingSettings(class_weights={"b": 3}), ("a", "b")
    task.learns_from(np.array([0, 0, 1]), torch.device("cpu"))
    outputs, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    plain = torch.nn.functional.cross_entropy(outputs, labels, reduction="none")
    torch.testing.assert_close(task.loss(outputs, labels), plain * torch.tensor([1.0, 3, 3, 1, 3]))
