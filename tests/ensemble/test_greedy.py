from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.ensemble.greedy import greedy
from hpo.ensemble.score import nll, true_class
from tests.conftest import CLASSES, probabilities


def pool(seed: int, candidates: int, rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, rows)
    skills = generator.uniform(0, 2, candidates)
    return np.stack([probabilities(labels, skill, generator) for skill in skills]), labels


def cost(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(nll(true_class(probabilities, labels)))


def reference(predictions: np.ndarray, labels: np.ndarray, top: int, rounds: int) -> Counter[int]:
    """Caruana's procedure as the paper tells it, one mean at a time."""
    bag: list[int] = []
    best: tuple[float, list[int]] = (np.inf, [])
    for _ in range(rounds):
        options = []
        for place in range(len(predictions)):
            if len(set(bag) | {place}) <= top:
                mean = predictions[[*bag, place]].astype(np.float64).mean(axis=0)
                options.append((cost(mean, labels), place not in bag, place))
        value, _, place = min(options)
        bag = [*bag, place]
        if value < best[0]:
            best = (value, bag)
    return Counter(best[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 4))
def test_it_is_the_papers_procedure(seed: int, candidates: int, top: int) -> None:
    predictions, labels = pool(seed, candidates)
    # sums of sixty-fourths are exact: ties are ties, however they are added up
    predictions = (np.round(predictions * 64) / 64).astype(np.float32)
    chosen = greedy(predictions, labels, top, rounds=12)
    expected = reference(predictions, labels, top, rounds=12)
    assert dict(zip(chosen.members, chosen.weights, strict=True)) == {
        place: count / expected.total() for place, count in expected.items()
    }


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_members_are_capped_and_weights_sum_to_one(seed: int, top: int) -> None:
    predictions, labels = pool(seed, 6)
    chosen = greedy(predictions, labels, top)
    assert 1 <= len(chosen.members) == len(set(chosen.members)) <= top
    assert abs(sum(chosen.weights) - 1) < 1e-9


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_it_is_never_worse_than_the_best_candidate(seed: int) -> None:
    predictions, labels = pool(seed, 5)
    chosen = greedy(predictions, labels, 3)
    single = min(cost(candidate, labels) for candidate in predictions)
    assert cost(chosen.combine(predictions[list(chosen.members)]), labels) <= single + 1e-6


def test_twins_are_one_member() -> None:
    predictions, labels = pool(0, 1)
    chosen = greedy(np.repeat(predictions, 4, axis=0), labels, 3)
    assert (chosen.members, chosen.weights) == ((0,), (1.0,))


def test_what_is_not_finite_is_never_chosen() -> None:
    predictions, labels = pool(0, 3)
    predictions[0] = np.nan
    assert 0 not in greedy(predictions, labels, 3).members
