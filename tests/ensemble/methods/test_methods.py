import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.ensemble.calibration import temper
from hpo.ensemble.combiner import Average, Calibrated, Median, Stack, Votes, from_json
from hpo.ensemble.member_choice import best_members
from hpo.ensemble.method_choice import candidates
from hpo.ensemble.methods import METHODS
from hpo.ensemble.methods.stacking import STACKS, fit_stack, stacking
from hpo.ensemble.methods.voting import hard_voting, median
from hpo.ensemble.methods.weighted import simplex_weights, weighted_voting
from hpo.ensemble.score import SCORES, costs
from hpo.errors import InputError
from tests.conftest import CLASSES, probabilities
from tests.ensemble.pools import OUTPUTS, TASKS, pool

EACH = [(task, name) for task in TASKS for name in [*candidates(task), "stacking_ridge"]]


@pytest.mark.parametrize(("task", "name"), EACH)
@pytest.mark.parametrize("rows", [90, 7])
def test_every_method_keeps_the_contract(task: str, name: str, rows: int) -> None:
    predictions, targets = pool(task, 3, 6, rows)
    combiner = METHODS[name](predictions, targets, 4, task)
    assert 1 <= len(combiner.members) <= 4 and len(combiner.members) == len(combiner.weights)
    assert sum(combiner.weights) == pytest.approx(1)
    members = predictions[list(combiner.members)]
    combined = combiner.combine(members)
    assert combined.shape == (rows, OUTPUTS) and combined.dtype == np.float32 and np.isfinite(combined).all()
    if task == "classification":
        np.testing.assert_allclose(combined.sum(axis=1), 1, rtol=1e-5)
    if task != "regression":
        assert combined.min() >= 0 and combined.max() <= 1
    for whole in (combiner, Calibrated(combiner, 1.7, task)):
        read = from_json(json.loads(json.dumps(whole.to_json())), len(whole.members), OUTPUTS)
        np.testing.assert_allclose(read.combine(members), whole.combine(members), rtol=1e-5, atol=1e-7)
        assert read.weights == pytest.approx(whole.weights)


def test_what_older_ensembles_have_written_is_read() -> None:
    assert from_json({"kind": "average", "weights": [0.5, 0.5]}, 2, 3) == Average((0, 1), (0.5, 0.5))
    stack = from_json({"kind": "stack", "coefficients": [[1.0, 0.0], [0.0, 1.0]], "intercept": [0.0, 0.0]}, 1, 2)
    assert isinstance(stack, Stack) and (stack.task, stack.features) == ("classification", "logits")


def test_the_last_temperature_is_part_of_the_combiner() -> None:
    predictions, _ = pool("classification", 0, 2)
    average = Average((3, 5), (0.5, 0.5))
    whole = Calibrated(average, 2.0)
    assert (whole.members, whole.weights) == (average.members, average.weights)
    np.testing.assert_array_equal(whole.combine(predictions), temper(average.combine(predictions), 2.0))


@given(st.integers(0, 500), st.integers(1, 6))
@settings(max_examples=30)
def test_hard_votes_are_the_majority(seed: int, members: int) -> None:
    predictions, _ = pool("classification", seed, members)
    winners = Votes(tuple(range(members))).combine(predictions).argmax(axis=1)
    for row, winner in enumerate(winners):
        counts = np.bincount(predictions[:, row].argmax(axis=1), minlength=CLASSES)
        assert counts[winner] == counts.max()


@given(st.integers(0, 500), st.integers(1, 6))
@settings(max_examples=30)
def test_hard_votes_on_labels_are_the_majority(seed: int, members: int) -> None:
    predictions, _ = pool("multilabel", seed, members)
    ayes = (predictions >= 0.5).sum(axis=0)
    held = Votes(tuple(range(members)), "multilabel").combine(predictions) >= 0.5
    np.testing.assert_array_equal(held[2 * ayes != members], (2 * ayes > members)[2 * ayes != members])


def test_votes_are_for_classes_and_medians_for_values() -> None:
    with pytest.raises(InputError, match="hard_voting needs classes or labels, and regression has none"):
        hard_voting(*pool("regression", 0, 3), 2, "regression")
    with pytest.raises(InputError, match="median is for regression, and the task is multilabel"):
        median(*pool("multilabel", 0, 3), 2, "multilabel")


