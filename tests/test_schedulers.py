from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import spec
from hpo.schedulers import check, rungs


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("os:getcwd", "is not a ray.tune.schedulers.TrialScheduler"),
        ("builtins:dict", "refuses {}"),
        ({"name": "ray.tune.schedulers:ASHAScheduler", "foo": 1}, "refuses {'foo': 1}"),
        ("ray.tune.schedulers:HyperBandScheduler", "pauses trials, which cannot be resumed yet"),
    ],
)
def test_a_users_scheduler_is_tried_before_a_search(document: dict[str, Any], scheduler: Any, message: str) -> None:
    document["scheduler"] = scheduler
    (problem,) = check(spec.load(document))
    assert message in problem.message


@pytest.mark.parametrize("name", ["MedianStoppingRule", "FIFOScheduler", "ASHAScheduler"])
def test_rays_schedulers_that_stop_are_taken(document: dict[str, Any], name: str) -> None:
    document["scheduler"] = f"ray.tune.schedulers:{name}"
    assert list(check(spec.load(document))) == []


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
