"""A study of several model families beside a study of each: `python scripts/benchmarks/families --help`."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import numpy as np

import hpo

MIXED = "mixed"
_PACKAGES = ("torch", "ray", "optuna", "numpy")
_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "resnet": {"model.resnet.width": {"type": "int", "min": 6, "max": 12, "log": True}},
    "convnet": {
        "model.convnet.width": {"type": "int", "min": 8, "max": 16, "log": True},
        "model.convnet.convolutions": {"type": "int", "min": 1, "max": 2},
    },
    "mlp": {
        "model.mlp.width": {"type": "int", "min": 64, "max": 256, "log": True},
        "model.mlp.layers": {"type": "int", "min": 1, "max": 3},
        "model.mlp.dropout": {"min": 0.0, "max": 0.5},
    },
}
"""Family -> what is searched of it."""
_FIXED = {"resnet": {"depth": 8}}
_EPILOG = """
Each seed draws other training images, validation rows, configs and weights; the test images stay. All studies have the
same number of trials, each of the same number of epochs, so that no scheduler gives one more than another. Ensembles
are built by one method of all trials of a study, and scored on the test images as `hpo ensemble` does it.

  python scripts/benchmarks/families --data cifar10.npz --images 2000 --seeds 5
"""


@dataclass(frozen=True)
class Run:
    """One study's results on the test images, and the families of its trials and members."""

    seed: int
    study: str
    single: float
    ensemble: float
    nll: float
    trials: Mapping[str, int]
    members: Mapping[str, int]


def main() -> None:
    """Searches each study once a seed, prints the table, writes the JSON after each."""
    options = _options()
    runs: list[Run] = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            data = some_images(options.data, Path(folder) / "some.npz", options.images, seed)
            for study in (MIXED, *options.families):
                runs.append(_run(options, study, data, seed, Path(folder) / "studies"))
                print(runs[-1], file=sys.stderr, flush=True)
                if options.json is not None:
                    benchmark.write(options.json, "families", _PACKAGES, runs)
    print(
        f"test accuracy and NLL, mean ± standard deviation of {options.seeds} seeds; gain of the mixed study's ensemble"
    )
    for study in (MIXED, *options.families):
        print(row(study, runs))


def row(study: str, runs: list[Run]) -> str:
    """A line of the table: the best single trial, the ensemble, and the mixed study's ensemble less this one."""
    own = [run for run in runs if run.study == study]
    mixed = {run.seed: run for run in runs if run.study == MIXED}
    gains = [100 * (mixed[run.seed].ensemble - run.ensemble) for run in own]
    parts = [_mean([run.single for run in own]), _mean([run.ensemble for run in own]), _mean([run.nll for run in own])]
    won = f"{np.mean(gains):+.1f} ± {np.std(gains, ddof=len(gains) > 1):.1f} points, {sum(gain > 0 for gain in gains)}"
    gain = "" if study == MIXED else f"  {won} of {len(own)} won"
    return f"{study:>8}  single {parts[0]}  ensemble {parts[1]}  nll {parts[2]}{gain}"


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=len(values) > 1):.4f}"


def space_of(study: str, data: Path, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The search file of a study of one family, or of all."""
    families = options.families if study == MIXED else [study]
    searched = {name: ranged for family in families for name, ranged in _FAMILIES[family].items()}
    return {
        "study": study,
        "data": {
            "path": str(data),
            "validation": 0.2,
            "augment": ["random_crop", "horizontal_flip"],
            "crop_padding": 2,
        },
        "model": {"name": families[0], **{family: _FIXED[family] for family in families if family in _FIXED}},
        "training": {"epochs": options.epochs, "batch_size": 64},
        "optimizer": {"name": "adamw", "schedule": "cosine"},
        "parameters": {
            **({"model.name": {"values": families}} if study == MIXED else {}),
            **searched,
            "optimizer.lr": {"min": 1e-3, "max": 1e-2, "log": True},
            "optimizer.weight_decay": {"min": 1e-5, "max": 0.1, "log": True},
        },
        "sampler": "random",
        "scheduler": "none",
        "budget": {"trials": options.trials},
        "seed": seed,
    }


def some_images(source: Path, target: Path, count: int, seed: int) -> Path:
    """Writes an .npz file with some of the training images, as many of each class, and all test images."""
    with np.load(source) as whole:
        labels, rng = whole["y_train"], np.random.default_rng(seed)
        classes = np.unique(labels)
        drawn = [rng.permutation(np.flatnonzero(labels == one))[: count // len(classes)] for one in classes]
        places = np.sort(np.concatenate(drawn))
        tested = {name: whole[name] for name in ("x_test", "y_test")}
        np.savez(target, x_train=whole["x_train"][places], y_train=labels[places], **tested)
    return target


def _run(options: argparse.Namespace, study: str, data: Path, seed: int, storage: Path) -> Run:
    found = hpo.search(space_of(study, data, options, seed), storage=storage)
    made = hpo.build_ensemble(study, storage=storage, method=options.method, top=options.trials)
    families = {trial.number: trial.config.get("model.name", study) for trial in found.trials}
    return Run(
        seed,
        study,
        made.best_single_test["accuracy"],
        made.test["accuracy"],
        made.test["nll"],
        dict(Counter(families.values())),
        dict(Counter(families[member["trial"]] for member in made.members)),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="families", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="images, as `data.name: npz` has them")
    parser.add_argument(
        "--families",
        type=benchmark.some_of(_FAMILIES, "family"),
        default=list(_FAMILIES),
        metavar="LIST",
        help=f'which, with ";" between them ("{";".join(_FAMILIES)}")',
    )
    parser.add_argument("--images", type=int, default=2000, help="training images (2000)")
    parser.add_argument("--trials", type=int, default=9, help="of each study (9)")
    parser.add_argument("--epochs", type=int, default=5, help="of each trial (5)")
    parser.add_argument("--seeds", type=int, default=5, help="each with a study of each family, and a mixed one (5)")
    parser.add_argument("--method", default="greedy", help="of the ensembles (greedy)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where figures are written to, with how they were made"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
