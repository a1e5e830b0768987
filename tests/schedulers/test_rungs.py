import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.schedulers.rungs import bracket_sizes, halvings, rungs, turns

BRACKETS, ETA = st.integers(1, 6), st.integers(2, 5)


@given(st.integers(1, 500), st.integers(1, 500), ETA)
def test_rungs_multiply_by_eta_and_end_at_the_full_resource(first: int, second: int, eta: int) -> None:
    grace, epochs = sorted((first, second))
    ladder = rungs(epochs, grace, eta)
    assert ladder[-1] == epochs
    assert all(following == rung * eta for rung, following in pairwise(ladder[:-1]))
    assert ladder[0] == min(grace, epochs)
    assert list(ladder) == sorted(set(ladder))
    assert len(ladder) == 1 or ladder[-2] * eta >= epochs  # none is left out


def test_no_rung_is_lost_to_rounding() -> None:
    assert rungs(243, 1, 3) == (1, 3, 9, 27, 81, 243)


@pytest.mark.parametrize(("grace", "eta"), [(0, 3), (10, 3), (1, 1), (1.5, 3), (True, 3), (1, 2.5)])
def test_settings_out_of_range_are_refused(grace: int, eta: int) -> None:
    with pytest.raises((TypeError, ValueError), match="grace|eta"):
        rungs(9, grace, eta)


def test_brackets_are_as_large_as_in_the_paper() -> None:
    assert bracket_sizes(5, 3) == (81, 34, 15, 8, 5)  # Li et al. 2018, table 1


@given(BRACKETS, ETA)
def test_brackets_get_about_equal_training(brackets: int, eta: int) -> None:
    sizes = bracket_sizes(brackets, eta)
    exact = [Fraction(brackets, s + 1) * eta**s for s in range(brackets - 1, -1, -1)]
    assert list(sizes) == [math.ceil(size) for size in exact]
    assert list(sizes) == sorted(sizes, reverse=True)


@given(BRACKETS, ETA)
def test_in_a_cycle_every_bracket_gets_exactly_its_share(brackets: int, eta: int) -> None:
    sizes = bracket_sizes(brackets, eta)
    cycle = turns(sizes)
    assert [cycle.count(bracket) for bracket in range(brackets)] == list(sizes)


@given(st.integers(1, 5), ETA)
def test_no_bracket_is_ever_a_whole_turn_off_its_share(brackets: int, eta: int) -> None:
    """Up to five brackets, which is 81 epochs at eta 3; eight are up to 1.3 turns late."""
    sizes = bracket_sizes(brackets, eta)
    cycle, total = turns(sizes), sum(sizes)
    for bracket, size in enumerate(sizes):
        taken = 0
        for turn, chosen in enumerate(cycle, start=1):
            taken += chosen == bracket
            assert abs(size * turn - total * taken) < total


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_any_shares_are_kept(sizes: list[int]) -> None:
    cycle = turns(sizes)
    assert [cycle.count(bracket) for bracket in range(len(sizes))] == sizes


def test_turns_alternate() -> None:
    assert turns((1,)) == (0,)
    assert turns((2, 2)) == (0, 1, 0, 1)
    assert turns((3, 1)) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    ("epochs", "ladder"),
    [(52, (3, 6, 13, 26, 52)), (27, (3, 6, 13, 27)), (9, (2, 4, 9)), (4, (2, 4)), (3, (3,)), (1, (1,))],
)
def test_freeze_thaw_pauses_at_halves_of_the_full_resource(epochs: int, ladder: tuple[int, ...]) -> None:
    assert halvings(epochs) == ladder


def test_an_eta_that_would_take_for_ever_to_multiply_is_refused() -> None:
    with pytest.raises(ValueError, match="eta must be at most 1,000, got 10,000,000"):
        rungs(9, 1, 10**400)
