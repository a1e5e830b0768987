"""The examples run as they stand."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, ROOT, without_ray


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_it_runs(example: Path) -> None:
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout


@pytest.mark.parametrize("space", ["shell.yaml", "python.yaml"])
def test_any_program_is_searched(space: str, tmp_path: Path) -> None:
    folder = tmp_path / "any_program"
    shutil.copytree(ROOT / "examples" / "any_program", folder)
    command = [sys.executable, "-m", "hpo", "search", "--space", space, "--trials", "6", "--format", "json"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**without_ray(), "PYTHONPATH": str(ROOT), "PATH": path}
    run = partial(subprocess.run, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=folder)
    done = run(command, env=environment)
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)["trials"]
    assert trials["failed"] == 0 and trials["complete"] >= 1 and sum(trials.values()) >= 6
    kept = list((folder / "studies").glob("*/artifacts/*/stdout.txt"))
    assert len(kept) == 6 and all("epoch 1: loss" in file.read_text() for file in kept)
