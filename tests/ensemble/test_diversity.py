import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.ensemble.diversity import diversity
from hpo.ensemble.member_choice import SELECTIONS, best_members, diverse_members, gaining_members
from hpo.ensemble.score import costs
from tests.ensemble.pools import TASKS, pool


def test_the_measures_are_those_of_the_paper() -> None:
    labels = np.zeros(4, np.int64)
    right = np.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    predictions = np.stack([right, 1 - right], axis=2) * 0.6 + 0.2
    told = diversity(predictions.astype(np.float32), labels)
    assert told.disagreement is not None and told.double_fault is not None
    np.testing.assert_allclose(told.disagreement, [[0, 0.5], [0.5, 0]])
    np.testing.assert_allclose(told.double_fault, [[0.5, 0.25], [0.25, 0.5]])
    np.testing.assert_allclose(told.correlation, np.eye(2), atol=1e-9)
    assert told.means == pytest.approx({"disagreement": 0.5, "double_fault": 0.25, "correlation": 0.0})
    assert set(told.to_json()) == {"disagreement", "double_fault", "correlation", "means"}


@settings(max_examples=20)
@given(st.sampled_from(TASKS), st.integers(0, 1000), st.integers(1, 6))
def test_matrices_are_symmetric_and_in_range(task: str, seed: int, members: int) -> None:
    told = diversity(*pool(task, seed, members), task)
    for matrix, low in ((told.disagreement, 0), (told.double_fault, 0), (told.correlation, -1)):
        if matrix is not None:
            np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
            assert matrix.shape == (members, members) and low <= matrix.min() and matrix.max() <= 1
    assert (told.disagreement is None) == (task == "regression")
    assert (told.means == {}) == (members == 1)


@settings(max_examples=20)
@given(st.sampled_from(TASKS), st.integers(0, 1000), st.integers(1, 8), st.integers(1, 6))
def test_every_selection_gives_different_members_and_the_best_first(
    task: str, seed: int, candidates: int, top: int
) -> None:
    predictions, targets = pool(task, seed, candidates)
    for select in SELECTIONS.values():
        chosen = select(predictions, targets, top, task)
        assert len(set(chosen)) == len(chosen) == min(top, candidates)
        assert chosen[0] == int(costs(predictions, targets, task).argmin())


def test_diversity_takes_no_twins_and_gain_adds_what_helps() -> None:
    predictions, targets = pool("regression", 1, 6, rows=200)
    order = best_members(predictions, targets, 6, "regression")
    twins = predictions[[order[0], order[0], order[1], order[2]]]
    assert 1 not in diverse_members(twins, targets, 3, "regression")
    assert gaining_members(twins, targets, 2, "regression")[1] != 1


def test_what_is_not_finite_is_not_selected() -> None:
    predictions, targets = pool("classification", 0, 4)
    predictions[1] = np.nan
    for select in SELECTIONS.values():
        assert 1 not in select(predictions, targets, 3, "classification")
