"""One run, in a process of its own: prints its epochs, its peak memory and its seconds as a line of JSON.

python scripts/benchmarks/training/run.py '{"variant": "hpo", "model": "convnet", "seed": 0, ...}'
"""

import json
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import loops
import numpy as np
import torch

from hpo import datasets, spec

VARIANTS: Mapping[str, loops.Loop] = {
    "tutorial": loops.tutorial,
    "tutorial, 2 workers": partial(loops.tutorial, workers=2),
    "tricks": loops.tricks,
    "tricks, compiled": partial(loops.tricks, compiled=True),
    "hpo": loops.product,
    "hpo, float32": loops.product,
    "hpo, compiled": loops.product,
}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "convnet": {"name": "convnet"},
    "resnet-20": {"name": "resnet", "depth": 20, "width": 16},
}


def document(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The search file of a run."""
    data = {"name": "npz", "path": wanted["data"], "validation": 0.1, "augment": ["random_crop", "horizontal_flip"]}
    training = {"epochs": wanted["epochs"], "batch_size": 128, "compile": wanted["variant"] == "hpo, compiled"}
    precision = "float32" if wanted["variant"] == "hpo, float32" else "auto"
    return {
        "study": "throughput",
        "data": data,
        "model": MODELS[wanted["model"]],
        "training": training | {"device": "cpu", "precision": precision},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine"},
        "parameters": {"optimizer.lr": {"min": 0.01, "max": 1.0}},
    }


def main() -> None:
    """Trains and prints."""
    started = time.perf_counter()
    wanted = json.loads(sys.argv[1])
    torch.set_num_threads(wanted["threads"])
    read = spec.load(document(wanted))
    dataset = datasets.load(read.data, Path("data"), read.seed)
    if wanted["rows"] is not None:
        dataset = replace(dataset, train=dataset.train.take(np.arange(min(wanted["rows"], len(dataset.train)))))
    worked = _cpu_seconds()
    epochs = [asdict(epoch) for epoch in VARIANTS[wanted["variant"]](read, dataset, wanted["seed"])]
    worked = _cpu_seconds() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measured = {"peak_mb": peak, "cpu_seconds": worked, "seconds": time.perf_counter() - started}
    print(json.dumps({"rows": len(dataset.train), "epochs": epochs, **measured}))


def _cpu_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    return sum(
        it.ru_utime + it.ru_stime for it in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
