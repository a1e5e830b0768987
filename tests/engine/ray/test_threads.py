from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo.engine.ray.threads import Threads


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Clock:
    """Epochs of one CPU-minute of work, a share of which cannot be shared."""

    def __init__(self, alone: float, work: float = 60.0) -> None:
        self.now, self.alone, self.work = 0.0, alone, work

    def train(self, lent: Threads) -> int:
        with lent.of_an_epoch() as count:
            assert torch.get_num_threads() == count
            self.now += self.work * (self.alone + (1 - self.alone) / count)
        return count

    def perf_counter(self) -> float:
        return self.now


def counts(lent: Threads, clock: Clock, epochs: int) -> list[int]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hpo.engine.ray.threads.time.perf_counter", clock.perf_counter)
        return [clock.train(lent) for _ in range(epochs)]


def test_a_trial_has_its_own_until_it_is_allowed_more() -> None:
    lent, clock = Threads(2), Clock(alone=0.1)
    assert counts(lent, clock, 2) == [2, 2]
    lent.allow(16)
    assert counts(lent, clock, 4) == [4, 8, 16, 16]
    lent.allow(3)
    assert counts(lent, clock, 3) == [2, 3, 3]
    lent.allow(1)
    assert counts(lent, clock, 2) == [2, 2]


def test_more_that_are_not_faster_are_given_up() -> None:
    lent, clock = Threads(1), Clock(alone=0.6)
    lent.allow(8)
    assert counts(lent, clock, 6) == [1, 2, 4, 8, 4, 4]  # 1, 0.8, 0.7 and 0.65 of the seconds


def test_an_epoch_that_is_trained_once_more_has_as_many_as_before() -> None:
    lent = Threads(1)
    with lent.of_an_epoch(exactly=3) as count:
        assert count == torch.get_num_threads() == 3
    assert counts(lent, Clock(alone=0.0), 1) == [1]


def test_what_an_objective_sets_itself_stays() -> None:
    lent = Threads(1)
    with lent.of_an_epoch():
        torch.set_num_threads(3)
    with lent.of_an_epoch() as count:
        assert (count, torch.get_num_threads()) == (1, 3)


def test_epochs_that_take_no_time_need_no_more() -> None:
    lent = Threads(1)
    lent.allow(8)
    assert counts(lent, Clock(alone=0.0, work=0.05), 3) == [1, 1, 1]


@given(st.integers(1, 4), st.lists(st.integers(0, 64), max_size=20), st.floats(0, 1))
def test_they_are_never_fewer_than_its_own_nor_more_than_allowed(own: int, allowed: list[int], alone: float) -> None:
    lent, clock = Threads(own), Clock(alone)
    for most in allowed:
        lent.allow(most)
        assert own <= counts(lent, clock, 1)[0] <= max(own, most)
