"""Searches over training functions of the user's own, on real Ray."""

import functools
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from rich.console import Console

import hpo
from hpo import spec as specs
from hpo.errors import HpoError, InputError, StudyError
from hpo.spec import Config
from hpo.study.artifacts.seal import Seal, canonical, claim
from hpo.study.differences import fixed_settings
from hpo.study.log import log_of
from hpo.study.study import Study
from hpo.study.trial import State
from hpo.training import Context as TrainingContext
from hpo.training import Report, TrialContext
from hpo.training import train as built_in
from tests.conftest import PATIENCE

GOAL = {"metric": "val_mse", "goal": "minimize"}
SPACE = {"study": "own", "objective": GOAL, "parameters": {"lr": {"min": 0.0, "max": 1.0}}, "seed": 3}


def steps(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
    """Falls a little each epoch, and keeps how far it has come."""
    state = context.resume or {"value": 1.0 + config["lr"], "epoch": 0}
    value = float(state["value"])
    for epoch in range(int(state["epoch"]) + 1, context.epochs + 1):
        value *= 0.5 + config["lr"] / 4
        context.save({"value": value, "epoch": epoch})
        yield {"val_mse": value, "hit@10": 1 - value, "begun": float(state["epoch"])}


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("scheduler", ["asha", "pbt"])
def test_metrics_and_parameters_have_any_names_and_trials_go_on_where_they_paused(
    tmp_path: Path, scheduler: str
) -> None:
    document = {**SPACE, "training": {"epochs": 9}, "scheduler": scheduler, "sampler": "random"}
    study = hpo.search(document, train=steps, trials=4, concurrency=1, storage=tmp_path / "studies").study
    trials = study.trials()
    assert all(trial.state in (State.COMPLETE, State.PRUNED) for trial in trials) and len(trials) >= 4
    assert any(metrics["begun"] > 0 for trial in trials for metrics in trial.reports.values()), "none was paused"
    for trial in trials:
        if not trial.inherited:
            expected = 1.0 + trial.config["lr"]
            for _, metrics in sorted(trial.reports.items()):
                expected *= 0.5 + trial.config["lr"] / 4
                assert metrics["val_mse"] == pytest.approx(expected)


@pytest.mark.usefixtures("ray_cluster")
def test_what_keeps_no_state_is_trained_again_and_reports_nothing_twice(tmp_path: Path) -> None:
    def forgets(config: Config) -> None:
        for epoch in range(1, 10):
            hpo.report(val_mse=config["lr"] / epoch)

    document = {**SPACE, "training": {"epochs": 9}, "scheduler": "asha", "sampler": "random"}
    study = hpo.search(document, train=forgets, trials=4, concurrency=1, storage=tmp_path / "studies").study
    assert all(trial.state in (State.COMPLETE, State.PRUNED) for trial in study.trials())
    for trial in study.trials():
        assert [*trial.reports] == [*range(1, trial.epoch + 1)]


@pytest.mark.usefixtures("ray_cluster")
def test_a_state_that_somebody_else_has_stored_is_not_taken_up(tmp_path: Path) -> None:
    document = {**SPACE, "training": {"epochs": 3}, "scheduler": "asha", "sampler": "random", "budget": {"trials": 2}}
    study = Study.create(tmp_path / "studies", specs.load_search({**document, "train": f"{__name__}:steps"}))
    number = study.writer.ask().number
    study.writer.report(number, 1, {"val_mse": 0.5})
    study.writer.pause(number)
    forged = {"context": {"epoch": 1, "saved": {"value": -9.0, "epoch": 1}, "tracked": None, "random": None}}
    study.artifacts.save_state(number, {"number": number, "epoch": 1, "best": None, "state": forged})
    console = Console(file=io.StringIO(), width=500)
    found = hpo.resume("own", train=steps, storage=tmp_path / "studies", console=console).study
    assert isinstance(console.file, io.StringIO)
    assert "begin again: their states are not proven to be stored by a search of yours" in console.file.getvalue()
    later = [report for epoch, report in found.trial(number).reports.items() if epoch > 1]
    assert later and all(report["begun"] == 0 and report["val_mse"] > 0 for report in later), "it began again"


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    "how", ["as it was", "of another trial", "of another config", "of other settings", "of another function"]
)
def test_a_proven_state_is_taken_up_by_its_own_trial_alone(how: str, tmp_path: Path) -> None:
    document = {**SPACE, "training": {"epochs": 3}, "scheduler": "asha", "sampler": "random", "budget": {"trials": 2}}
    read = specs.load_search({**document, "train": f"{__name__}:steps"})
    study = Study.create(tmp_path / "studies", read)
    trial = study.writer.ask()
    study.writer.report(trial.number, 1, {"val_mse": 0.5})
    study.writer.pause(trial.number)
    of = {"of another trial": (1, trial.config), "of another config": (0, {"lr": 0.9})}.get(how, (0, trial.config))
    kept = {"context": {"epoch": 1, "saved": {"value": 0.5, "epoch": 1}, "tracked": None, "random": None}}
    settings = fixed_settings(read) | ({"seed": 7} if how == "of other settings" else {})
    name = f"{__name__}:{'others' if how == 'of another function' else 'steps'}"
    seal = Seal.of(study.id, canonical([[read.train, (name, ""), None], "", settings]))
    saved = {"number": 0, "epoch": 1, "best": None, "state": kept}
    study.artifacts.sealed(seal).save_state(0, saved, claim(*of))
    found = hpo.resume("own", train=steps, storage=tmp_path / "studies").study
    later = [report["begun"] for epoch, report in found.trial(0).reports.items() if epoch > 1]
    assert later and set(later) == ({1.0} if how == "as it was" else {0.0})


