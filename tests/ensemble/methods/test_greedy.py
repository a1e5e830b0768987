from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.ensemble.methods.greedy import bagged_greedy, greedy, greedy_weights
from hpo.ensemble.score import SCORES, costs, nll, true_class
from tests.conftest import CLASSES, probabilities

ALMOST = 1 + 1e-12


def pool(seed: int, candidates: int, rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, rows)
    skills = generator.uniform(0, 2, candidates)
    return np.stack([probabilities(labels, skill, generator) for skill in skills]), labels


def cost(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(nll(true_class(probabilities, labels)))


def plain_cost(mean: np.ndarray, targets: np.ndarray, task: str) -> float:
    if task == "regression":
        value = float(np.square(mean - targets).mean())
    elif task == "multilabel":
        value = float(-np.log(np.where(targets == 1, mean, 1 - mean)).mean())
    else:
        value = float(-np.log(mean[np.arange(len(targets)), targets]).mean())
    return value if np.isfinite(value) else np.inf


def reference(predictions: np.ndarray, targets: np.ndarray, top: int, rounds: int, task: str) -> Counter[int]:
    """Caruana's procedure as the paper tells it, one mean at a time."""

    def bag_cost(bag: list[int]) -> float:
        return plain_cost(predictions[bag].astype(np.float64).mean(axis=0), targets, task)

    ranked = sorted(range(len(predictions)), key=lambda place: bag_cost([place]))
    bag = ranked[:1]
    for size in range(2, min(top, rounds, len(ranked)) + 1):
        if bag_cost(ranked[:size]) * ALMOST < bag_cost(bag):
            bag = ranked[:size]
    best = (bag_cost(bag), bag)
    while len(bag) < rounds:
        options = {p: bag_cost([*bag, p]) for p in range(len(predictions)) if len({*bag, p}) <= top}
        ties = [place for place, value in options.items() if value <= min(options.values()) * ALMOST]
        place = min(ties, key=lambda place: (place not in bag, place))
        bag = [*bag, place]
        if options[place] * ALMOST < best[0]:
            best = (options[place], bag)
    return Counter(best[1])


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Members that are finite or not, alike or not, for each task; sums of their values are exact."""
    from tests.ensemble.pools import TASKS
    from tests.ensemble.pools import pool as any_pool

    task = draw(st.sampled_from(TASKS))
    predictions, targets = any_pool(task, draw(st.integers(0, 10_000)), draw(st.integers(1, 7)), rows=40)
    predictions = (np.round(predictions * 64) / 64).astype(np.float32)
    if task != "regression":
        predictions = np.clip(predictions, 1 / 64, 63 / 64)
    kind = draw(st.sampled_from(["different", "equal", "twins", "not finite"]))
    if kind == "equal":
        predictions[:] = predictions[0]
    if kind == "twins":
        predictions = np.concatenate([predictions, predictions])
    if kind == "not finite" and len(predictions) > 1:
        predictions[draw(st.integers(0, len(predictions) - 1)), draw(st.integers(0, 39))] = np.nan
    return predictions, targets, draw(st.integers(1, 4)), task


@settings(max_examples=60)
@given(cases())
def test_it_is_the_papers_procedure(case: tuple[np.ndarray, np.ndarray, int, str]) -> None:
    predictions, targets, top, task = case
    chosen = greedy(predictions, targets, top, task, rounds=12)
    expected = reference(predictions, targets, top, rounds=12, task=task)
    assert dict(zip(chosen.members, chosen.weights, strict=True)) == {
        place: count / expected.total() for place, count in expected.items()
    }


@pytest.mark.parametrize("method", [greedy, bagged_greedy])
@given(seed=st.integers(0, 1000), top=st.integers(1, 5))
@settings(max_examples=20)
def test_members_are_capped_and_weights_sum_to_one(method: type[object], seed: int, top: int) -> None:
    predictions, labels = pool(seed, 6)
    chosen = method(predictions, labels, top)  # type: ignore[call-arg]
    assert 1 <= len(chosen.members) == len(set(chosen.members)) <= top  # type: ignore[attr-defined]
    assert abs(sum(chosen.weights) - 1) < 1e-9  # type: ignore[attr-defined]


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_it_is_never_worse_than_the_best_candidate(seed: int) -> None:
    predictions, labels = pool(seed, 5)
    chosen = greedy(predictions, labels, 3)
    single = min(cost(candidate, labels) for candidate in predictions)
    assert cost(chosen.combine(predictions[list(chosen.members)]), labels) <= single + 1e-6


def test_twins_are_one_member() -> None:
    predictions, labels = pool(0, 1)
    chosen = greedy(np.repeat(predictions, 4, axis=0), labels, 3)
    assert (chosen.members, chosen.weights) == ((0,), (1.0,))


@pytest.mark.parametrize("method", [greedy, bagged_greedy])
def test_what_is_not_finite_is_never_chosen(method: type[object]) -> None:
    predictions, labels = pool(0, 3)
    predictions[0] = np.nan
    assert 0 not in method(predictions, labels, 3).members  # type: ignore[call-arg, attr-defined]


def test_where_nothing_is_finite_the_first_stands() -> None:
    assert greedy_weights(np.full((3, 5), np.nan)).tolist() == [1, 0, 0]


@given(st.integers(1, 3000), st.integers(0, 1000))
@settings(max_examples=30)
def test_the_logarithm_of_a_product_is_the_sum_of_logarithms(rows: int, seed: int) -> None:
    own = np.random.default_rng(seed).random((2, rows)) ** 8
    np.testing.assert_allclose(nll(own), -np.log(np.maximum(own, 1e-7)).mean(axis=1), rtol=1e-12)
    assert SCORES["classification"].cost(own[..., None]) == pytest.approx(nll(own))
    assert np.isinf(costs(np.full((1, 2, 2), np.nan, np.float32), np.array([0, 1]))).all()
