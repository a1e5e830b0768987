import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.history.comparison import compared, ranked, resource
from tests.history.test_measured import measured


@given(st.lists(st.integers(1, 81), min_size=1, max_size=30), st.integers(1, 40))
def test_the_resource_is_the_last_that_enough_have_reached(lengths: list[int], least: int) -> None:
    trials = [measured({1: 0.5, length: 0.5}, number) for number, length in enumerate(lengths)]
    found = resource(trials, least)
    there = len(compared(trials, least))
    assert found in lengths
    assert there == sum(length >= found for length in lengths) >= min(least, len(lengths))
    assert sum(length > found for length in lengths) < least


def test_nobody_has_reached_anything() -> None:
    assert compared([], 3) == []
    with pytest.raises(ValueError, match="no trials"):
        resource([], 3)


def test_the_order_is_that_at_equal_resource() -> None:
    long = measured({1: 0.9, 27: 0.01}, number=0)
    others = [measured({1: value}, number) for number, value in [(1, 0.5), (2, 0.3), (3, 0.3)]]
    assert [trial.number for trial in ranked([long, *others], least=4)] == [2, 3, 1, 0]
    assert [trial.number for trial in ranked([long, *others], least=1)] == [0]


def test_feasible_beats_infeasible_then_the_smaller_violation_wins() -> None:
    rows = [
        (0, 0.9, {"a": -1.0, "b": 0.0}),
        (1, 0.1, {"a": 2.0, "b": -5.0}),
        (2, 0.0, {"a": 1.0, "b": 1.5}),
        (3, 0.0, {"a": math.inf}),
        (4, 0.8, {}),
    ]
    trials = [measured({1: value}, number, constraints=excess) for number, value, excess in rows]
    assert [trial.number for trial in ranked(trials, 5)] == [4, 0, 1, 2, 3]