def test_one_bad_member_does_not_move_the_median() -> None:
    predictions, _ = pool("regression", 0, 3)
    spoilt = predictions.copy()
    spoilt[2] = 1e6
    middle = Median((0, 1, 2)).combine(spoilt)
    np.testing.assert_array_equal(middle, predictions[:2].max(axis=0))


def test_soft_votes_are_the_mean() -> None:
    predictions, _ = pool("classification", 0, 2)
    np.testing.assert_allclose(
        Average((0, 1), (0.25, 0.75)).combine(predictions), predictions[0] * 0.25 + predictions[1] * 0.75, rtol=1e-5
    )
    values, _ = pool("regression", 0, 2)
    np.testing.assert_allclose(
        Average((0, 1), (0.5, 0.5), "regression").combine(values), values.mean(axis=0), atol=1e-6
    )


@settings(max_examples=30)
@given(st.sampled_from(TASKS), st.integers(0, 1000), st.integers(1, 5))
def test_no_other_weights_score_better(task: str, seed: int, members: int) -> None:
    predictions, targets = pool(task, seed, members)
    score = SCORES[task]
    own = score.own(predictions, targets).reshape(members, -1)
    weights = simplex_weights(own, score)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    reached = score.mean(weights @ own)
    for other in np.random.default_rng(seed).dirichlet(np.ones(members), 50):
        assert reached <= score.mean((0.9 * weights + 0.1 * other) @ own) * (1 + 1e-5) + 1e-9


def test_a_member_that_adds_nothing_gets_no_weight() -> None:
    predictions, targets = pool("classification", 0, 3, rows=300)
    predictions[1] = (1 - np.eye(CLASSES)[targets]) / (CLASSES - 1)  # sure of what is wrong
    assert 1 in best_members(predictions, targets, 3)
    assert 1 not in weighted_voting(predictions, targets, 3).members


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", STACKS)
def test_a_stack_of_given_members_learns_what_they_lack(task: str, name: str) -> None:
    predictions, targets = pool(task, 1, 3, rows=600)
    spoilt = (3 * predictions + 2).astype(np.float32) if task == "regression" else predictions[:, :, [1, 2, 0]]
    stack = fit_stack(spoilt[:, :400], targets[:400], task, name)
    assert stack.members == (0, 1, 2)
    combined, plain = stack.combine(spoilt[:, 400:]), Average((0, 1, 2), (1 / 3,) * 3, task).combine(spoilt[:, 400:])
    assert costs(combined, targets[400:], task) < 0.8 * costs(plain, targets[400:], task)


def test_a_stack_needs_a_known_method_and_finite_predictions() -> None:
    predictions, targets = pool("classification", 1, 3)
    with pytest.raises(InputError, match="unknown meta-model 'stackin'. Did you mean 'stacking'"):
        fit_stack(predictions, targets, method="stackin")
    predictions[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="must all be finite"):
        fit_stack(predictions, targets)


@pytest.mark.parametrize("present", [[0, 1], [0, 2], [1, 2]])
def test_stacking_knows_classes_that_no_row_has(present: list[int]) -> None:
    generator = np.random.default_rng(0)
    labels = generator.choice(present, 80)
    predictions = np.stack([probabilities(labels, 2.0, generator) for _ in range(2)])
    combined = stacking(predictions, labels, 2).combine(predictions)
    assert combined.shape == (80, CLASSES) and combined.min() > 0
    assert (combined.argmax(axis=1) == labels).mean() > 0.7


def test_few_rows_leave_the_mean_nearly_as_it_is() -> None:
    predictions, labels = pool("classification", 5, 3, rows=4)
    combined, plain = stacking(predictions, labels, 3).combine(predictions), predictions.mean(axis=0)
    assert np.abs(combined - plain).max() < 0.25


def test_the_shares_of_a_stack_follow_its_coefficients() -> None:
    coefficients = np.zeros((CLASSES, 2 * CLASSES))
    coefficients[:, :CLASSES] = 3.0
    coefficients[:, CLASSES:] = -1.0
    assert Stack((0, 1), coefficients, np.zeros(CLASSES)).weights == pytest.approx((0.75, 0.25))
