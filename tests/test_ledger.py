"""The ledger shows what its storage has, and the journal is the same file whoever flushes it."""

import resource
import signal
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from hpo.ledger import Journal, Ledger

RANGE = optuna.distributions.FloatDistribution(0, 1)
STEPS = st.lists(st.tuples(st.sampled_from(["new", "waiting", "param", "report", "attr", "system", "end", "pop"]),
                           st.integers(0, 9)), max_size=30)  # fmt: skip


def act(storage: optuna.storages.BaseStorage, study: int, step: str, place: int) -> None:
    """One write, to a trial that can be written to."""
    if step in ("new", "waiting"):
        waiting = optuna.trial.create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": {"x": 0.5}})
        storage.create_new_trial(study, waiting if step == "waiting" else None)
        return
    open_ones = [trial for trial in storage.get_all_trials(study, deepcopy=False) if not trial.state.is_finished()]
    if not open_ones:
        return
    trial = open_ones[place % len(open_ones)]
    match step:
        case "param" if not trial.params:
            storage.set_trial_param(trial._trial_id, "x", place / 10, RANGE)
        case "report":
            storage.set_trial_intermediate_value(trial._trial_id, place, place / 3)
        case "attr":
            storage.set_trial_user_attr(trial._trial_id, "a", place)
        case "system":
            storage.set_trial_system_attr(trial._trial_id, "b", [place])
        case "end":
            storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [place / 7])
        case "pop" if trial.state is TrialState.WAITING:
            assert storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)


def shown(storage: optuna.storages.BaseStorage, study: int) -> list[Any]:
    """All that a storage says of its trials, but for the times."""
    trials = storage.get_all_trials(study, deepcopy=False)
    return [
        (t.number, t.state, t.values, t.params, t.intermediate_values, t.user_attrs, t.system_attrs) for t in trials
    ]


@given(STEPS)
@settings(max_examples=50, deadline=None)
def test_a_ledger_shows_what_its_storage_has(steps: list[tuple[str, int]]) -> None:
    inner = InMemoryStorage()
    study = inner.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    inner.create_new_trial(study)
    ledger = Ledger(inner)
    for step, place in steps:
        act(ledger, study, step, place)
        assert shown(ledger, study) == shown(inner, study)
        for states in ((TrialState.WAITING,), (TrialState.RUNNING, TrialState.COMPLETE)):
            wanted = [trial.number for trial in inner.get_all_trials(study, states=states)]
            assert [trial.number for trial in ledger.get_all_trials(study, states=states)] == wanted
        assert ledger.get_n_trials(study) == inner.get_n_trials(study)


@given(STEPS, STEPS)
@settings(max_examples=50, deadline=None)
def test_its_log_names_what_has_changed(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    inner = InMemoryStorage()
    study = inner.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    for step, place in before:
        act(inner, study, step, place)
    ledger = Ledger(inner)
    trials, log = ledger.log(study)
    assert list(trials) == inner.get_all_trials(study) and list(log) == list(range(len(trials)))
    for step, place in after:
        known, told = list(trials), len(log)
        act(ledger, study, step, place)
        assert ledger.log(study) == (trials, log)  # the same lists, brought up to date
        assert list(trials) == inner.get_all_trials(study)
        others = set(range(len(known))) - set(log[told:])
        assert all(trials[number] is known[number] for number in others)
        assert set(range(len(known), len(trials))) <= set(log[told:])


def test_a_trial_that_has_not_changed_is_the_same_object(tmp_path: Path) -> None:
    ledger = Ledger(JournalStorage(Journal(str(tmp_path / "j"))))
    study = ledger.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    one, other = ledger.create_new_trial(study), ledger.create_new_trial(study)
    before = ledger.get_all_trials(study, deepcopy=False)
    ledger.set_trial_user_attr(one, "a", 1)
    after = ledger.get_all_trials(study, deepcopy=False)
    assert after[0] is not before[0]
    assert after[1] is before[1]
    assert ledger.get_trial(other) is after[1]
    with pytest.raises(KeyError):
        ledger.get_trial_id_from_study_id_trial_number(study, 2)


@given(st.lists(STEPS, max_size=4))
@settings(max_examples=30, deadline=None)
def test_what_is_flushed_together_is_the_same_journal(tmp_path_factory: pytest.TempPathFactory, blocks: Any) -> None:
    file = tmp_path_factory.mktemp("journal") / "j"
    storage = JournalStorage(Journal(str(file)))
    study = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    ledger = Ledger(storage)
    for block in blocks:
        before = file.read_bytes()
        with ledger.together():
            for step, place in block:
                act(ledger, study, step, place)
            assert file.read_bytes() == before
        assert shown(JournalStorage(JournalFileBackend(str(file))), study) == shown(ledger, study)
    assert not list(file.parent.glob("*.lock"))


def test_what_another_writes_before_comes_before(tmp_path: Path) -> None:
    mine = JournalStorage(Journal(str(tmp_path / "j")))
    study = mine.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    theirs = JournalStorage(JournalFileBackend(str(tmp_path / "j")))
    theirs.create_new_trial(study)
    with Ledger(mine).together():
        trial = mine.create_new_trial(study)
        mine.set_trial_user_attr(trial, "whose", "mine")
    theirs.create_new_trial(study)
    for storage in (mine, theirs, JournalStorage(JournalFileBackend(str(tmp_path / "j")))):
        assert [trial.user_attrs for trial in storage.get_all_trials(study)] == [{}, {"whose": "mine"}, {}]


def test_what_was_written_before_an_error_is_kept(tmp_path: Path) -> None:
    ledger = Ledger(JournalStorage(Journal(str(tmp_path / "j"))))
    study = ledger.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    with pytest.raises(RuntimeError), ledger.together():
        ledger.create_new_trial(study)
        raise RuntimeError
    assert JournalStorage(JournalFileBackend(str(tmp_path / "j"))).get_n_trials(study) == 1


def test_what_has_no_room_leaves_no_half_line(tmp_path: Path) -> None:
    """The disk is full from some byte on: the journal stays whole, and is gone on with when there is room."""
    journal = Journal(str(tmp_path / "journal.log"))
    journal.append_logs([{"op": 1}])
    before = (tmp_path / "journal.log").read_bytes()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.append_logs([{"op": 2, "text": "x" * 100}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "journal.log").read_bytes() == before
    journal.append_logs([{"op": 3}])
    assert list(Journal(str(tmp_path / "journal.log")).read_logs(0)) == [{"op": 1}, {"op": 3}]
