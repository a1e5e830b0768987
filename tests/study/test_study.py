import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from hpo import api, samplers, spec
from hpo.errors import StudyError
from hpo.schedulers import Decision
from hpo.spec import Budget, Config
from hpo.study.differences import differences
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import PATIENCE, Run, data_summary, finish, without_ray, without_rights


def test_a_study_is_read_back_from_disk(study: Study, tmp_path: Path) -> None:
    opened = Study.open(tmp_path / "studies", "squares")
    assert opened.spec == study.spec
    assert [trial.to_json() for trial in opened.trials()] == [trial.to_json() for trial in study.trials()]
    assert opened.data_summary.outputs == ("a", "b", "c")
    assert opened.data_summary.input_shape == (1, 8, 8)
    assert opened.id == study.id


def test_any_optuna_reads_the_journal(study: Study) -> None:
    storage = JournalStorage(JournalFileBackend(str(study.folder / "journal.log")))
    trials = optuna.load_study(study_name="squares", storage=storage).get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3 + [TrialState.PRUNED, TrialState.FAIL]
    assert set(trials[0].intermediate_values) == {1, 2, 3}
    assert set(trials[3].intermediate_values) == {1}
    assert trials[0].value == study.trial(0).value


def test_trial_zero_is_the_default_config(study: Study) -> None:
    assert study.trial(0).config == {"optimizer.lr": 0.01, "model.width": 16}


def test_the_reference_is_the_config_that_the_user_wrote_out(document: dict[str, Any], tmp_path: Path) -> None:
    study = Study.create(tmp_path / "studies", spec.load(document))
    assert study.reference == 0
    study.writer.ask(), study.writer.ask()
    assert study.reference == 0
    later = Study.create(tmp_path / "studies", spec.load({**document, "study": "later"}), earlier=study)
    assert later.reference == len(later.trials())
    document["parameters"]["training.batch_size"] = {"values": [16, 64]}  # 32, which is in its section, is none of them
    assert Study.create(tmp_path / "studies", spec.load({**document, "study": "in-part"})).reference is None


@pytest.mark.parametrize(
    ("budget", "alone"),
    [
        ({"trials": 9}, True),
        ({"trials": 9, "time_limit": "1h"}, False),
        ({"trials": 9, "epochs": 9}, False),
        ({}, True),
    ],
)
def test_what_is_left_says_whether_trials_alone_are_counted(study: Study, budget: dict[str, Any], alone: bool) -> None:
    assert study.spent().left(Budget.model_validate(budget)).by_trials == alone


def test_the_leaderboard_is_sorted_and_the_incumbent_is_at_full_resource(study: Study) -> None:
    values = [trial.value for trial in study.leaderboard()]
    assert values == sorted((v for v in values if v is not None), reverse=True)
    best = study.best()
    assert best is not None and best.state is State.COMPLETE
    assert study.trial(4).state is State.FAILED and study.trial(4).reason == "Traceback\nValueError: no"


def test_the_best_epoch_is_the_earliest_of_the_best_and_never_nan(document: dict[str, Any], tmp_path: Path) -> None:
    study = Study.create(tmp_path / "studies", spec.load(document), data_summary())
    number = study.writer.ask().number
    for epoch, value in enumerate([float("nan"), 0.5, 0.7, 0.7], start=1):
        study.writer.report(number, epoch, {"accuracy": value})
    trial = study.trial(number)
    assert (trial.best_epoch, trial.value, trial.epoch) == (3, 0.7, 4)


def test_a_diverged_trial_is_pruned_without_a_value(document: dict[str, Any], tmp_path: Path) -> None:
    study = Study.create(tmp_path / "studies", spec.load(document), data_summary())
    number = study.writer.ask().number
    study.writer.report(number, 1, {"accuracy": float("nan")})
    trial = study.writer.end(number, Outcome(State.PRUNED, "diverged"))
    assert (trial.state, trial.value, trial.reason) == (State.PRUNED, None, "diverged")
    assert study.leaderboard() == []


