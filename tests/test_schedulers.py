from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.schedulers import rungs


@given(st.integers(1, 500), st.integers(1, 500), st.integers(2, 5))
def test_rungs_multiply_by_eta_and_end_at_the_full_resource(first: int, second: int, eta: int) -> None:
    grace, epochs = sorted((first, second))
    ladder = rungs(epochs, grace, eta)
    assert ladder[-1] == epochs
    assert all(following == rung * eta for rung, following in pairwise(ladder[:-1]))
    assert ladder[0] == min(grace, epochs)
    assert list(ladder) == sorted(set(ladder))


def test_no_rung_is_lost_to_rounding() -> None:
    assert rungs(243, 1, 3) == (1, 3, 9, 27, 81, 243)


@pytest.mark.parametrize(("grace", "eta"), [(0, 3), (10, 3), (1, 1), (1.5, 3), (True, 3)])
def test_settings_out_of_range_are_refused(grace: int, eta: int) -> None:
    with pytest.raises((TypeError, ValueError), match="grace|eta"):
        rungs(9, grace, eta)
