import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hpo import tasks
from hpo.ensemble.calibration import calibration, conformal, fit_temperature, reliability, temper
from hpo.ensemble.score import costs, nll, true_class
from hpo.errors import InputError
from hpo.tasks import kinds
from tests.conftest import CLASSES, probabilities
from tests.ensemble.pools import pool


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, 400)
    return probabilities(labels, 2.0, generator), labels


@settings(max_examples=40)
@given(st.sampled_from(["classification", "multilabel"]), st.integers(0, 100), st.floats(0.5, 2))
def test_a_wrong_temperature_is_found_and_undone(task: str, seed: int, wrong: float) -> None:
    predictions, targets = pool(task, seed, 1, rows=400)
    expected = fit_temperature(predictions[0], targets, task)
    assume(expected < 1.5)  # what knows nothing has no temperature to be found
    found = fit_temperature(temper(predictions[0], wrong, task), targets, task)
    assert found == pytest.approx(expected / wrong, rel=0.12)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_no_rows_class_changes_and_rows_sum_to_one(seed: int, temperature: float) -> None:
    own, _ = rows(seed)
    tempered = temper(own, temperature)
    np.testing.assert_array_equal(tempered.argmax(axis=1), own.argmax(axis=1))
    np.testing.assert_allclose(tempered.sum(axis=1), 1, rtol=1e-5)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_no_label_changes(seed: int, temperature: float) -> None:
    predictions, _ = pool("multilabel", seed, 1)
    away = np.abs(predictions[0] - 0.5) > 1e-4
    tempered = temper(predictions[0], temperature, "multilabel")
    np.testing.assert_array_equal((tempered >= 0.5)[away], (predictions[0] >= 0.5)[away])


def test_values_have_no_temperature() -> None:
    predictions, targets = pool("regression", 0, 1)
    assert fit_temperature(predictions[0], targets, "regression") == 1.0
    np.testing.assert_array_equal(temper(predictions[0], 3.0, "regression"), predictions[0])
    assert reliability(predictions[0], targets, "regression") == {}


@given(st.sampled_from(["classification", "multilabel"]), st.integers(0, 100))
def test_it_never_costs_likelihood_on_the_rows_it_was_fitted_to(task: str, seed: int) -> None:
    predictions, targets = pool(task, seed, 1)
    told = calibration(predictions[0], targets, task)
    assert told.after["nll"] <= told.before["nll"] + 1e-6
    assert told.before["nll"] == pytest.approx(float(costs(predictions[0], targets, task)))


def test_zeros_stay_finite() -> None:
    assert np.isfinite(temper(np.array([[1.0, 0.0]], np.float32), 0.05)).all()
    assert np.isfinite(temper(np.array([[1.0, 0.0]], np.float32), 0.05, "multilabel")).all()


def test_calibration_error_and_likelihood_are_the_tasks() -> None:
    predictions, labels = rows(0)
    measured = kinds.kind("classification").measure(torch.from_numpy(predictions), torch.from_numpy(labels))
    told = reliability(predictions, labels)
    assert told["ece"] == pytest.approx(measured["ece"], abs=1e-5)
    assert told["nll"] == pytest.approx(measured["nll"], rel=1e-5)
    assert tasks.GOALS["classification"]["ece"] == "minimize"


def test_brier_scores() -> None:
    sure = np.array([[1, 0], [0, 1]], np.float32)
    assert reliability(sure, np.array([0, 0]))["brier"] == pytest.approx(1.0)  # (0 + 2) / 2
    labels = np.array([[1, 0], [1, 1]], np.uint8)
    assert reliability(sure, labels, "multilabel")["brier"] == pytest.approx(0.25)
    assert reliability(sure, labels, "multilabel")["ece"] == pytest.approx(0.25)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.5, 0.95))
def test_intervals_hold_what_they_promise(seed: int, level: float) -> None:
    generator = np.random.default_rng(seed)
    errors = generator.standard_t(3, size=(2000, 2)) * [1, 5]
    interval = conformal(errors[:1000], level)
    inside = (np.abs(errors[1000:]) <= interval.half_widths).mean(axis=0)
    np.testing.assert_allclose(inside, level, atol=0.1)  # 4.5 standard errors


def test_intervals_need_rows_and_a_level() -> None:
    assert conformal(np.arange(9.0)[:, None], 0.9).half_widths == (8.0,)
    with pytest.raises(InputError, match="level 0.9 need at least 9 validation rows, there are 8"):
        conformal(np.arange(8.0)[:, None], 0.9)
    with pytest.raises(InputError, match="must be between 0 and 1, got 1"):
        conformal(np.arange(8.0)[:, None], 1)


def test_nll_is_the_tasks() -> None:
    predictions, labels = rows(1)
    measured = kinds.kind("classification").measure(torch.from_numpy(predictions), torch.from_numpy(labels))
    assert float(nll(true_class(predictions, labels))) == pytest.approx(measured["nll"], rel=1e-5)