def test_a_second_study_of_the_name_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="exists already"):
        Study.create(tmp_path / "studies", study.spec, data_summary())
    assert [path.name for path in (tmp_path / "studies").iterdir()] == ["squares"]


def test_an_unknown_study_is_named(study: Study, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study 'square' .* Did you mean 'squares'"):
        Study.open(tmp_path / "studies", "square")
    with pytest.raises(StudyError, match="no studies yet"):
        Study.open(tmp_path / "nothing", "square")


def test_what_a_search_has_left_is_the_next_ones(study: Study, tmp_path: Path) -> None:
    running, paused = study.writer.ask(), study.writer.ask()
    study.writer.report(paused.number, 1, {"accuracy": 0.5})
    study.writer.pause(paused.number)
    again = Study.open(tmp_path / "studies", "squares")
    with again.hold.searching():
        left = again.writer.unfinished()
        assert [(trial.number, trial.state, trial.config) for trial in left] == [
            (5, State.RUNNING, running.config),
            (6, State.PAUSED, paused.config),
        ]
        assert (again.spent().trials, again.spent().epochs) == (5, study.spent().epochs)
        again.writer.report(5, 1, {"accuracy": 0.4})
        assert again.writer.end(5, Outcome(State.PRUNED, "enough")).reports == {1: {"accuracy": 0.4}}
    assert again.spent().trials == 6


def test_a_proposal_that_was_not_whole_is_made_again(study: Study, tmp_path: Path) -> None:
    study.writer.use(samplers.build(study.spec, 0))
    whole = study.writer.ask()
    journal = study.folder / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if '"op_code":5' in line)  # its last parameter
    journal.write_text("".join(lines[:last]))
    again = Study.open(tmp_path / "studies", "squares")
    with again.hold.searching():
        assert again.trial(whole.number).config != whole.config
        again.writer.use(samplers.build(again.spec, 0))
        assert [trial.config for trial in again.writer.unfinished()] == [whole.config]


def test_whether_it_is_searched_is_known(study: Study, tmp_path: Path) -> None:
    assert study.hold.searcher is None
    with study.hold.searching(told="told"):
        again = Study.open(tmp_path / "studies", "squares")
        assert again.hold.searcher == (f"process {os.getpid()} on {gethostname()}", "told")
    assert study.hold.searcher is None


def test_a_torn_last_line_is_cut_off_before_anything_is_appended(study: Study, tmp_path: Path) -> None:
    before = [trial.to_json() for trial in study.trials()]
    journal = study.folder / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:20])
    again = Study.open(tmp_path / "studies", "squares")
    with again.hold.searching():
        finish(again, 1.0, epochs=3)
    trials = Study.open(tmp_path / "studies", "squares").trials()
    assert [trial.to_json() for trial in trials[:5]] == before and len(trials) == 6


def test_json_has_no_nan(document: dict[str, Any], tmp_path: Path) -> None:
    made = Study.create(tmp_path / "studies", spec.load(document), data_summary())
    number = made.writer.ask().number
    made.writer.report(number, 1, {"accuracy": float("nan"), "nll": 1.0})
    assert made.trial(number).to_json()["reports"] == {"1": {"accuracy": None, "nll": 1.0}}


def test_one_search_at_a_time(study: Study, tmp_path: Path) -> None:
    again = Study.open(tmp_path / "studies", "squares")
    with study.hold.searching(), pytest.raises(StudyError, match="is being searched by another process"):
        again.hold.check_free()
    again.hold.check_free()
    with (
        study.hold.searching(),
        pytest.raises(StudyError, match="is being searched by another process"),
        again.hold.searching(),
    ):
        pass
    with again.hold.searching():
        pass


def test_differences_leave_out_budget_and_resources(document: dict[str, Any]) -> None:
    before = spec.load(document)
    document["budget"] = {"trials": 99}
    document["resources"] = {"cpu": 2}
    assert differences(before, spec.load(document)) == {}
    document["optimizer"]["lr"] = 0.02
    del document["parameters"]["model.width"]
    changed = differences(before, spec.load(document))
    assert changed["optimizer.lr"] == (before.optimizer.lr, 0.02)
    assert changed["parameters.model.width.min"][1] is None


