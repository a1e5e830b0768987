import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpo.datasets.precision import check_targets, table_type
from hpo.errors import DataError


@given(offset=st.floats(-1e12, 1e12), spread=st.floats(1e-3, 1e6), seed=st.integers(0, 99))
def test_centred_in_the_type_that_is_chosen_rows_are_off_by_little(offset: float, spread: float, seed: int) -> None:
    assume(spread > 1e-12 * abs(offset))
    column = offset + spread * np.random.default_rng(seed).normal(size=(50, 1))
    chosen = column.astype(table_type(column, "x")).astype(np.float64)
    centred, expected = chosen - chosen.mean(), column - column.mean()
    assert np.abs(centred - expected).max() <= 3e-4 * column.std() + 1e-9


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (np.arange(8).reshape(4, 2), np.float32),
        (np.array([[2**40, 1], [2**40 + 1, 2]]), np.float64),
        (np.array([[2**62], [2**62 + 2**30]]), np.float64),
        (np.array([[True], [False]]), np.float32),
        (np.array([[0.1], [0.2]], np.float16), np.float32),
        (np.array([[1e40], [2e40]]), np.float64),
        (np.array([[0.1 + 0.2], [0.3]]), np.float32),  # a constant, but for rounding
        (np.array([[1.7e9], [np.nan], [1.7e9 + 1]]), np.float64),
        (np.full((3, 1), np.nan), np.float32),
        (np.zeros((0, 3)), np.float32),
        (np.zeros((0, 3), np.int64), np.float32),
    ],
)
def test_float64_is_chosen_where_it_is_needed(table: np.ndarray, expected: type) -> None:
    assert table_type(table, "x") is expected


@pytest.mark.parametrize("least", [-(2**63), 2**62, -(2**61)])
def test_whole_numbers_that_no_float_tells_apart_are_refused(least: int) -> None:
    column = (least + np.arange(100, dtype=np.int64))[:, None]
    with pytest.raises(DataError, match="column 1 .* subtract a constant"):
        table_type(np.hstack([np.zeros_like(column), column]), "x")


def test_targets_of_any_common_size_are_taken() -> None:
    for targets in (np.linspace(0, 1, 9), 2000 + np.arange(20.0), np.full(5, 1.7e9), np.array([1.0, np.nan])):
        check_targets(targets.reshape(-1, 1), "y")
