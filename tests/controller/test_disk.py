import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo import api, spec
from hpo.controller.disk import DiskBudget, Freed, collect
from hpo.ensemble.model import Ensemble
from hpo.errors import InputError, StudyError
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import data_summary, finish
from tests.test_release import MADE as RELEASE

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


# ---- the budget ------------------------------------------------------------------------------------------------------


def test_the_weakest_goes_first_and_only_as_much_as_is_needed(empty: Study) -> None:
    numbers = [leave(empty, 10, worth) for worth in (0.3, 0.9, 0.1, 0.5, None, 0.7)]
    budget = DiskBudget(empty, 40 * KB, members=2)
    assert budget.used == 60 * KB
    assert budget.evict() == Freed(20 * KB, (numbers[4], numbers[2]))
    assert budget.used == 40 * KB and budget.problem is None and budget.evict() == Freed()
    assert stored(empty) == {numbers[place] for place in (0, 1, 3, 5)}
    assert empty.artifacts.evicted() == {numbers[4], numbers[2]}


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


# ---- clearing up -----------------------------------------------------------------------------------------------------


def test_nothing_is_removed_in_a_dry_run(study: Study) -> None:
    study.artifacts.save_state(0, {"epoch": 1})
    before = study.artifacts.files()
    freed = collect(study, keep=2)
    assert len(freed.trials) == 2 and freed.leftovers == ("00000/state.pt",) and freed.bytes > 0
    assert study.artifacts.files() == before
    assert collect(study, keep=2, dry_run=False) == freed
    assert collect(study, keep=2) == Freed()
    assert sum(map(sum, (files.values() for files in before.values()))) - freed.bytes == sum(
        sum(files.values()) for files in study.artifacts.files().values()
    )


def test_what_an_ensemble_and_the_next_search_need_stays(study: Study) -> None:
    result = api.build_ensemble(method="greedy", top=3, storage=study.folder.parent)
    running = study.writer.ask().number
    study.artifacts.save_state(running, {"epoch": 1})
    best = study.best()
    assert best is not None
    collect(study, keep=0, dry_run=False)
    assert stored(study) == {best.number, running} and "state.pt" in study.artifacts.trial(running).files()
    assert Ensemble(result.folder).task == "classification"
    assert len(study.leaderboard()) == 4


def test_older_epochs_and_drafts_are_leftovers(study: Study) -> None:
    best = study.best()
    assert best is not None
    trial = study.artifacts.trial(best.number)
    for name in ("epoch-0001/checkpoint.safetensors", ".state.pt.0a", "epoch-0009/validation.npy"):
        trial.write(name, b"0" * 100)
    freed = collect(study, dry_run=False)
    assert freed.bytes == 300 and len(freed.leftovers) == 3 and freed.trials == ()
    kept = study.artifacts.read(best.number)
    assert kept is not None and kept.epoch == 3


def test_half_made_folders_go_after_a_day(study: Study) -> None:
    storage = study.folder.parent
    old, fresh, other = (storage / name for name in (f".a.{'0' * 32}", f".b.{'1' * 32}", ".hidden"))
    draft = study.folder / "ensembles" / f".c.{'2' * 32}"
    for folder in (old, fresh, other, draft):
        folder.mkdir(parents=True)
        (folder / "spec.yaml").write_text("study: a")
    for folder in (old, other, draft):
        for path in (folder / "spec.yaml", folder):
            os.utime(path, (time.time() - 90_000,) * 2)
    freed = collect(study, dry_run=False)
    assert freed.leftovers == (str(old), str(draft)) and freed.bytes == 16
    assert not old.exists() and not draft.exists() and fresh.exists() and other.exists()


def test_a_study_that_is_searched_is_left_alone(study: Study) -> None:
    again = Study.open(study.folder.parent, "squares")
    with again.hold.searching(), pytest.raises(StudyError, match="is being searched"):
        collect(study, dry_run=False)
    with again.hold.searching():
        assert collect(study) == Freed()


def test_a_number_below_zero_is_refused(study: Study) -> None:
    with pytest.raises(InputError, match="0 or more, got -1"):
        collect(study, keep=-1)


def test_what_was_freed_is_said_in_a_sentence() -> None:
    assert str(Freed(20_000_000_000, (1, 2), ("a",))) == "20.0GB: what 2 trials had stored, and 1 leftovers"


def test_trials_evicted_are_named_by_the_ensemble(study: Study) -> None:
    for skill in (1.2, 0.8):
        finish(study, skill, epochs=3)
    collect(study, keep=2, dry_run=False)
    result = api.build_ensemble(method="greedy", top=2, storage=study.folder.parent)
    assert sum("its artifacts were evicted" in line for line in result.skipped) == 4


def test_a_place_that_is_refused_leaves_a_study_of_before_as_it_was(tmp_path: Path) -> None:
    """It is not brought to today's format by a command that then does nothing."""
    shutil.copytree(RELEASE, tmp_path / "studies")
    study = Study.open(tmp_path / "studies", "before")
    (tmp_path / "elsewhere").mkdir()
    places = {"artifacts": str(tmp_path / "elsewhere"), "database": None}
    (study.folder / "places.json").write_text(json.dumps(places))
    before = {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()}
    with pytest.raises(StudyError, match="is not proven to be this study's"):
        collect(Study.open(tmp_path / "studies", "before"), dry_run=False)
    assert {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()} == before
