"""Ratings of items by users, beside the biases of both: `python scripts/benchmarks/ratings --help`."""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import numpy as np
from numpy.typing import NDArray

import hpo
from hpo import datasets, spec

_PACKAGES = ("torch", "numpy")
_SPACE = Path(__file__).parents[3] / "search_spaces" / "ncf_ratings.yaml"
_SHRINKAGE = 5.0
"""Ratings that each bias is taken to have of the mean beside its own."""
_FACTORS = {
    "model.factors": {"type": "int", "min": 4, "max": 64, "log": True},
    "model.dropout": {"min": 0.0, "max": 0.5, "default": 0.0},
    "optimizer.lr": {"min": 1e-3, "max": 0.03, "log": True, "default": 0.01},
    "optimizer.weight_decay": {"min": 0.03, "max": 3.0, "log": True},
}
_MODELS = {
    "matrix_factorization": {
        "model": {"name": "matrix_factorization", "factors": 32},
        "optimizer.lr": 0.01,
        "parameters": _FACTORS,
    },
    "neumf": {},
}
"""Model -> what is other than in the search file."""
_EPILOG = """
The search is that of search_spaces/ncf_ratings.yaml, or of matrix_factorization in its place. Each seed draws other
validation rows, configs and weights; the test rows stay: a fifth at random, or the latest fifth (`--split time`). The
best single trial and the ensemble are scored on the test rows, as `hpo ensemble` does it. The baseline is the mean of
the training and the validation rows plus the bias of the item and then that of the user, each drawn to 0 as by five
ratings of the mean.

  python scripts/benchmarks/ratings --data ratings.csv --model neumf --split random --trials 12 --seeds 2
"""


@dataclass(frozen=True)
class Run:
    """RMSE on the test rows, of one seed."""

    seed: int
    single: float
    ensemble: float
    biases: float


def main() -> None:
    """Searches once a seed, prints the table, writes the JSON."""
    options = _options()
    runs = []
    for seed in range(options.seeds):
        runs.append(_run(options, seed))
        print(f"seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
    print(
        f"{options.data.name}, {options.model}, split by {options.split}, test RMSE, mean ± standard deviation of"
        f" {len(runs)} seeds"
    )
    for name in ("single", "ensemble", "biases"):
        values = np.array([getattr(run, name) for run in runs])
        print(f"{name:>10} {values.mean():.4f} ± {values.std(ddof=len(runs) > 1):.4f}")
    if options.json is not None:
        benchmark.write(options.json, "ratings", _PACKAGES, runs)


def _run(options: argparse.Namespace, seed: int) -> Run:
    changed = {
        "study": "ratings",
        "data.path": str(options.data),
        "training.epochs": options.epochs,
        "budget": {"trials": options.trials},
        "seed": seed,
        **({"data.time": "timestamp"} if options.split == "time" else {}),
        **_MODELS[options.model],
    }
    search = spec.load_search(_SPACE, changed)
    with tempfile.TemporaryDirectory() as storage:
        hpo.search(search, storage=storage)
        made = hpo.build_ensemble("ratings", storage=storage)
    return Run(seed, made.best_single_test["rmse"], made.test["rmse"], _biases(search))


def _biases(search: spec.SearchSpec) -> float:
    assert isinstance(search, spec.StudySpec)
    dataset = datasets.of(search, Path("data"))
    train, test = dataset.train.joined(dataset.validation), dataset.test
    (users, items), ratings = train.inputs.astype(np.intp).T, train.targets[:, 0].astype(np.float64)
    mean = ratings.mean()
    of_items = _shrunk(items, ratings - mean)
    of_users = _shrunk(users, ratings - mean - of_items[items])
    users, items = test.inputs.astype(np.intp).T
    errors = mean + of_users[users] + of_items[items] - test.targets[:, 0]
    return float(np.sqrt(np.square(errors).mean()))


def _shrunk(codes: NDArray[np.intp], rests: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bias of each code, 0 of those without ratings."""
    counts, sums = np.bincount(codes, minlength=2**20), np.bincount(codes, rests, minlength=2**20)
    return np.where(np.arange(len(counts)) > 0, sums / (counts + _SHRINKAGE), 0.0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ratings", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="MovieLens' ratings.csv")
    parser.add_argument("--model", choices=list(_MODELS), default="neumf", help="which search (neumf)")
    parser.add_argument("--split", choices=["random", "time"], default="random", help="of the test rows (random)")
    parser.add_argument("--trials", type=int, default=24, help="of a search (24)")
    parser.add_argument("--epochs", type=int, default=10, help="of a trial (10)")
    parser.add_argument("--seeds", type=int, default=2, help="searches (2)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where figures are written to, with how they were made"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
