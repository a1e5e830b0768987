import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.ensemble.combiner import Average, Combiner, Stack, Votes, from_json
from hpo.ensemble.score import nll, true_class
from hpo.ensemble.selection import METHODS, choose, cross_validated
from hpo.ensemble.stacking import stacking
from hpo.errors import InputError
from tests.conftest import CLASSES, probabilities
from tests.ensemble.test_greedy import pool


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_keeps_the_contract(method: Callable[..., Combiner]) -> None:
    predictions, labels = pool(3, 6, rows=90)
    combiner = method(predictions, labels, 4)
    assert 1 <= len(combiner.members) <= 4 and len(combiner.members) == len(combiner.weights)
    assert sum(combiner.weights) == pytest.approx(1)
    combined = combiner.combine(predictions[list(combiner.members)])
    assert combined.shape == (90, CLASSES) and combined.dtype == np.float32
    np.testing.assert_allclose(combined.sum(axis=1), 1, rtol=1e-5)
    read = from_json(json.loads(json.dumps(combiner.to_json())), len(combiner.members))
    np.testing.assert_allclose(read.combine(predictions[list(combiner.members)]), combined, rtol=1e-6)
    assert read.weights == pytest.approx(combiner.weights)


@given(st.integers(0, 500), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_hard_votes_are_the_majority(seed: int, members: int) -> None:
    predictions, _ = pool(seed, members)
    winners = Votes(tuple(range(members))).combine(predictions).argmax(axis=1)
    for row, winner in enumerate(winners):
        counts = np.bincount(predictions[:, row].argmax(axis=1), minlength=CLASSES)
        assert counts[winner] == counts.max()


def test_soft_votes_are_the_mean() -> None:
    predictions, _ = pool(0, 2)
    np.testing.assert_allclose(
        Average((0, 1), (0.25, 0.75)).combine(predictions), predictions[0] * 0.25 + predictions[1] * 0.75, rtol=1e-5
    )


def test_stacking_mends_a_member_that_confuses_two_classes() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, 300)
    confused = probabilities(labels, 3.0, generator)[:, [1, 0, 2]]
    chosen = stacking(confused[None], labels, 1)
    assert (chosen.combine(confused[None]).argmax(axis=1) == labels).mean() > 0.8
    assert (confused.argmax(axis=1) == labels).mean() < 0.5


@pytest.mark.parametrize("present", [[0, 1], [0, 2], [1, 2]])
def test_stacking_knows_classes_that_no_row_has(present: list[int]) -> None:
    generator = np.random.default_rng(0)
    labels = generator.choice(present, 80)
    predictions = np.stack([probabilities(labels, 2.0, generator) for _ in range(2)])
    chosen = stacking(predictions, labels, 2)
    combined = chosen.combine(predictions)
    assert combined.shape == (80, CLASSES)
    assert set(combined.argmax(axis=1)) <= set(present)
    assert (combined.argmax(axis=1) == labels).mean() > 0.7


def test_the_shares_of_a_stack_follow_its_coefficients() -> None:
    coefficients = np.zeros((CLASSES, 2 * CLASSES))
    coefficients[:, :CLASSES] = 3.0
    coefficients[:, CLASSES:] = -1.0
    assert Stack((0, 1), coefficients, np.zeros(CLASSES)).weights == pytest.approx((0.75, 0.25))


def test_auto_takes_the_method_with_the_best_cross_validated_score() -> None:
    predictions, labels = pool(1, 6, rows=120)
    choice = choose("auto", predictions, labels, 3)
    assert choice.costs.keys() == METHODS.keys()
    assert choice.costs[choice.method] == min(choice.costs.values())


def test_nothing_is_learnt_from_shuffled_labels() -> None:
    predictions, labels = pool(2, 30, rows=600)
    shuffled = np.random.default_rng(0).permutation(labels)
    for method in METHODS.values():
        assert cross_validated(method, predictions, shuffled, 5) > np.log(CLASSES) - 0.01


def test_bagging_is_refused_until_it_is_built() -> None:
    predictions, labels = pool(0, 2)
    with pytest.raises(InputError, match="bagging is not built yet"):
        choose("bagging", predictions, labels, 2)
    with pytest.raises(InputError, match="unknown method 'vote'. Did you mean 'voting'"):
        choose("vote", predictions, labels, 2)


def test_nll_is_the_tasks() -> None:
    import torch

    from hpo.tasks import classification

    predictions, labels = pool(0, 1)
    expected = float(classification.nll(torch.from_numpy(predictions[0]), torch.from_numpy(labels)))
    assert float(nll(true_class(predictions[0], labels))) == pytest.approx(expected, rel=1e-6)