@pytest.mark.parametrize("what", [".", "journal.log", "search.lock"])
def test_a_study_that_cannot_be_written_can_be_read(
    what: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hpo: Run, space: Path
) -> None:
    """As on a read-only mount, which `os.access` knows even for root."""
    place, access = study.folder / what, os.access
    (study.folder / "search.lock").touch()
    sentence = f"Error: study 'squares': '{place.relative_to(tmp_path)}' cannot be written (a read-only file system"
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and Path(path).absolute() != place)
    for command in (["search", "--space", str(space)], ["resume"], ["gc"]):
        code, out, err = hpo(*command)
        assert (code, out) == (2, "") and err.startswith(sentence), err
    for command in (["trials"], ["best"], ["studies"], ["gc", "--dry-run"]):
        assert hpo(*command)[0] == 0


@pytest.mark.usefixtures("ray_cluster")
def test_a_storage_folder_is_none_where_python_looks_for_modules(
    study: Study, hpo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study's folder with an `__init__.py` would be a package to whatever imports a module of its name."""
    monkeypatch.chdir(study.folder.parent)
    predict = ["predict", "--ensemble", "a", "--input", "a"]
    for command in (["trials"], ["studies"], ["gc"], ["ensemble"], ["resume"], ["ui"], predict):
        code, _, told = hpo(*command, "--storage", ".")
        assert code == 2 and "is a folder where Python looks for modules" in told, command
    monkeypatch.chdir(study.folder.parent.parent)
    assert hpo("trials")[0] == 0
    monkeypatch.syspath_prepend(study.folder.parent)
    assert hpo("trials")[0] == 2


def test_what_gives_a_study_power_elsewhere_names_it_where_there_are_several(study: Study, hpo: Run) -> None:
    """Which one was touched last can be changed by whoever can write to one of them."""
    assert hpo("gc", "--artifacts", "elsewhere", "--dry-run")[0] == 0  # there is one alone
    shutil.copytree(study.folder, study.folder.parent / "other")
    for command in ("resume --trust", "ensemble --trust", "ensemble --register a", "gc --artifacts a"):
        code, _, told = hpo(*command.split())
        assert code == 2 and "is a wish for one study, and 'studies' has 2: name it" in told, command


def test_commands_that_would_write_to_a_storage_of_another_user_are_refused(hpo: Run, space: Path) -> None:
    assert hpo("search", "--space", str(space), "--trials", "1")[0] == 0
    before = [] if os.getuid() else without_rights()  # root may write everywhere

    def run(*arguments: str) -> tuple[int, str, str]:
        command = [*before, sys.executable, "-m", "hpo", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=without_ray())
        return done.returncode, done.stdout, done.stderr

    places = [Path("studies"), *Path("studies").rglob("*")]
    for place in places:
        place.chmod(place.stat().st_mode & ~0o222)
    try:
        code, out, err = run("trials")
        assert (code, err) == (0, "") and "complete" in out
        for command in (["search", "--space", str(space), "--trials", "2"], ["resume", "--trials", "2"], ["gc"]):
            code, out, err = run(*command)
            assert (code, out) == (2, "") and "Traceback" not in err, err
            assert err.startswith("Error: study 'squares': 'studies/squares' cannot be written (a read-only file")
            assert err.count("\n") == 1
    finally:
        for place in places:
            place.chmod(place.stat().st_mode | 0o200)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mlflow.db", "'mlflow.db' is a name of MLflow's own files in the storage folder; choose another"),
        ("MLflow-artifacts", "'MLflow-artifacts' is a name of MLflow's own files"),
        ("mlflow.db-wal", "is a name of MLflow's own files"),
        ("end.", "must not end in '.', which some file systems leave out, got 'end.'"),
        (".", "must be letters, digits, '.', '_' and '-', beginning with a letter or digit, got '.'"),
        ("a/b", "must be letters, digits, '.', '_' and '-', beginning with a letter or digit, got 'a/b'"),
    ],
)
def test_a_study_has_a_folder_of_its_own(name: str, message: str, hpo: Run, space: Path, tmp_path: Path) -> None:
    code, out, err = hpo("search", "--space", str(space), "--study", name)
    assert (code, out) == (2, "") and message in err and "Traceback" not in err
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("epochs: 3", "epochs: 9", "training.epochs was 3, is 9"),
        ("  lr: 0.01", "  lr: 0.02", "optimizer.lr was 0.01, is 0.02"),
        ("trials: 4", "trials: 40", "budget.trials was 4, is 40"),
        ("metric: accuracy", "metric: nll", "objective.0 was ('accuracy', 'maximize'), is ('nll', 'minimize')"),
    ],
)
def test_a_spec_that_was_edited_by_hand_is_told(study: Study, hpo: Run, old: str, new: str, told: str) -> None:
    file = study.folder / "spec.yaml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    for command in ("trials", "resume", "ensemble", "best", "gc"):
        code, out, err = hpo(command)
        assert (code, out) == (2, "")
        assert f"study 'squares': 'studies/squares/spec.yaml' was changed after the study was made: {told}. Put" in err
    file.write_text(f"# of the squares\n{text}\n")  # which says the same
    assert hpo("trials")[0] == 0


