"""Compares searchers on LCBench: `python scripts/benchmarks/search_quality --help`."""

import argparse
import itertools
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import comparison
import runs
from lcbench import EPOCHS, HELD_OUT, TASKS, TUNING

from hpo.study import environment

_PACKAGES = ("hpo", "optuna", "ray", "smac", "DEHB", "ConfigSpace", "numpy", "scipy", "scikit-learn", "onnxruntime")


def main() -> None:
    """Runs what is missing, prints the tables, writes the JSON."""
    options = _options()
    keys = [runs.Key(*key) for key in itertools.product(options.methods, options.tasks, options.seeds)]
    journal = options.out.with_suffix(".jsonl")
    runs.forget(journal, options.again)
    runs.run_all(options.lcbench, keys, journal, options.jobs)
    wanted = set(keys)
    finished = [run for run in runs.read(journal) if run.key in wanted]
    print(comparison.as_text(finished, options.subject))
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in _record(options, finished).items())
    options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="search_quality",
        description="Normalised regret of hyperparameter searchers on LCBench, 4 workers in virtual time.",
    )
    parser.add_argument("--lcbench", type=Path, required=True, help="folder of the surrogate: model.onnx and its JSON")
    parser.add_argument("--out", type=Path, required=True, help="a .json; the finished runs lie beside it as .jsonl")
    parser.add_argument("--seeds", type=lambda text: range(int(text)), default=range(5), help="how many, from 0 on")
    parser.add_argument("--methods", type=_methods, default=list(runs.METHODS), help=", ".join(runs.METHODS))
    parser.add_argument(
        "--tasks", type=_tasks, default=TASKS, help="all 17, the even ones of them (to tune on), the odd ones, or ids"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--subject", default="hpo", help="the method that is compared with each of the others")
    parser.add_argument("--again", type=_methods, default=[], help="methods whose finished runs are forgotten first")
    return parser.parse_args()


def _methods(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in runs.METHODS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such method: {', '.join(unknown)}; there are {', '.join(runs.METHODS)}")
    return names


def _tasks(text: str) -> tuple[int, ...]:
    named = {"all": TASKS, "even": TUNING, "odd": HELD_OUT}
    return named[text] if text in named else tuple(int(task) for task in text.split(","))


def _record(options: argparse.Namespace, finished: list[runs.Run]) -> dict[str, object]:
    return {
        "command": _command(options),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {"cpu": environment.processor(), "cores": os.cpu_count()},
        "workers": runs.WORKERS,
        "epochs": EPOCHS,
        "budget_epochs": runs.BUDGET_EPOCHS,
        "fractions": runs.FRACTIONS,
        "seeds": list(options.seeds),
        "tasks": {"tuning": TUNING, "held-out": HELD_OUT},
        "results": comparison.as_json(finished, options.subject),
        "runs": [[*asdict(run.key).values(), *(round(it, 5) for it in run.regret)] for run in finished],
    }


def _command(options: argparse.Namespace) -> str:
    """As it was typed, without the folders of this machine."""
    private = {str(options.lcbench): "LCBENCH", str(options.out): options.out.name}
    words = (private.get(word, word) for word in sys.argv[1:])
    return " ".join(["python", "scripts/benchmarks/search_quality", *words])


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
