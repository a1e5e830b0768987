"""The product as it is used: `hpo.search` with its journal and MLflow on. Started by the benchmark."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import curve
import numpy as np
from peer import finish

import hpo
from hpo.training import Context, Report
from hpo.training.function import Snapshot


def objective(config: dict[str, Any], context: Context) -> Iterator[Report]:
    """The curve, with a checkpoint of four weights and predictions of the real size of the data."""
    curve.trial()
    named = {name.removeprefix("optimizer."): value for name, value in config.items()}
    outputs = len(context.dataset.outputs)

    def snapshot() -> Snapshot:
        predictions = np.full((len(context.dataset.validation), outputs), 1 / outputs, np.float16)
        return Snapshot({"weights": np.zeros(4, np.float32)}, {"validation": predictions})

    first = 1 if context.resume is None else int(context.resume["epoch"]) + 1
    for epoch in range(first, context.spec.training.epochs + 1):
        metrics = {"accuracy": curve.report(named, epoch)}
        yield Report(epoch, metrics, snapshot, lambda epoch=epoch: {"epoch": epoch})


def main() -> None:
    """Searches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sampler")
    parser.add_argument("--scheduler")
    options = parser.parse_args()
    space = {
        "study": "overhead",
        "data": {"name": "digits"},
        "model": {"name": "mlp", "width": 8},
        "training": {"epochs": curve.EPOCHS},
        "parameters": {
            f"optimizer.{name}": {"min": low, "max": high, "log": True} for name, (low, high) in curve.RANGES.items()
        },
        "budget": {"trials": options.trials},
        "resources": {"cpu": 1, "gpu": 0},
        "seed": options.seed,
    }
    chosen = {"sampler": options.sampler, "scheduler": options.scheduler}
    space |= {key: name for key, name in chosen.items() if name is not None}
    result = hpo.search(space, storage=options.folder / "studies", train=objective, concurrency=2)
    finish(trials=sum(result.to_json()["trials"].values()), problem=result.tracking_problem)


if __name__ == "__main__":
    main()
