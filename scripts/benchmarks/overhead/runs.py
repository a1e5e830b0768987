"""A run is one peer in a fresh process, timed from outside; its log says when the objective was asked for what."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import curve

_HERE = Path(__file__).parent
_LOST = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "RAY_ADDRESS")
"""What would send a peer somewhere else."""
_TIMEOUT = 3600


@dataclass(frozen=True)
class Peer:
    """How a peer is started; a slow one may run fewer trials."""

    command: Sequence[str]
    slow: bool = False


PEERS = {
    "hpo": Peer(["product.py"]),
    "hpo, tpe + asha_stop": Peer(["product.py", "--sampler", "tpe", "--scheduler", "asha_stop"]),
    "hpo, random + asha_stop": Peer(["product.py", "--sampler", "random", "--scheduler", "asha_stop"]),
    "Ray Tune": Peer(["ray_tune.py", "--trainable", "function"], slow=True),
    "Ray Tune, objective imports torch": Peer(["ray_tune.py", "--trainable", "torch"], slow=True),
    "Ray Tune, reuse_actors": Peer(["ray_tune.py", "--trainable", "reuse"]),
    "Optuna, n_jobs=1": Peer(["optuna_mlflow.py", "--jobs", "1"]),
    "Optuna, n_jobs=2": Peer(["optuna_mlflow.py", "--jobs", "2"]),
}


@dataclass(frozen=True)
class Run:
    """What one run took, in seconds of the clock on the wall."""

    peer: str
    repeat: int
    trials: int
    reports: int
    processes: int
    """In which the objective ran."""
    seconds: float
    """From the start of the process to its end."""
    start_up: float
    """Of these until the first trial began."""
    closing: float
    """Of these after the last report was made."""
    memory_mb: float
    """The most that the driver's process has held."""

    @property
    def per_trial(self) -> float:
        """All seconds by trials."""
        return self.seconds / self.trials

    @property
    def per_trial_started(self) -> float:
        """Seconds a trial after start-up; what is left to do at the end counts."""
        return (self.seconds - self.start_up) / self.trials

    @property
    def per_report(self) -> float:
        """Seconds a report after start-up; what is left to do at the end counts."""
        return (self.seconds - self.start_up) / self.reports


def run(name: str, trials: int, repeat: int) -> Run:
    """Runs a peer in an empty folder, which is removed.

    Raises:
        RuntimeError: it failed, or lost records.
    """
    peer = PEERS[name]
    with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
        folder = Path(scratch)
        log = folder / "log.txt"
        command = [sys.executable, str(_HERE / peer.command[0]), *peer.command[1:]]
        command += ["--trials", str(trials), "--seed", str(repeat), "--folder", scratch]
        environment = {key: value for key, value in os.environ.items() if key not in _LOST} | {curve.LOG: str(log)}
        begun, started = time.time(), time.monotonic()
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
        seconds = time.monotonic() - started
        told = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"problem": done.stderr[-2000:]}
        if told["problem"]:
            raise RuntimeError(f"{name} failed: {told['problem']}")
        if not log.exists():
            raise RuntimeError(f"{name} never asked its objective")
        lines = [line.split() for line in log.read_text().splitlines()]
    starts, reports = ([float(at) for event, at, _ in lines if event == wanted] for wanted in ("trial", "report"))
    return Run(
        peer=name,
        repeat=repeat,
        trials=told["trials"],
        reports=len(reports),
        processes=len({process for *_, process in lines}),
        seconds=seconds,
        start_up=min(starts) - begun,
        closing=begun + seconds - max(reports),
        memory_mb=told["memory_mb"],
    )