@pytest.mark.usefixtures("ray_cluster")
def test_a_search_in_which_all_fail_raises_with_the_commonest_cause(tmp_path: Path) -> None:
    def broken(config: Config) -> float:
        print("so far so good")
        raise ZeroDivisionError("mine")

    place = rf"ZeroDivisionError: mine \({Path(__file__).name}:\d+, in broken\)"
    with pytest.raises(HpoError, match=rf"{place}; the study is kept: `.*log 0.*` shows a traceback.*--retry-failed"):
        hpo.search(SPACE, train=broken, trials=3, storage=tmp_path / "studies")
    study = hpo.open_study("own", tmp_path / "studies")
    kept = log_of(study, 0)
    assert kept["stdout"] == "so far so good\n" and kept["traceback"].startswith("Traceback (most recent call last)")

    def mended(config: Config) -> float:
        return 0.5

    again = hpo.resume("own", train=mended, retry_failed=True, storage=tmp_path / "studies").study
    assert [trial.value for trial in again.trials()] == [None] * 3 + [0.5] * 3, "nothing was trained by the other code"


@pytest.mark.usefixtures("ray_cluster")
def test_a_function_of_a_notebook_is_given_again_and_another_one_is_refused(tmp_path: Path) -> None:
    def local(config: Config) -> float:
        return float((config["lr"] - 0.25) ** 2)

    def other(config: Config) -> float:
        return float(config["lr"] * 2)

    storage = tmp_path / "studies"
    first = hpo.search(SPACE, train=local, trials=2, storage=storage)
    assert first.study.spec.train is not None and first.study.spec.train.endswith("<locals>.local")
    with pytest.raises(InputError, match="'tests.*<locals>.local' can only be given from Python, by train="):
        hpo.resume("own", storage=storage, trials=3)
    with pytest.raises(StudyError, match="was trained by other code: training function was .*local', is .*other'"):
        hpo.resume("own", storage=storage, trials=3, train=other)
    again = hpo.resume("own", storage=storage, trials=3, train=local)
    assert [trial.value for trial in again.study.trials()] == [
        (trial.config["lr"] - 0.25) ** 2 for trial in again.study.trials()
    ]
    assert hpo.reproduce(0, "own", storage=storage, train=local).reproduced


