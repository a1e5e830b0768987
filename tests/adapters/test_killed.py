"""Searches that are killed in their middle and go on: of the examples, and of a model that trains on several folds."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpo.study.folder import study_names
from hpo.study.study import Study
from tests.conftest import PATIENCE, ROOT, untimed, without_ray

EXAMPLES = ROOT / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("killed")]
KILLED = (
    "lightning_digits",
    "transformers_tokens",
    "xgboost_cancer",
    "lightgbm_cancer",
    "keras_digits",
    "skorch_digits",
    "autoencoder",
    "gan",
    "sklearn_pipeline",
)
"""The examples whose searches are killed."""
FOLDS = {
    "study": "folds",
    "task": "regression",
    "data": {"name": "diabetes"},
    "model": {"name": "mlp", "layers": 1, "width": 32},
    "training": {"epochs": 8, "batch_size": 32, "folds": 3, "seeds": 2},
    "optimizer": {"name": "adamw", "lr": 0.01},
    "parameters": {"optimizer.lr": {"min": 1e-4, "max": 0.1, "log": True}},
    "objective": {"metric": "rmse"},
    "budget": {"trials": 6},
    "resources": {"cpu": 1, "gpu": 0},
}
"""Six trainings of each config, side by side."""
PROGRAM = """
import json, sys
sys.path.append(sys.argv[1])
import hpo
from {module} import {name} as space
space |= {{"scheduler": {{"name": "asha", "grace": 1, "eta": 2}}, "sampler": "random"}}
if "model" not in space:
    space.setdefault("train", "{module}:train")
hpo.search(space, storage=sys.argv[2], concurrency=1)
"""
"""A search that decides alike each time: one trial at once, which pauses after epochs 1 and 2."""


def search(module: str, storage: Path) -> "subprocess.Popen[bytes]":
    name = "SPACE" if module in KILLED else "FOLDS"
    command = [sys.executable, "-c", PROGRAM.format(module=module, name=name), str(EXAMPLES), str(storage)]
    environment = without_ray() | {"PYTHONPATH": str(ROOT)}
    with Path("log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=EXAMPLES)


def reports(storage: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Config -> epoch -> metrics that do not depend on how fast the machine is."""
    if not storage.is_dir() or not study_names(storage):
        return {}
    trials = Study.open(storage, study_names(storage)[0]).trials()
    return {
        json.dumps(trial.config): {epoch: untimed(metrics) for epoch, metrics in trial.reports.items()}
        for trial in trials
    }


def count(found: dict[str, dict[int, Any]]) -> int:
    return sum(map(len, found.values()))


@pytest.mark.parametrize("module", [*KILLED, pytest.param(__name__, id="folds")])
def test_it_finds_what_it_would_have_found(module: str, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert search(module, whole).wait(PATIENCE) == 0, Path("log").read_text()
    expected = reports(whole)
    running = search(module, killed)
    deadline = time.monotonic() + PATIENCE
    while count(reports(killed)) < count(expected) / 2:
        assert running.poll() is None and time.monotonic() < deadline, Path("log").read_text()
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert count(reports(killed)) < count(expected), "it was killed in its middle"
    assert search(module, killed).wait(PATIENCE) == 0, Path("log").read_text()
    assert reports(killed) == expected
    if module != "sklearn_pipeline":  # which is fitted at once
        assert any(len(epochs) > 1 for epochs in expected.values()), "trials were paused and went on"
