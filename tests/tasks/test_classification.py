import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from hpo.models.mlp import mlp
from hpo.tasks import GOALS, classification
from hpo.tasks.kinds import predict


def rows(seed: int, n: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    return logits.double().softmax(1), torch.randint(classes, (n,), generator=generator)


@given(st.integers(0, 1000), st.integers(2, 60), st.integers(2, 6))
def test_metrics_agree_with_scikit_learn(seed: int, n: int, classes: int) -> None:
    probabilities, labels = rows(seed, n, classes)
    measured = classification.measure(probabilities, labels)
    predicted, true = probabilities.argmax(1).numpy(), labels.numpy()
    present = sorted(set(true) | set(predicted))  # both leave out a class that nobody names
    assert measured.keys() == GOALS["classification"].keys()
    assert measured["accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
    assert measured["macro_f1"] == pytest.approx(
        reference.f1_score(true, predicted, average="macro", labels=present, zero_division=0), abs=1e-6
    )
    assert measured["nll"] == pytest.approx(
        reference.log_loss(true, probabilities.numpy(), labels=range(classes)), rel=1e-4
    )


def test_calibration_error_of_a_coin_that_is_sure() -> None:
    probabilities = torch.tensor([[0.9, 0.1]]).repeat(10, 1)
    labels = torch.tensor([0] * 6 + [1] * 4)
    assert classification.measure(probabilities, labels)["ece"] == pytest.approx(0.3, abs=1e-6)


def test_a_float16_zero_costs_a_finite_amount() -> None:
    assert math.isfinite(float(classification.nll(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))))


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    model = mlp((1, 4, 4), 3).eval()
    images = torch.randint(256, (10, 1, 4, 4), dtype=torch.uint8)
    whole = predict(model, images, classification.activate, batch_size=10)
    parts = predict(model, images, classification.activate, batch_size=3)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole.sum(1), torch.ones(10))
