"""The cached storage shows what its storage has, and the journal is the same file whoever flushes it."""

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

from hpo.errors import StudyError
from hpo.study.storage.cached import CachedStorage
from hpo.study.storage.journal import Journal, mend
from hpo.study.study import Study

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
@settings(max_examples=50)
def test_a_ledger_shows_what_its_storage_has(steps: list[tuple[str, int]]) -> None:
    inner = InMemoryStorage()
    study = inner.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    inner.create_new_trial(study)
    cached = CachedStorage(inner)
    for step, place in steps:
        act(cached, study, step, place)
        assert shown(cached, study) == shown(inner, study)
        for states in ((TrialState.WAITING,), (TrialState.RUNNING, TrialState.COMPLETE)):
            wanted = [trial.number for trial in inner.get_all_trials(study, states=states)]
            assert [trial.number for trial in cached.get_all_trials(study, states=states)] == wanted
        assert cached.get_n_trials(study) == inner.get_n_trials(study)


@given(STEPS, STEPS)
@settings(max_examples=50)
def test_its_log_names_what_has_changed(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    inner = InMemoryStorage()
    study = inner.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    for step, place in before:
        act(inner, study, step, place)
    cached = CachedStorage(inner)
    trials, log = cached.log(study)
    assert list(trials) == inner.get_all_trials(study) and list(log) == list(range(len(trials)))
    for step, place in after:
        known, told = list(trials), len(log)
        act(cached, study, step, place)
        assert cached.log(study) == (trials, log)  # the same lists, brought up to date
        assert list(trials) == inner.get_all_trials(study)
        others = set(range(len(known))) - set(log[told:])
        assert all(trials[number] is known[number] for number in others)
        assert set(range(len(known), len(trials))) <= set(log[told:])


def test_a_trial_that_has_not_changed_is_the_same_object(tmp_path: Path) -> None:
    cached = CachedStorage(JournalStorage(Journal(str(tmp_path / "j"))))
    study = cached.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    one, other = cached.create_new_trial(study), cached.create_new_trial(study)
    before = cached.get_all_trials(study, deepcopy=False)
    cached.set_trial_user_attr(one, "a", 1)
    after = cached.get_all_trials(study, deepcopy=False)
    assert after[0] is not before[0]
    assert after[1] is before[1]
    assert cached.get_trial(other) is after[1]
    with pytest.raises(KeyError):
        cached.get_trial_id_from_study_id_trial_number(study, 2)


@given(st.lists(STEPS, max_size=4))
@settings(max_examples=30)
def test_what_is_flushed_together_is_the_same_journal(tmp_path_factory: pytest.TempPathFactory, blocks: Any) -> None:
    file = tmp_path_factory.mktemp("journal") / "j"
    storage = JournalStorage(Journal(str(file)))
    study = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    cached = CachedStorage(storage)
    for block in blocks:
        before = file.read_bytes()
        with cached.together():
            for step, place in block:
                act(cached, study, step, place)
            assert file.read_bytes() == before
        assert shown(JournalStorage(JournalFileBackend(str(file))), study) == shown(cached, study)
    assert not list(file.parent.glob("*.lock"))


def test_what_another_writes_before_comes_before(tmp_path: Path) -> None:
    mine = JournalStorage(Journal(str(tmp_path / "j")))
    study = mine.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    theirs = JournalStorage(JournalFileBackend(str(tmp_path / "j")))
    theirs.create_new_trial(study)
    with CachedStorage(mine).together():
        trial = mine.create_new_trial(study)
        mine.set_trial_user_attr(trial, "whose", "mine")
    theirs.create_new_trial(study)
    for storage in (mine, theirs, JournalStorage(JournalFileBackend(str(tmp_path / "j")))):
        assert [trial.user_attrs for trial in storage.get_all_trials(study)] == [{}, {"whose": "mine"}, {}]


def test_what_was_written_before_an_error_is_kept(tmp_path: Path) -> None:
    cached = CachedStorage(JournalStorage(Journal(str(tmp_path / "j"))))
    study = cached.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    with pytest.raises(RuntimeError), cached.together():
        cached.create_new_trial(study)
        raise RuntimeError
    assert JournalStorage(JournalFileBackend(str(tmp_path / "j"))).get_n_trials(study) == 1


def test_a_lock_that_is_removed_while_it_is_held_is_told(tmp_path: Path) -> None:
    cached = CachedStorage(JournalStorage(Journal(str(tmp_path / "j"))))
    study = cached.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    with pytest.raises(StudyError, match=r"j\.lock' was removed while this command wrote"), cached.together():
        cached.create_new_trial(study)
        next(tmp_path.glob("*.lock")).unlink()


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


# ---- lines that are not as they were written -------------------------------------------------------------------------


def written(folder: Path, blocks: list[list[tuple[str, int]]]) -> Path:
    """A journal in a study's folder, each block flushed at once."""
    file = folder / "squares" / "journal.log"
    file.parent.mkdir()
    cached = CachedStorage(JournalStorage(Journal(str(file))))
    study = cached.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    for block in [[("new", 0), ("param", 3), ("report", 1)], *blocks, [("new", 0), ("end", 0)]]:
        with cached.together():
            for step, place in block:
                act(cached, study, step, place)
    return file


def opened(file: Path) -> list[Any]:
    """What a fresh process reads."""
    storage = JournalStorage(Journal(str(file)))
    return shown(storage, 0) if storage.get_all_studies() else []


@given(st.lists(STEPS, max_size=3), st.sampled_from(["remove", "alter", "swap", "double"]), st.data())
@settings(max_examples=60)
def test_a_line_that_is_missing_altered_or_moved_is_told(
    tmp_path_factory: pytest.TempPathFactory, blocks: Any, damage: str, data: Any
) -> None:
    file = written(tmp_path_factory.mktemp("journal"), blocks)
    lines = file.read_bytes().splitlines(keepends=True)
    place = data.draw(st.integers(0, len(lines) - 2))
    damaged = {
        "remove": lines[:place] + lines[place + 1 :],
        "alter": [*lines[:place], lines[place].replace(b'"op_code":', b'"op_code": '), *lines[place + 1 :]],
        "swap": [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]],
        "double": [*lines[: place + 1], *lines[place:]],
    }[damage]
    file.write_bytes(b"".join(damaged))
    number = place + (2 if damage == "double" else 1)
    with pytest.raises(StudyError, match=rf"study 'squares': line {number} of '.*journal.log' is not as it was writ"):
        opened(file)
    file.write_bytes(b"".join(damaged[: number - 1]))  # the way out
    assert opened(file) is not None