LOOP = """
import time
import torch
from torch import nn
import hpo

def train(config, context):
    torch.set_num_threads(1)
    inputs = torch.linspace(-1, 1, 64)[:, None]
    labels = (inputs[:, 0] > 0.2).long()
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    context.track(model=model, optimizer=optimizer)
    for epoch in range(context.start, context.epochs + 1):
        for rows in torch.randperm(64).split(16):
            loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        time.sleep(0.05)
        probabilities = model(inputs).softmax(1)
        context.predictions(probabilities, labels)
        context.predictions(probabilities, labels, split="test")
        yield {"val_nll": nn.functional.cross_entropy(model(inputs), labels)}

def predict(config, state, inputs):
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2))
    model.load_state_dict(state["model"])
    return model(torch.as_tensor(inputs, dtype=torch.float32)).softmax(1)
"""
YAML = """
study: {name}
train: own_sign:train
training: {{epochs: 9}}
objective: {{metric: val_nll, goal: minimize}}
parameters:
  lr: {{min: 0.001, max: 0.3, log: true}}
budget: {{trials: 5}}
seed: 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a loop, where the user stands."""
    (tmp_path / "own_sign.py").write_text(LOOP)
    for name in ("killed", "whole"):
        (tmp_path / f"{name}.yaml").write_text(YAML.format(name=name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    wanted = [sys.executable, "-m", "hpo", *arguments]
    return subprocess.run(wanted, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


def reports(study: str) -> dict[int, dict[int, Any]]:
    return {trial.number: dict(trial.reports) for trial in hpo.open_study(study).trials()}


@pytest.mark.xdist_group("own search")
def test_a_loop_of_ones_own_is_killed_goes_on_is_combined_and_predicts(project: Path) -> None:
    """The same trials, to the bit, as of a search that nobody kills; with one trial at once."""
    wanted = ("search", "--concurrency", "1", "--space")
    with Path("log").open("w") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "hpo", *wanted, "killed.yaml"], stdout=log, stderr=log, start_new_session=True
        )
        ends = time.monotonic() + PATIENCE
        while running.poll() is None and time.monotonic() < ends:
            if Path("studies/killed").is_dir() and sum(map(len, reports("killed").values())) >= 5:
                break
            time.sleep(0.1)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert running.returncode == -signal.SIGKILL, Path("log").read_text()
    for name in ("killed", "whole"):
        done = command(*wanted, f"{name}.yaml")
        assert done.returncode == 0, done.stderr
    assert reports("killed") == reports("whole")
    assert command("resume", "--study", "killed").returncode == 2, "its code is not trusted"
    done = command("ensemble", "--study", "killed", "--trust", "--method", "voting", "--format", "json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["test"]["accuracy"] > 0.9 and result["tracking_problem"] is None
    np.save("inputs.npy", np.array([[-0.9], [0.9]]))
    done = command("predict", "--ensemble", "killed-1", "--input", "inputs.npy", "--output", "-", "--trust")
    assert [line.split(",")[1] for line in done.stdout.split()[1:]] == ["0", "1"], done.stderr
    client = mlflow.MlflowClient(f"sqlite:///{project}/studies/mlflow.db")
    experiment = client.get_experiment_by_name("hpo")
    assert experiment is not None
    kinds = [run.data.tags.get("hpo.kind") for run in client.search_runs([experiment.experiment_id])]
    assert kinds.count("trial") == 10 and kinds.count("ensemble") == 1


@functools.wraps(built_in)
def wrapped(config: Config, context: TrainingContext) -> Iterator[Report]:
    """Has the name of the built-in training function, and is none."""
    for epoch in range(1, 4):
        begun = 0.0 if context.resume is None else float(context.resume["epoch"])
        yield Report(epoch, {"val_mse": 1 / epoch, "begun": begun}, state=functools.partial(dict, epoch=epoch))


@pytest.mark.usefixtures("ray_cluster")
def test_a_function_that_has_the_name_of_the_built_in_one_needs_proofs_too(tmp_path: Path) -> None:
    document = {**SPACE, "training": {"epochs": 3}, "scheduler": "asha", "sampler": "random", "budget": {"trials": 2}}
    read = specs.load_search({**document, "train": f"{__name__}:wrapped"})
    study = Study.create(tmp_path / "studies", read)
    number = study.writer.ask().number
    study.writer.report(number, 1, {"val_mse": 0.5})
    study.writer.pause(number)
    study.artifacts.save_state(number, {"number": number, "epoch": 1, "best": None, "state": {"epoch": 77}})
    found = hpo.resume("own", train=wrapped, storage=tmp_path / "studies").study
    begun = {report["begun"] for report in found.trial(number).reports.values() if "begun" in report}
    assert begun and 77.0 not in begun
