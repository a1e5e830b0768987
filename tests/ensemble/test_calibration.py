import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.score import nll, true_class
from tests.conftest import CLASSES, probabilities


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, 400)
    return probabilities(labels, 2.0, generator), labels


@given(st.integers(0, 100), st.floats(0.2, 5))
def test_a_wrong_temperature_is_found_and_undone(seed: int, wrong: float) -> None:
    own, labels = rows(seed)
    expected = fit_temperature(own, labels)
    assert fit_temperature(temper(own, wrong), labels) == pytest.approx(expected / wrong, rel=0.05)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_no_rows_class_changes_and_rows_sum_to_one(seed: int, temperature: float) -> None:
    own, _ = rows(seed)
    tempered = temper(own, temperature)
    np.testing.assert_array_equal(tempered.argmax(axis=1), own.argmax(axis=1))
    np.testing.assert_allclose(tempered.sum(axis=1), 1, rtol=1e-5)


@given(st.integers(0, 100))
def test_it_never_costs_likelihood_on_the_rows_it_was_fitted_to(seed: int) -> None:
    own, labels = rows(seed)
    fitted = temper(own, fit_temperature(own, labels))
    assert nll(true_class(fitted, labels)) <= nll(true_class(own, labels)) + 1e-6


def test_zeros_stay_finite() -> None:
    assert np.isfinite(temper(np.array([[1.0, 0.0]], np.float32), 0.05)).all()
