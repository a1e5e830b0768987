"""A search under Ray on several nodes of this machine, whose trials train nothing: what is left is the engine."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import hpo
from hpo.training import Context, Report
from hpo.training.function import Snapshot

_EPOCHS = 9


@dataclass(frozen=True)
class Nodes:
    """What a search on so many nodes, two trials at once on each, took."""

    nodes: int
    trials: int
    start: float
    """Seconds until the first trial began, the cluster being there."""
    seconds_a_trial: float
    """By the clock, from the start of the first trial to the end of the last."""
    driver: int
    """Bytes that the driver holds at the end, torch loaded."""
    worker: int
    """Bytes that the largest worker held."""


def objective(config: dict[str, Any], context: Context) -> Iterator[Report]:
    """A curve that takes no time, and predictions of the size of the data."""
    outputs = len(context.dataset.outputs)

    def snapshot() -> Snapshot:
        predictions = np.full((len(context.dataset.validation), outputs), 1 / outputs, np.float16)
        return Snapshot({"weights": np.zeros(4, np.float32)}, {"validation": predictions})

    first = 1 if context.resume is None else int(context.resume["epoch"]) + 1
    for epoch in range(first, context.spec.training.epochs + 1):
        accuracy = 1 - 1 / (1 + epoch) - config["optimizer.lr"]
        yield Report(epoch, {"accuracy": accuracy}, snapshot, lambda epoch=epoch: {"epoch": epoch})


def measure(nodes: int, trials: int, folder: Path) -> Nodes:
    """Starts a cluster and searches on it."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    from hpo.engine.ray.cluster import environment

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not find this file
    with environment():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        try:
            for _ in range(nodes - 1):
                cluster.add_node(num_cpus=2)
            began = datetime.now()
            with _watched() as seen:
                study = hpo.search(_document(trials), storage=folder, train=objective, address=cluster.address).study
        finally:
            cluster.shutdown()
    ended = study.record.get_trials(deepcopy=False)
    first = min(trial.datetime_start for trial in ended if trial.datetime_start)
    last = max(trial.datetime_complete for trial in ended if trial.datetime_complete)
    start, ran = (first - began).total_seconds(), (last - first).total_seconds()
    return Nodes(nodes, trials, start, ran / trials, _resident("self"), max(seen, default=0))


@contextmanager
def _watched() -> Iterator[list[int]]:
    """What the workers hold, every second."""
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            seen.extend(_workers())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _document(trials: int) -> dict[str, Any]:
    return {
        "study": "nodes",
        "data": {"name": "digits"},
        "model": {"name": "mlp", "width": 8},
        "training": {"epochs": _EPOCHS},
        "parameters": {"optimizer.lr": {"min": 1e-4, "max": 0.5, "log": True}},
        "sampler": "random",
        "scheduler": "asha",
        "budget": {"trials": trials},
        "resources": {"cpu": 1, "gpu": 0},
    }


def _workers() -> list[int]:
    """Bytes of each of the workers that train, which Ray names so."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_text().startswith("ray::Worker"):
                found.append(_resident(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def _resident(process: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)
