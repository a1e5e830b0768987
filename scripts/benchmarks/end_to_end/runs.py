"""A run is a whole command in a fresh process: the hand-written script or `hpo search`, timed from outside."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_LOST = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "RAY_ADDRESS")
"""What would send a peer somewhere else."""

HAND = "by hand"
PEERS: dict[str, Sequence[str]] = {
    HAND: (),
    "hpo": (),
    "hpo, tpe + asha_stop": ("--set", "sampler=tpe", "--set", "scheduler=asha_stop"),
}
"""Peer -> arguments beside those that all have. The last one makes the decisions that the script makes."""


@dataclass(frozen=True)
class Budget:
    """What every run may use."""

    trials: int
    epochs: int


@dataclass(frozen=True)
class Run:
    """What a run took and found."""

    peer: str
    seed: int
    seconds: float
    """On the wall, from the start of the command to its end."""
    trials: int
    epochs: int
    """That all trials together were trained."""
    validation: float
    """The best accuracy of any trial at any epoch on validation rows."""
    test: float
    """Of that checkpoint on the test rows."""


def run(peer: str, seed: int, data: Path, budget: Budget) -> Run:
    """Runs a peer in an empty folder, which is removed.

    Raises:
        RuntimeError: it failed.
    """
    import evaluation  # Ray and torch: --help need not wait for them

    with tempfile.TemporaryDirectory(prefix="end-to-end-") as scratch:
        folder = Path(scratch)
        command = _by_hand(seed, data, budget, folder) if peer == HAND else _hpo(peer, seed, data, budget, folder)
        environment = {key: value for key, value in os.environ.items() if key not in _LOST}
        started = time.monotonic()
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        if done.returncode != 0:
            raise RuntimeError(f"{peer} failed: {done.stderr[-2000:]}")
        if peer == HAND:
            found = evaluation.of_script(json.loads(done.stdout.splitlines()[-1]), data)
        else:
            found = evaluation.of_study(folder / "studies", data)
    return Run(peer, seed, seconds, found.trials, found.epochs, found.validation, found.test)


def _by_hand(seed: int, data: Path, budget: Budget, folder: Path) -> list[str]:
    command = [sys.executable, str(_HERE / "by_hand.py"), "--data", str(data), "--seed", str(seed)]
    return [*command, "--trials", str(budget.trials), "--epochs", str(budget.epochs), "--folder", str(folder)]


def _hpo(peer: str, seed: int, data: Path, budget: Budget, folder: Path) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "hpo",
        "search",
        "--space",
        str(_HERE / "search.yaml"),
        "--storage",
        str(folder / "studies"),
    ]
    command += ["--trials", str(budget.trials), "--seed", str(seed), "--concurrency", "2", "--format", "json"]
    return [*command, "--set", f"data.path={data}", "--set", f"training.epochs={budget.epochs}", *PEERS[peer]]