def test_a_study_that_kept_no_spec_in_its_record_opens(study: Study, hpo: Run) -> None:
    """As release 0.1 made them: neither checksums nor a format nor what belongs to the study."""
    file = study.folder / "journal.log"
    lines = [line for line in file.read_text().splitlines() if '"spec":' not in line and '"format":' not in line]
    file.write_text("".join(f"{re.sub(',.check.:.[0-9a-f]{8}.}$', '}', line)}\n" for line in lines))
    (study.folder / "spec.yaml").write_text((study.folder / "spec.yaml").read_text().replace("trials: 4", "trials: 5"))
    opened = Study.open(study.folder.parent, "squares")
    assert [trial.to_json() for trial in opened.trials()] == [trial.to_json() for trial in study.trials()]
    assert opened.code == () and opened.spec.budget.trials == 5
    with opened.hold.searching():
        assert opened.writer.ask().number == 5


def test_a_child_inherits_what_the_state_that_it_was_lent_has_seen(document: dict[str, Any], tmp_path: Path) -> None:
    """Its parent trained on after it was chosen, and has stored a later state since."""
    study = Study.create(tmp_path / "studies", spec.load({**document, "scheduler": "pbt"}), data_summary())
    for _ in range(2):
        finish(study, 1.0, epochs=3)
    study.artifacts.save_state(0, {"number": 0, "epoch": 2, "state": {"w": torch.zeros(1)}})
    with study.hold.searching():
        child = study.writer.bear(study.trial(0).config, parent=0, epoch=1, replaces=1)
        assert child.inherited == 2 and study.trial(child.number).inherited == 2
        same = study.writer.bear(study.trial(0).config, parent=0, epoch=2, replaces=1)
        assert same.inherited == 2
    study.artifacts.drop_state(child.number)  # as if the search had died before the state was lent
    study.artifacts.save_state(0, {"number": 0, "epoch": 1, "state": {"w": torch.zeros(1)}})
    again = Study.open(study.folder.parent, "squares")
    with again.hold.searching():
        assert {trial.number: trial.inherited for trial in again.writer.unfinished()} == {
            child.number: 1,
            same.number: 2,
        }


def _memory_spec(scheduler: str) -> dict[str, Any]:
    return {
        "study": "squares",
        "training": {"epochs": 6},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": {"name": "pbt", "interval": 2} if scheduler == "pbt" else scheduler,
        "budget": {"trials": 8},
    }


