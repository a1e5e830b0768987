"""Costs on the scale of the model of learning curves, and what is expected of better ones."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.samplers.reward_scale import RewardScale

COSTS = np.array([0.2, 0.3, 0.5, 0.9, math.inf])


def test_rewards_are_standardized_and_the_best_cost_has_the_most() -> None:
    scale, rewards = RewardScale.of(COSTS)
    assert scale.least == 0.2 and scale.spread == pytest.approx(0.2)
    assert rewards.mean() == pytest.approx(0) and rewards.std() == pytest.approx(1)
    assert list(np.argsort(-rewards, kind="stable")) == [0, 1, 2, 3, 4] and rewards[3] == rewards[4]


@pytest.mark.parametrize("costs", [[], [math.inf, math.inf], [1.0, 1.0, 1.0], [1.0, math.inf]])
def test_where_nothing_differs_nothing_is_expected(costs: list[float]) -> None:
    scale, rewards = RewardScale.of(np.array(costs))
    assert np.isfinite(rewards).all() and len(rewards) == len(costs)
    assert scale.expected_improvements(np.array([3.0]), np.array([1.0])) == [0.0]


@given(st.floats(-3, 3), st.floats(0.05, 2))
def test_the_expectation_is_that_of_many_draws(mean: float, deviation: float) -> None:
    scale, _ = RewardScale.of(COSTS)
    drawn = mean + deviation * np.random.default_rng(0).normal(size=200_000)
    cost = scale.least + scale.spread * (np.exp(-(drawn * scale.deviation + scale.mean)) - 0.1)
    sampled = np.maximum(scale.least - cost, 0.0).mean()
    expected = scale.expected_improvements(np.array([mean]), np.array([deviation]))[0]
    assert expected == pytest.approx(sampled, abs=3e-4)
    assert 0 <= expected <= 0.1 * scale.spread + 1e-12


def test_more_is_expected_of_what_is_better_or_less_known() -> None:
    scale, _ = RewardScale.of(COSTS)
    better = scale.expected_improvements(np.array([0.0, 1.0, 2.0]), np.full(3, 0.5))
    vaguer = scale.expected_improvements(np.zeros(3), np.array([0.1, 0.5, 1.0]))
    assert list(better) == sorted(better) and list(vaguer) == sorted(vaguer)
