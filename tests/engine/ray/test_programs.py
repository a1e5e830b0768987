"""Programs as trials of a search, on real Ray."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo.errors import InputError, SpecError, StudyError, TrialsError
from hpo.study.study import Study
from hpo.study.trial import State
from tests.conftest import PATIENCE, ROOT, Run, without_ray
from tests.training.programs.conftest import MARK, eventually, processes

SCRIPT = """
import json, os, pathlib, sys, time
import hpo
lr, start = float(sys.argv[1]), int(os.environ["HPO_START_EPOCH"])
folder = pathlib.Path(os.environ["HPO_CHECKPOINT"])
assert (json.loads((folder / "done").read_text()) if start > 1 else 0) == start - 1
with open(f"began-{os.environ['HPO_TRIAL']}", "a") as file:
    file.write(f"{start} ")
for epoch in range(start, 10):
    time.sleep(float(os.environ.get("SECONDS_AN_EPOCH", 0)))
    (folder / "done").write_text(str(epoch))
    hpo.report(epoch=epoch, loss=lr + 1 / epoch)
"""


def document(run: Any, epochs: int = 9, **changes: Any) -> dict[str, Any]:
    command = {"run": run, **changes.pop("command", {})}
    return {
        "study": "program",
        "command": command,
        "training": {"epochs": epochs},
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}},
        "budget": {"trials": 5},
        **changes,
    }


@pytest.mark.usefixtures("ray_cluster")
def test_a_program_pauses_and_goes_on_from_its_checkpoint() -> None:
    Path("train.py").write_text(SCRIPT)
    command = {"resumes": True, "environment": {"PYTHONPATH": str(ROOT)}}
    result = hpo.search(
        document([sys.executable, "train.py", "{lr}"], command=command, scheduler={"name": "asha", "grace": 1})
    )
    trials = result.study.trials()
    assert [trial.state for trial in trials if trial.state is State.FAILED] == [], [trial.reason for trial in trials]
    began = {trial.number: Path(f"began-{trial.number}").read_text().split() for trial in trials}
    assert any(len(starts) > 1 for starts in began.values())
    for trial in trials:
        starts = list(map(int, began[trial.number]))
        assert starts[0] == 1 and starts == sorted(set(starts)), "each goes on where it was"
        assert list(trial.reports) == list(range(1, trial.epoch + 1))


@pytest.mark.usefixtures("ray_cluster")
def test_a_failure_shows_its_cause_and_its_log(hpo_: Run) -> None:
    run = ["sh", "-c", "echo about to fail; echo 'no such disk' >&2; exit 3"]
    with pytest.raises(TrialsError, match="ended with exit code 3 before its first report: no such disk"):
        hpo.search(document(run, budget={"trials": 2}))
    code, out, _ = hpo_("trials")
    assert code == 0 and "trial 0 failed: the program ended with exit code 3" in " ".join(out.split())
    code, out, _ = hpo_("log", "0")
    assert code == 0 and out == "--- stdout of trial 0\nabout to fail\n--- stderr of trial 0\nno such disk\n"
    code, out, _ = hpo_("log", "1", "--stream", "stderr", "--format", "json")
    assert json.loads(out) == {"trial": 1, "stderr": "no such disk\n"}
    code, _, err = hpo_("log", "9")
    assert code == 2 and "has no trial 9" in err


@pytest.mark.usefixtures("ray_cluster")
def test_what_is_stored_is_run_only_with_trust(hpo_: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo import plugins

    run = ["sh", "-c", 'echo "{{\\"loss\\": {lr}}}"']
    hpo.search(document(run, epochs=1, budget={"trials": 1}))
    monkeypatch.setattr(plugins, "_trusted", set())
    code, _, err = hpo_("resume", "--trials", "2")
    assert code == 2 and "and what a stored file names is run only if you say so: add --trust" in err
    assert "the command 'sh -c" in err and len(hpo.open_study().trials()) == 1
    assert "--trust" in hpo.open_study().command("resume")
    code, _, err = hpo_("resume", "--trials", "2", "--trust")
    assert code == 0 and len(hpo.open_study().trials()) == 2, err


@pytest.mark.usefixtures("ray_cluster")
def test_a_changed_script_is_refused_until_that_is_accepted() -> None:
    Path("train.sh").write_text('echo "{\\"loss\\": $1}"\n')
    asked = document("sh train.sh {lr}", epochs=1, budget={"trials": 1})
    hpo.search(asked)
    hpo.search({**asked, "budget": {"trials": 2}})
    Path("train.sh").write_text('echo "{\\"loss\\": 2}"\n')
    with pytest.raises(StudyError, match="'sh train.sh {lr}' has changed, in train.sh. Put that back"):
        hpo.search({**asked, "budget": {"trials": 3}})
    with pytest.raises(StudyError, match="was 'sh train.sh {lr}', is 'sh ./train.sh {lr}'"):
        hpo.search({**asked, "command": "sh ./train.sh {lr}", "budget": {"trials": 3}})
    result = hpo.search({**asked, "budget": {"trials": 3}}, accept_code=True)
    assert len(result.study.trials()) == 3


def test_what_is_not_there_is_told_before_anything_starts() -> None:
    with pytest.raises(InputError, match="the command 'nope {lr}' cannot be run: there is no program 'nope'"):
        hpo.search(document("nope {lr}"))
    assert not Path("studies").exists()
    with pytest.raises(SpecError, match="command.run: there is no program 'nope' on the PATH"):
        hpo.validate(document("nope {lr}"))
    with pytest.raises(SpecError, match="scheduler.name: 'pbt' lets a child go on with its parent's state"):
        hpo.validate(document("true {lr}", scheduler="pbt"))


def test_it_can_be_simulated() -> None:
    result = hpo.simulate(document("nope {lr}"), lambda config, epoch: ({"loss": config["lr"] / epoch}, 1.0))
    assert len(result.study.trials()) == 5 and result.study.spec.scheduler.name == "asha_stop"


@pytest.fixture
def hpo_(request: pytest.FixtureRequest) -> Run:
    """The command, beside the module of its name."""
    command: Run = request.getfixturevalue("hpo")
    return command


@pytest.mark.slow
def test_a_search_that_is_killed_leaves_no_program_and_goes_on() -> None:
    Path("train.py").write_text(SCRIPT)
    mark = uuid.uuid4().hex
    environment = {MARK: mark, "PYTHONPATH": str(ROOT), "SECONDS_AN_EPOCH": "0.5"}
    command = {"resumes": True, "environment": environment}
    asked = document(
        [sys.executable, "train.py", "{lr}"], command=command, scheduler={"name": "asha", "grace": 1, "eta": 3}
    )
    Path("space.yaml").write_text(json.dumps(asked))
    words = [sys.executable, "-m", "hpo", "search", "--space", "space.yaml"]
    run = {
        "env": {**without_ray(), "PYTHONPATH": str(ROOT)},
        "stderr": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
    }
    search: Any = subprocess.Popen(words, start_new_session=True, **run)  # type: ignore[call-overload]
    study = lambda: Study.open(Path("studies"), "program")  # noqa: E731
    assert eventually(lambda: Path("studies/program").exists())
    assert eventually(lambda: any(trial.epoch >= 2 for trial in study().trials())) and processes(mark)
    os.kill(search.pid, signal.SIGKILL)
    search.wait()
    assert eventually(lambda: not processes(mark, supervisors=True))
    before = {trial.number: trial.epoch for trial in study().trials()}
    time.sleep(0.1)
    done = subprocess.run(words, timeout=PATIENCE, check=False, **run)  # type: ignore[call-overload]
    assert done.returncode == 0
    trials = study().trials()
    assert len(trials) == 5 and not any(trial.state is State.FAILED for trial in trials)
    assert all(trial.epoch >= before.get(trial.number, 0) for trial in trials)
    assert all(list(trial.reports) == list(range(1, trial.epoch + 1)) for trial in trials)
    assert not processes(mark, supervisors=True)
