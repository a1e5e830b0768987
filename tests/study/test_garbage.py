import json
import os
import shutil
import time
from pathlib import Path

import pytest

from hpo import api
from hpo.ensemble.model import Ensemble
from hpo.errors import InputError, StudyError
from hpo.study.garbage import Freed, collect
from hpo.study.study import Study
from tests.conftest import finish
from tests.test_release import MADE as RELEASE


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
    assert (
        set(study.artifacts.files()) == {best.number, running} and "state.pt" in study.artifacts.trial(running).files()
    )
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


def test_what_programs_have_printed_goes_with_their_trials(study: Study) -> None:
    for number in range(5):
        study.artifacts.trial(number).write("stdout.txt", b"told")
    freed = collect(study, keep=2, dry_run=False)
    kept = {number for number, files in study.artifacts.files().items() if "stdout.txt" in files}
    assert len(kept) == 2 and {*range(5)} - kept == set(freed.trials)
    assert not any(name.endswith("stdout.txt") for name in freed.leftovers)
