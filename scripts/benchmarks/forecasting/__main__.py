"""Forecasts of a series beside the seasonal naive ones: `python scripts/benchmarks/forecasting --help`."""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import numpy as np
import torch

import hpo
from hpo import datasets
from hpo.datasets.dataset import Dataset
from hpo.ensemble.model import Ensemble
from hpo.spec import DataSettings
from hpo.tasks.kinds import kind

_PACKAGES = ("torch", "numpy")
_EPILOG = """
The first `--rows` rows are parted by time: 0.6 of them are trained on, 0.2 validate, 0.2 test. Each seed draws other
configs and weights. MASE is of all steps of all test windows; that of the seasonal naive forecast, each step as a
season before, is of the same windows. `covered` is the share of the test values that lie in the interval.

  python scripts/benchmarks/forecasting --data ETTh1.csv --target OT --time date --rows 14400 --horizons 24;96
"""


@dataclass(frozen=True)
class Run:
    """Errors on the test windows, of one horizon and one seed."""

    horizon: int
    seed: int
    naive: float
    single: float
    ensemble: float
    covered: float
    method: str


def main() -> None:
    """Searches once a seed and horizon, prints the table, writes the JSON."""
    options = _options()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        lines = options.data.read_text().splitlines(keepends=True)
        rows.write_text("".join(lines[: None if options.rows is None else options.rows + 1]))
        for horizon in options.horizons:
            for seed in range(options.seeds):
                runs.append(_run(options, rows, horizon, seed))
                print(runs[-1], file=sys.stderr, flush=True)
    print(f"{options.data.name}, test MASE and share of values in the interval, mean ± standard deviation of seeds")
    for horizon in options.horizons:
        own = [run for run in runs if run.horizon == horizon]
        shown = []
        for name in ("naive", "single", "ensemble", "covered"):
            values = np.array([getattr(run, name) for run in own])
            shown.append(f"{name} {values.mean():.3f} ± {values.std(ddof=len(own) > 1):.3f}")
        print(f"horizon {horizon}: {', '.join(shown)}")
    if options.json is not None:
        benchmark.write(options.json, "forecasting", _PACKAGES, runs)


def _run(options: argparse.Namespace, rows: Path, horizon: int, seed: int) -> Run:
    data = {
        "path": str(rows),
        "target": options.target,
        "time": options.time,
        "horizon": horizon,
        "window": options.window,
        "test": 0.2,
        "validation": 0.25,
    }
    space: dict[str, Any] = {
        "study": "forecast",
        "task": "forecasting",
        "data": data,
        "model": {"name": "linear_forecast"},
        "training": {"epochs": options.epochs, "batch_size": 128, "device": "cpu"},
        "optimizer": {"name": "adamw", "lr": 0.003, "schedule": "cosine"},
        "parameters": {
            "model.form": {"values": ["nlinear", "dlinear"]},
            "model.covariates": {"values": [False, True]},
            "model.dropout": {"min": 0.0, "max": 0.3},
            "optimizer.lr": {"min": 1e-4, "max": 0.01, "log": True},
            "optimizer.weight_decay": {"min": 1e-4, "max": 1.0, "log": True},
        },
        "budget": {"trials": options.trials},
        "seed": seed,
    }
    dataset = datasets.load(DataSettings.model_validate(data), Path("data"), seed, None, "forecasting")
    with tempfile.TemporaryDirectory() as storage:
        hpo.search(space, storage=storage)
        made = hpo.build_ensemble("forecast", storage=storage, level=options.level, select="score")
        low, high = Ensemble(made.folder).predict_interval(dataset.test.inputs.dense())
    truth = dataset.test.targets
    covered = float(((low <= truth) & (truth <= high)).mean())
    return Run(horizon, seed, _naive(dataset), made.best_single_test["mase"], made.test["mase"], covered, made.method)


def _naive(dataset: Dataset) -> float:
    """MASE of the seasonal naive forecast on the test windows."""
    series = dataset.encoding.series
    assert series is not None, "the data are series"
    past = dataset.test.inputs.dense()[:, -series.season :, 0]
    forecasts = past[:, np.arange(series.horizon) % series.season]
    task = kind("forecasting")
    task.layout = dataset.encoding.layout
    return task.measure(torch.from_numpy(forecasts), torch.from_numpy(dataset.test.targets))["mase"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="forecasting", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="the table of the series")
    parser.add_argument("--target", required=True, metavar="COLUMN", help="what is forecast")
    parser.add_argument("--time", required=True, metavar="COLUMN", help="when each row was")
    parser.add_argument("--rows", type=int, help="rows from the beginning that are used; all where not given")
    parser.add_argument("--window", type=int, default=96, help="steps that are forecast from (96)")
    parser.add_argument(
        "--horizons",
        type=lambda text: [int(each) for each in text.split(";")],
        default=[24, 96],
        metavar="STEPS",
        help="steps that are forecast, several with ; between them (24;96)",
    )
    parser.add_argument("--level", type=float, default=0.8, help="of the intervals (0.8)")
    parser.add_argument("--trials", type=int, default=12, help="of a search (12)")
    parser.add_argument("--epochs", type=int, default=9, help="of a trial (9)")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each horizon (3)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where figures are written to, with how they were made"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
