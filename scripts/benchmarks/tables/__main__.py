"""A table as it comes, beside scikit-learn's gradient boosting: `python scripts/benchmarks/tables --help`."""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

import hpo
from hpo import datasets
from hpo.spec import DataSettings

_PACKAGES = ("torch", "scikit-learn", "numpy")

_WIDE = {
    "model.layers": {"type": "int", "min": 1, "max": 3},
    "model.width": {"type": "int", "min": 16, "max": 256, "log": True},
    "model.dropout": {"min": 0.0, "max": 0.5},
}
_MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mlp": ({"layers": 2, "width": 64}, _WIDE),
    "tabular_mlp": (
        {"layers": 2, "width": 64},
        {
            **_WIDE,
            "model.embedding": {"type": "int", "min": 2, "max": 16, "log": True},
            "model.numbers": {"values": ["plain", "piecewise", "periodic"]},
        },
    ),
    "ft_transformer": (
        {"layers": 2, "heads": 4, "head_width": 8},
        {
            "model.layers": {"type": "int", "min": 1, "max": 2},
            "model.heads": {"values": [2, 4, 8]},
            "model.head_width": {"values": [4, 8]},
            "model.attention_dropout": {"min": 0.0, "max": 0.4},
            "model.dropout": {"min": 0.0, "max": 0.4},
        },
    ),
}
"""Model -> its fixed settings, and its parameters."""
_EPILOG = """
Each seed draws other validation rows, configs and weights; the test rows stay. The best single trial and the ensemble
of the search are scored on the test rows, as `hpo ensemble` does it. Gradient boosting with its default settings is
fitted to the training and the validation rows together, and takes the same codes for categories.

  python scripts/benchmarks/tables --data titanic.csv --target survived --ignore alive --seeds 3
  python scripts/benchmarks/tables --data adult-train.csv --test adult-test.csv --no-header --target column_15
"""


@dataclass(frozen=True)
class Run:
    """Accuracies on the test rows, of one seed."""

    seed: int
    single: float
    ensemble: float
    boosting: float


def main() -> None:
    """Searches once a seed, prints the table, writes the JSON."""
    options = _options()
    runs = []
    for seed in range(options.seeds):
        runs.append(_run(options, seed))
        print(f"seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
    print(f"{options.data.name}, {options.model}, test accuracy, mean ± standard deviation of {len(runs)} seeds")
    for name in ("single", "ensemble", "boosting"):
        values = np.array([getattr(run, name) for run in runs])
        print(f"{name:>10} {values.mean():.4f} ± {values.std(ddof=len(runs) > 1):.4f}")
    if options.json is not None:
        benchmark.write(options.json, "tables", _PACKAGES, runs)


def _run(options: argparse.Namespace, seed: int) -> Run:
    data: dict[str, Any] = {
        "path": str(options.data),
        "target": options.target,
        "header": not options.no_header,
        "columns": dict.fromkeys(options.ignore, "ignore"),
        **({} if options.test is None else {"test": str(options.test)}),
    }
    space = {
        "study": "table",
        "data": data,
        "model": {"name": options.model, **_MODELS[options.model][0]},
        "training": {"epochs": options.epochs, "batch_size": options.batch},
        "optimizer": {"name": "adamw", "lr": 0.003, "schedule": "cosine"},
        "parameters": {
            **_MODELS[options.model][1],
            "optimizer.lr": {"min": 1e-4, "max": 0.03, "log": True},
            "optimizer.weight_decay": {"min": 1e-6, "max": 0.1, "log": True},
        },
        "budget": {"trials": options.trials},
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as storage:
        hpo.search(space, storage=storage)
        made = hpo.build_ensemble("table", storage=storage)
    return Run(seed, made.best_single_test["accuracy"], made.test["accuracy"], _boosting(data, seed))


def _boosting(data: dict[str, Any], seed: int) -> float:
    dataset = datasets.load(DataSettings.model_validate(data), Path("data"), seed)
    train, test = dataset.train.joined(dataset.validation), dataset.test
    categories = [bool(feature.categories) for feature in dataset.encoding.layout]
    fitted = HistGradientBoostingClassifier(categorical_features=categories, random_state=seed)
    return float(fitted.fit(train.inputs, train.targets).score(test.inputs, test.targets))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tables", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="the table")
    parser.add_argument("--test", type=Path, metavar="FILE", help="its test rows; a share of the table otherwise")
    parser.add_argument("--target", required=True, metavar="COLUMN", help="the column of the classes")
    parser.add_argument("--no-header", action="store_true", help="the first line names no columns")
    parser.add_argument("--ignore", action="append", default=[], metavar="COLUMN", help="a column that is not read")
    parser.add_argument("--model", choices=list(_MODELS), default="mlp", help="the network (mlp)")
    parser.add_argument("--trials", type=int, default=24, help="of a search (24)")
    parser.add_argument("--epochs", type=int, default=20, help="of a trial (20)")
    parser.add_argument("--batch", type=int, default=256, help="rows of a step (256)")
    parser.add_argument("--seeds", type=int, default=3, help="searches (3)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where figures are written to, with how they were made"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
