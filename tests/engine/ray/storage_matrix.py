"""Short real searches with every scheduler, in one storage: `python -m tests.engine.ray.storage_matrix PLACE DATABASE`.

It is a process of its own, in an empty folder, since the Ray of the other tests must not be disturbed. PLACE is `local`
(a Ray of this machine) or `cluster` (a head without CPUs and two nodes). DATABASE is a URL, or empty for journals. Each
study is searched twice, the second time with a larger budget. A line of JSON a scheduler goes to stdout.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

import hpo
from hpo.engine.ray.cluster import environment
from hpo.study.trial import State
from tests.conftest import squares

TRIALS, MORE = 4, 6
SCHEDULERS: Mapping[str, dict[str, Any]] = {
    "freeze_thaw": {},
    "asha": {},
    "hyperband": {},
    "asha_stop": {},
    "median": {"least": 1},
    "pbt": {"interval": 1},
    "none": {},
}


def document(scheduler: str, place: str) -> dict[str, Any]:
    """A search over a small MLP on the squares, which `main` writes."""
    return {
        "study": f"{scheduler}-{place}",
        "data": {"name": "npz", "path": "squares.npz", "validation": 0.25},
        "model": {"name": "mlp", "layers": 1, "width": 8},
        "training": {"epochs": 4, "batch_size": 32},
        "optimizer": {"name": "adam", "lr": 0.01},
        "parameters": {"optimizer.lr": {"min": 1e-4, "max": 0.1, "log": True}},
        "objective": {"metric": "accuracy"},
        "scheduler": {"name": scheduler, **SCHEDULERS[scheduler]},
        "resources": {"cpu": 1, "gpu": 0},
        "budget": {"trials": TRIALS},
    }


def outcome(scheduler: str, place: str, database: str | None) -> dict[str, Any]:
    """What became of one search and of its continuation."""
    started = time.monotonic()
    wanted = document(scheduler, place)
    result = hpo.search(wanted, database=database)
    before = [trial.to_json() for trial in result.study.trials()]
    again = hpo.search(wanted, database=database, trials=MORE)
    trials = again.study.trials()
    return {
        "scheduler": scheduler,
        "seconds": time.monotonic() - started,
        "states": sorted(trial.state.value for trial in trials),
        "began": sum(not trial.inherited for trial in trials),
        "complete": sum(trial.state is State.COMPLETE for trial in trials),
        "kept": [trial.to_json() for trial in trials[: len(before)]] == before,
        "whole": all(list(trial.reports) == list(range(trial.inherited + 1, trial.epoch + 1)) for trial in trials),
        "stored": all(again.study.artifacts.read(trial.number) is not None for trial in trials),
        "tracking": [result.tracking_problem, again.tracking_problem],
    }


@contextmanager
def connected(place: str) -> Iterator[None]:
    """Ray, of this machine or of several nodes."""
    if place == "local":
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
        return
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


def main(place: str, database: str) -> None:
    """Searches with every scheduler."""
    arrays: dict[str, np.ndarray] = {}
    for split, rows in (("train", 240), ("test", 60)):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = squares(rows, seed=rows)
    np.savez("squares.npz", **arrays)  # type: ignore[arg-type]
    with environment(), connected(place):
        for scheduler in SCHEDULERS:
            try:
                told = outcome(scheduler, place, database or None)
            except Exception as error:
                told = {"scheduler": scheduler, "error": f"{type(error).__name__}: {error}"}
            sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
