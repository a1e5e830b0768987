import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo import spec
from hpo.controller.disk import DiskBudget
from hpo.study.garbage import Freed
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import data_summary

KB = 1000


@pytest.fixture
def make(document: dict[str, Any], tmp_path: Path) -> Callable[[], Study]:
    """Studies of their own, without trials."""
    return lambda: Study.create(tmp_path / os.urandom(4).hex(), spec.load(document), data_summary())


@pytest.fixture
def empty(make: Callable[[], Study]) -> Study:
    return make()


def leave(study: Study, kilobytes: int, worth: float | None, state: State | None = State.PRUNED) -> int:
    """A trial with a file of so many bytes, which ends unless its state is None."""
    number = study.writer.ask().number
    if worth is not None:
        study.writer.report(number, 1, {"accuracy": worth})
    if kilobytes:
        study.artifacts.trial(number).write("epoch-0001/checkpoint.safetensors", b"0" * kilobytes * KB)
    if state is not None:
        study.writer.end(number, Outcome(state, "told"))
    return number


def stored(study: Study) -> set[int]:
    return set(study.artifacts.files())


def test_the_weakest_goes_first_and_only_as_much_as_is_needed(empty: Study) -> None:
    numbers = [leave(empty, 10, worth) for worth in (0.3, 0.9, 0.1, 0.5, None, 0.7)]
    budget = DiskBudget(empty, 40 * KB, members=2)
    assert budget.used == 60 * KB
    assert budget.evict() == Freed(20 * KB, (numbers[4], numbers[2]))
    assert budget.used == 40 * KB and budget.problem is None and budget.evict() == Freed()
    assert stored(empty) == {numbers[place] for place in (0, 1, 3, 5)}
    assert empty.artifacts.evicted() == {numbers[4], numbers[2]}


def test_of_equal_trials_those_stay_that_rank_first(empty: Study) -> None:
    for _ in range(12):
        leave(empty, 1, 0.5)
    DiskBudget(empty, 0, members=3).evict()
    assert stored(empty) == {trial.number for trial in empty.leaderboard()[:3]} == {0, 1, 2}


def test_the_incumbent_stays_where_pruned_trials_seem_better(empty: Study) -> None:
    complete = leave(empty, 10, 0.1, State.COMPLETE)
    others = [leave(empty, 10, 0.5 + worth / 10) for worth in range(3)]
    DiskBudget(empty, 20 * KB, members=1).evict()
    assert stored(empty) == {complete, others[-1]}


def test_a_search_stays_within_its_budget(empty: Study) -> None:
    budget = DiskBudget(empty, 45 * KB, members=2)
    for place in range(12):
        number = empty.writer.ask().number
        budget.trial_started(empty.trial(number))
        empty.artifacts.trial(number).write("epoch-0001/checkpoint.safetensors", b"0" * 10 * KB)
        empty.writer.report(number, 1, {"accuracy": (place * 7 % 12) / 12})
        budget.trial_reported(number, 1, {})
        budget.trial_ended(empty.writer.end(number, Outcome(State.PRUNED, "told")))
        assert budget.used == sum(sum(files.values()) for files in empty.artifacts.files().values()) <= 45 * KB
    best = {trial.number for trial in empty.leaderboard()[:2]}
    assert best <= stored(empty) and len(stored(empty)) == 4 and budget.problem is None


def test_what_runs_or_waits_is_never_removed_and_may_spend_the_budget(empty: Study) -> None:
    budget = DiskBudget(empty, 25 * KB, members=1)
    running, paused = leave(empty, 10, 0.1, state=None), leave(empty, 20, 0.2, state=None)
    budget.trial_started(empty.trial(running))
    budget.trial_reported(running, 1, {})
    empty.writer.pause(paused)
    budget.trial_paused(paused)
    ended = leave(empty, 10, 0.3)
    budget.trial_ended(empty.trial(ended))
    assert stored(empty) == {running, paused, ended}
    assert budget.problem == (
        "the disk budget of 25.0KB is spent: the best 1 trials and 2 that run or are paused take 40.0KB, and they"
        " must stay"
    )
    budget.trial_ended(empty.writer.end(paused, Outcome(State.PRUNED, "told")))
    assert stored(empty) == {running, ended} and budget.problem is None


def test_what_a_worker_wrote_late_is_counted_at_the_next_end(empty: Study) -> None:
    budget = DiskBudget(empty, 1000 * KB)
    late = leave(empty, 0, 0.1)
    budget.trial_ended(empty.trial(late))
    assert budget.used == 0
    empty.artifacts.trial(late).write("epoch-0001/checkpoint.safetensors", b"0" * 10 * KB)
    budget.trial_ended(empty.trial(leave(empty, 10, 0.2)))
    assert budget.used == 20 * KB


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    trials=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.none() | st.integers(0, 9),
            st.sampled_from([State.PRUNED, State.COMPLETE, State.FAILED, None]),
        ),
        max_size=12,
    ),
    limit=st.integers(0, 60),
    members=st.integers(0, 4),
)
def test_the_budget_holds_or_all_that_is_left_must_stay(
    make: Callable[[], Study],
    trials: list[tuple[int, int | None, State | None]],
    limit: int,
    members: int,
) -> None:
    study = make()
    for size, worth, state in trials:
        if worth is None and state is State.COMPLETE:
            state = State.PRUNED
        leave(study, size, None if worth is None else worth / 10, state)
    before = stored(study)
    live = {trial.number for trial in study.trials() if trial.state in (State.RUNNING, State.PAUSED)} & before
    best = {trial.number for trial in study.leaderboard() if trial.number in before - live}
    ranked = [trial.number for trial in study.leaderboard() if trial.number in best][:members]
    budget = DiskBudget(study, limit * KB, members)
    freed = budget.evict()
    left = stored(study)
    assert left | set(freed.trials) == before and not left & set(freed.trials)
    assert live <= left and set(ranked) <= left
    assert budget.used == sum(sum(files.values()) for files in study.artifacts.files().values())
    assert (budget.problem is None) == (budget.used <= limit * KB)
    if budget.problem:
        assert len(left) <= len(live) + members + 1
