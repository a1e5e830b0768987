"""A search on a cluster of several nodes on this machine, in an empty folder.

`python -m tests.engine.ray.cluster_search` runs it.

It is a process of its own, since the Ray of the other tests must not be disturbed. There is a head without CPUs, and
two nodes with two CPUs and a pretended GPU each. In the middle of the search one of them is killed, and a third joins.
What the trials said is in `log.jsonl`, what the study says in `told.json`.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

from hpo import datasets, samplers, spec
from hpo.engine.ray import run as engine
from hpo.engine.ray.cluster import environment
from hpo.spec import Config
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import Metrics, TrialRecord
from hpo.training import Context, Report
from hpo.training.function import Snapshot
from tests.conftest import PATIENCE, data_summary, squares

TRIALS, SECONDS = 16, 0.2
HEALTH = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}
"""That a node was killed is known after two seconds and not after half a minute."""


def curve(config: Config, context: Context) -> Iterator[Report]:
    """As good as its learning rate is high; every epoch leaves a line that says where it was trained.

    An epoch lasts until every node that is there has work, whose first worker may take long to start.
    """
    visible = os.environ["CUDA_VISIBLE_DEVICES"]
    Path(f"works-{visible}").touch()
    for epoch in range(1, context.spec.training.epochs + 1):
        line = {"node": ray.get_runtime_context().get_node_id(), "visible": visible, "assigned": ray.get_gpu_ids()}
        with Path("log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        until = time.monotonic() + PATIENCE
        time.sleep(SECONDS)
        while not everybody_works() and time.monotonic() < until:
            time.sleep(SECONDS)
        yield Report(epoch, {"accuracy": config["optimizer.lr"] * epoch}, snapshot)


def everybody_works() -> bool:
    """Whether all nodes have trained something: two at first, three after the disturbance."""
    return len(list(Path.cwd().glob("works-*"))) == (3 if Path("disturbed").exists() else 2)


def snapshot() -> Snapshot:
    """Of no use, but whole."""
    rows = np.full((60, 3), 1 / 3, np.float32)
    return Snapshot({"w": np.zeros(1, np.float32)}, {"validation": rows, "test": rows})


class Disturbance:
    """An observer that does something after a number of reports."""

    def __init__(self, after: int, happens: Callable[[], None]) -> None:
        self._after, self._happens = after, happens

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        self._after -= 1
        if self._after == 0:
            self._happens()

    def trial_started(self, trial: TrialRecord) -> None: ...

    def trial_paused(self, number: int) -> None: ...

    def trial_resumed(self, number: int) -> None: ...

    def trial_ended(self, trial: TrialRecord) -> None: ...


def document() -> dict[str, Any]:
    """A search whose trials take half a GPU; the artifacts are beside the study, where all nodes see them."""
    arrays: dict[str, np.ndarray] = {}
    for split, rows in (("train", 240), ("test", 60)):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = squares(rows, seed=rows)
    np.savez("squares.npz", **arrays)  # type: ignore[arg-type]
    return {
        "study": "squares",
        "data": {"name": "npz", "path": "squares.npz", "validation": 0.25},
        "model": {"name": "mlp", "layers": 1, "width": 16},
        "training": {"epochs": 4, "batch_size": 32},
        "optimizer": {"name": "adam", "lr": 0.01},
        "parameters": {"optimizer.lr": {"min": 1e-4, "max": 0.1, "log": True}},
        "objective": {"metric": "accuracy"},
        "sampler": "random",
        "scheduler": {"name": "asha", "eta": 2},
        "resources": {"cpu": 0.5, "gpu": 0.5},
        "budget": {"trials": TRIALS},
    }


def main() -> None:
    """Starts the cluster, searches, and writes what happened."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH}
    )
    devices = count()

    def add_node() -> Any:
        return cluster.add_node(num_cpus=2, num_gpus=1, env_vars={"CUDA_VISIBLE_DEVICES": str(next(devices))})

    def disturb() -> None:
        cluster.remove_node(first, allow_graceful=False)
        add_node()
        Path("disturbed").touch()

    first, _ = add_node(), add_node()
    ray.init(address=cluster.address, log_to_driver=False)
    study = Study.create(Path("studies"), spec.load(document()), data_summary())
    study.writer.use(samplers.build(study.spec, 0))
    engine.run(
        study,
        curve,
        resources=study.study_spec.resources,
        left=Left(TRIALS),
        dataset=datasets.load(study.study_spec.data, Path("data"), 0),
        observers=[Disturbance(6, disturb)],
    )
    trials = [
        {**trial.to_json(), "stored": getattr(study.artifacts.read(trial.number), "epoch", None)}
        for trial in study.trials()
    ]
    Path("told.json").write_text(json.dumps(trials))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    with environment():
        main()