def test_a_changed_value_is_told_before_any_trial_is_read(study: Study) -> None:
    file = study.folder / "journal.log"
    lines = file.read_text().splitlines(keepends=True)
    number = next(place for place, line in enumerate(lines) if '"param_name"' in line)
    lines[number] = lines[number].replace('"param_value_internal":', '"param_value_internal":1')
    file.write_text("".join(lines))
    message = f"line {number + 1} of '.*' is not as it was written.*sed -i '{number + 1},\\$d' "
    with pytest.raises(StudyError, match=message):
        Study.open(study.folder.parent, "squares").trials()


def test_lines_without_a_checksum_are_read_as_they_are(tmp_path: Path) -> None:
    """Release 0.1 wrote none, and neither does optuna-dashboard; what comes after them is checked with them."""
    file = tmp_path / "journal.log"
    old = CachedStorage(JournalStorage(JournalFileBackend(str(file))))
    study = old.create_new_study([optuna.study.StudyDirection.MINIMIZE], "s")
    act(old, study, "new", 0)
    mine = JournalStorage(Journal(str(file)))
    act(mine, study, "report", 1)
    act(old, study, "attr", 2)
    act(mine, study, "end", 0)
    plain = JournalStorage(JournalFileBackend(str(file)))
    assert opened(file) == shown(mine, study) == shown(plain, study)
    assert opened(file)[0][1:3] == (TrialState.COMPLETE, [0.0])
    lines = file.read_bytes().splitlines(keepends=True)
    assert [b'"check":' in line for line in lines] == [False, False, True, False, True]
    file.write_bytes(b"".join([*lines[:3], lines[3].replace(b'"a":2', b'"a":3'), *lines[4:]]))
    with pytest.raises(StudyError, match="line 5 "):
        opened(file)


def test_a_torn_last_line_is_no_altered_one(tmp_path: Path) -> None:
    file = written(tmp_path, [])
    whole = opened(file)
    content = file.read_bytes()
    for cut in range(1, len(content.splitlines(keepends=True)[-1])):
        file.write_bytes(content[:-cut])
        assert opened(file)[0][:2] == (0, TrialState.RUNNING)
    mend(file.parent)
    again = JournalStorage(Journal(str(file)))
    again.set_trial_state_values(0, TrialState.COMPLETE, [0.0])
    assert opened(file) == whole