def _loss(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    return {"loss": config["x"] / epoch}, 1.0


def _in_a_loop(wanted: dict[str, Any]) -> None:
    with api.ask_and_tell(wanted, storage=None) as search:
        while (trial := search.ask()) is not None:
            for epoch in range(max(1, trial.epoch + 1), 7):
                if search.report(trial, epoch, _loss(trial.config, epoch)[0]) is not Decision.CONTINUE:
                    break


@pytest.mark.parametrize("scheduler", ["none", "pbt"])
@pytest.mark.parametrize(
    "searched",
    [
        lambda wanted: api.simulate(wanted, _loss, workers=4),
        lambda wanted: api.plan(wanted, _loss, workers=(4,)),
        _in_a_loop,
    ],
    ids=["simulate", "plan", "ask_and_tell"],
)
def test_a_study_in_memory_touches_no_folder_of_its_name(
    searched: Callable[[dict[str, Any]], object],
    scheduler: str,
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(study.folder.parent)  # where the folder of a study is ./NAME
    for number in range(8):
        study.artifacts.save_state(number, {"number": number, "epoch": 4, "state": {"w": torch.zeros(1)}})
    before = {path: path.stat().st_mtime_ns for path in study.folder.parent.rglob("*")}
    searched(_memory_spec(scheduler))
    assert {path: path.stat().st_mtime_ns for path in study.folder.parent.rglob("*")} == before


def test_a_child_in_memory_inherits_what_its_parent_had(tmp_path: Path) -> None:
    """No state lies in the folder of that name, whatever is there."""
    found = api.simulate(_memory_spec("pbt"), _loss, workers=4).study.trials()
    children = [trial for trial in found if trial.inherited]
    assert children and all(trial.lineage and trial.inherited % 2 == 0 for trial in children)


def test_a_study_in_memory_has_no_folder() -> None:
    made = Study.in_memory(spec.load_search(_memory_spec("none")))
    assert made.is_in_memory and made.is_there and made.hold.searcher is None and made.artifacts.files() == {}
    assert made.command("resume") == "hpo resume --study squares"
    with pytest.raises(StudyError, match="study 'squares' is in memory: it has no folder"):
        assert made.folder
    with pytest.raises(StudyError, match="was simulated: it has no data"):
        assert made.data_summary
    with pytest.raises(StudyError, match="is in memory"), made.hold.held():
        pass
    with pytest.raises(OSError, match="keeps no files"):
        made.artifacts.save_state(0, {"epoch": 1})


@pytest.mark.parametrize("seconds", [10**400, float("nan"), float("inf"), -1.0, "1", [1], True])
def test_gpu_seconds_that_are_none_are_damage(seconds: object, study: Study, hpo: Run) -> None:
    study.record.set_user_attr("gpu_seconds", seconds)
    with pytest.raises(StudyError, match="is damaged: its 'gpu_seconds' is no number of seconds"):
        Study.open(study.folder.parent, "squares").spent()


@pytest.mark.parametrize(
    "kept",
    [
        {"name": "a:b", "files": [1]},
        {"name": "a:b", "files": {"a.py": 3}},
        {"name": "a:b", "files": "a.py"},
        {"name": ["a"], "files": {}},
        {"files": {}},
        [3],
        "a:b",
    ],
)
def test_code_that_is_none_is_damage(kept: object, study: Study) -> None:
    study.record.set_user_attr("code", [{"objective": None, "model": kept}])
    with pytest.raises(StudyError, match="is damaged: what it has of the code"):
        assert Study.open(study.folder.parent, "squares").code


def test_a_record_of_todays_format_has_a_spec(study: Study, hpo: Run) -> None:
    """Else a changed `spec.yaml` would go unnoticed where the record's own was taken out."""
    study.record.set_user_attr("spec", None)
    code, _, told = hpo("trials")
    assert code == 2 and "study 'squares': its record in 'studies/squares' is damaged: its spec is no mapping" in told


@pytest.mark.parametrize("directions", ["[]", "[1]", "[2,2]"])
def test_a_record_of_other_objectives_is_damage(directions: str, study: Study, hpo: Run) -> None:
    journal = study.folder / "journal.log"
    text = re.sub(r',"check":"[0-9a-f]{8}"', "", journal.read_text())
    assert '"directions":[2]' in text
    journal.write_text(text.replace('"directions":[2]', f'"directions":{directions}'))
    code, _, told = hpo("best")
    assert code == 2 and "study 'squares': its record in 'studies/squares' is damaged: it has other objectives" in told
