"""What ending a search on a plateau saves and costs, on learning curves of others.

    python scripts/benchmarks/early_end --klein klein_cifar10_cnn.npz --lcbench FOLDER

Each search is run in virtual time without the rule and with it: 10 seeds on the CNNs of Klein et al. (real curves, of
which a config has those of the nearest of 265), and one on each of 10 tasks of LCBench. `saved` is the share of epochs
that were not trained, `lost` how much worse the best is, in points of accuracy.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna

import hpo
from hpo.study.study import Study

sys.path.insert(0, str(Path(__file__).parents[1] / "search_quality"))
METRIC = "accuracy"
Curve = Callable[[Mapping[str, Any], int], tuple[dict[str, float], float]]


class Problem(NamedTuple):
    """Learning curves to search on."""

    name: str
    space: dict[str, Any]
    epochs: int
    curve: Curve


def klein(file: Path, seeds: int) -> Iterator[Problem]:
    """The CNNs of Klein et al.: a config has the curve of the nearest that was trained."""
    data = np.load(file)
    configs, errors, clock = data["hp"], data["val_error"], data["cum_seconds"]
    names = [str(name) for name in data["hp_names"]]
    low, high = configs.min(axis=0), configs.max(axis=0)
    units = (configs - low) / (high - low)

    def curve(config: Mapping[str, Any], epoch: int) -> tuple[dict[str, float], float]:
        unit = (np.array([config[name] for name in names]) - low) / (high - low)
        row = int(((units - unit) ** 2).sum(axis=1).argmin())
        before = clock[row, epoch - 2] if epoch > 1 else 0.0
        return {METRIC: 100.0 * (1.0 - float(errors[row, epoch - 1]))}, float(clock[row, epoch - 1] - before)

    bounds = zip(names, low, high, strict=True)
    space = {name: {"min": float(least), "max": float(most)} for name, least, most in bounds}
    for seed in range(seeds):
        yield Problem(f"klein, seed {seed}", {"parameters": space, "seed": seed}, errors.shape[1], curve)


def lcbench(folder: Path, tasks: int) -> Iterator[Problem]:
    """Tasks of LCBench's surrogate."""
    from lcbench import EPOCHS, TASKS, LCBench  # needs onnxruntime

    for task in TASKS[:tasks]:
        surrogate = LCBench(folder, task)

        def curve(config: Mapping[str, Any], epoch: int, of: LCBench = surrogate) -> tuple[dict[str, float], float]:
            accuracies, seconds = of.curve(config)
            return {METRIC: float(accuracies[epoch - 1])}, float(seconds[epoch - 1])

        space = {
            name: {"type": kind, "min": low, "max": high, "log": log}
            for name, (kind, low, high, log) in surrogate.space.items()
        }
        yield Problem(f"lcbench {task}", {"parameters": space, "seed": task}, EPOCHS, curve)


def searched(problem: Problem, sampler: str, full: int, budget: dict[str, Any]) -> Study:
    """A search whose budget of epochs is that of so many trials in full."""
    document = {
        "study": "early-end",
        **problem.space,
        "training": {"epochs": problem.epochs},
        "objective": {"metric": METRIC, "goal": "maximize"},
        "sampler": sampler,
        "scheduler": "freeze_thaw" if sampler == "curves" else "asha",
        "budget": {"epochs": full * problem.epochs, **budget},
    }
    return hpo.simulate(document, problem.curve, workers=4).study


def best(study: Study) -> float:
    """The best accuracy that any trial has reported."""
    return max(trial.value for trial in study.trials() if trial.value is not None)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--klein", type=Path, help="klein_cifar10_cnn.npz")
    parser.add_argument("--lcbench", type=Path, help="folder of the surrogate: model.onnx and its JSON")
    parser.add_argument("--searches", type=int, default=10, help="on each of both (10)")
    parser.add_argument("--full", type=int, default=30, help="the budget, in trials in full (30)")
    parser.add_argument("--samplers", default="curves,tpe", help="with commas between them")
    parser.add_argument("--plateau", type=float, default=0.1, help="the least improvement, in points (0.1)")
    return parser.parse_args()


def main() -> None:
    """Prints a line a search, and the means of each sampler."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = options()
    problems = [
        *(klein(given.klein, given.searches) if given.klein else ()),
        *(lcbench(given.lcbench, given.searches) if given.lcbench else ()),
    ]
    for sampler in given.samplers.split(","):
        rows = []
        for problem in problems:
            whole = searched(problem, sampler, given.full, {})
            early = searched(problem, sampler, given.full, {"plateau": given.plateau})
            saved = 1 - early.spent().epochs / whole.spent().epochs
            rows.append((saved, best(whole) - best(early)))
            print(f"{sampler:>8} {problem.name:16} {saved:4.0%} saved, {rows[-1][1]:6.2f} lost", flush=True)
        saved_, lost = zip(*rows, strict=True)
        print(
            f"{sampler:>8}: {len(rows)} searches, {statistics.mean(saved_):.0%} of the epochs saved, lost"
            f" {statistics.mean(lost):.2f} points in the mean, {max(lost):.2f} at most"
        )


if __name__ == "__main__":
    main()
