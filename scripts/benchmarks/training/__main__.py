"""Images a second: the product's loop against a loop as tutorials write it, and one with every known trick.

    python scripts/benchmarks/training --data cifar10.npz --seeds 5 --json out.json

Every run is a process of its own. All variants of a seed run one after another, in another order for each seed, and
only what was measured in the same turn is compared. `alone` is one process with two threads; in a `pair` two of them
run side by side with one thread each, as trials do.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
from run import MODELS, VARIANTS

_RUN = Path(__file__).with_name("run.py")
_MODES: Mapping[str, tuple[int, int]] = {"alone": (1, 2), "pair": (2, 1)}
"""Mode -> processes, threads of each."""
_SPEEDS = ("training", "whole", "later", "per_cpu_second")
_PLAIN = ("tutorial", "tutorial, 2 workers")


@dataclass(frozen=True)
class Run:
    """What came of a variant's processes with one seed. Images a second are of all of them together.

    `training` counts the training passes alone, `whole` validation too, `later` the training passes after the first
    epoch, in which code may be compiled; `per_cpu_second` all that was done, by the seconds that the cores worked: of
    these four it alone means something on a busy machine.
    """

    mode: str
    model: str
    variant: str
    seed: int
    training: float
    whole: float
    later: float
    per_cpu_second: float
    accuracy: float
    peak_mb: float
    first_epoch_seconds: float


def main() -> None:
    """Runs all, prints the tables, writes the JSON."""
    options = _options()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as code:  # compiled code is kept from seed to seed, as on a user's disk
        for wanted in _plan(options):
            runs.append(_run(wanted, options, Path(code)))
            print(_line(runs[-1]), file=sys.stderr, flush=True)
    table = _table(runs)
    print(_as_text(table))
    if options.json is not None:
        record = {**_record(options), "table": table, "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


def _plan(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for seed in range(options.seeds):
        for mode in options.modes:
            for model in options.models:
                names = [name for name in options.variants if mode == "alone" or name != "tutorial, 2 workers"]
                turn = seed % len(names)
                for variant in names[turn:] + names[:turn]:
                    yield {"mode": mode, "model": model, "variant": variant, "seed": seed}


def _run(wanted: Mapping[str, Any], options: argparse.Namespace, code: Path) -> Run:
    processes, threads = _MODES[wanted["mode"]]
    epochs = options.epochs
    settings = {**wanted, "data": str(options.data), "epochs": epochs, "rows": options.rows, "threads": threads}
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_CACHE_DIR": str(code)}
    started = [
        subprocess.Popen(
            [sys.executable, str(_RUN), json.dumps({**settings, "seed": wanted["seed"] + 1000 * place})],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in range(processes)
    ]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{wanted['variant']} failed")
    each = [json.loads(answer.splitlines()[-1]) for answer in answers]
    return Run(
        **wanted,
        training=sum(_speed(it["epochs"], it["rows"], "train_seconds") for it in each),
        whole=sum(_speed(it["epochs"], it["rows"], "seconds") for it in each),
        later=sum(_speed(it["epochs"][1:] or it["epochs"], it["rows"], "train_seconds") for it in each),
        per_cpu_second=mean(it["rows"] * epochs / it["cpu_seconds"] for it in each),
        accuracy=mean(it["epochs"][-1]["test"] for it in each),
        peak_mb=max(it["peak_mb"] for it in each),
        first_epoch_seconds=max(it["epochs"][0]["train_seconds"] for it in each),
    )


def _speed(epochs: Sequence[Mapping[str, float]], rows: int, seconds: str) -> float:
    return rows * len(epochs) / sum(epoch[seconds] for epoch in epochs)


def _table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each mode, model and variant: means over seeds, ratios to the better plain loop of the same seed."""
    rows = []
    for mode, model, variant in dict.fromkeys((run.mode, run.model, run.variant) for run in runs):
        place = [run for run in runs if (run.mode, run.model) == (mode, model)]
        own = [run for run in place if run.variant == variant]
        ratios = {name: _ratios(own, place, name) for name in _SPEEDS}
        accuracies = [run.accuracy for run in own]
        rows.append(
            {
                "mode": mode,
                "model": model,
                "variant": variant,
                **{name: median(getattr(run, name) for run in own) for name in _SPEEDS},
                **{f"{name} ratio": median(found) if found else None for name, found in ratios.items()},
                "accuracy": mean(accuracies),
                "sd": stdev(accuracies) if len(accuracies) > 1 else 0.0,
                "peak_mb": max(run.peak_mb for run in own),
                "first_epoch_seconds": [round(run.first_epoch_seconds, 2) for run in own],
            }
        )
    return rows


def _ratios(own: Sequence[Run], place: Sequence[Run], name: str) -> list[float]:
    best: dict[int, float] = {}
    for run in place:
        if run.variant in _PLAIN:
            best[run.seed] = max(best.get(run.seed, 0.0), getattr(run, name))
    return [getattr(run, name) / best[run.seed] for run in own if run.seed in best]


def _as_text(table: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| | | | images/s, training | x | images/s, whole epoch | x | images/CPU s | x | test accuracy | peak MB |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in table:
        speeds = " | ".join(_beside(row, name) for name in ("training", "whole", "per_cpu_second"))
        accuracy = f"{row['accuracy']:.4f} ± {row['sd']:.4f}"
        lines.append(
            f"| {row['mode']} | {row['model']} | {row['variant']} | {speeds} | {accuracy} | {row['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


def _beside(row: Mapping[str, Any], name: str) -> str:
    ratio = row[f"{name} ratio"]
    return f"{row[name]:.0f} | " + ("" if ratio is None else f"{ratio:.2f}")


def _line(run: Run) -> str:
    return (
        f"{run.mode}, {run.model}, {run.variant}, seed {run.seed}: {run.training:.0f} images/s in training,"
        f" {run.whole:.0f} with validation, accuracy {run.accuracy:.4f}, {run.peak_mb:.0f} MB"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="an .npz of 32x32 images: x_train, y_train, ...")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rows", type=int, help="training rows; all where it is left out")
    parser.add_argument(
        "--models", type=benchmark.some_of(MODELS, "model"), default=list(MODELS), help="; ".join(MODELS)
    )
    parser.add_argument(
        "--variants", type=benchmark.some_of(VARIANTS, "variant"), default=list(VARIANTS), help="; ".join(VARIANTS)
    )
    parser.add_argument("--modes", type=benchmark.some_of(_MODES, "mode"), default=list(_MODES), help="; ".join(_MODES))
    parser.add_argument("--json", type=Path, help="where the record goes")
    return parser.parse_args()


def _record(options: argparse.Namespace) -> dict[str, Any]:
    private = {str(options.data): "cifar10.npz", str(options.json): "out.json"}
    words = (private.get(word, word) for word in sys.argv[1:])
    return {
        "command": " ".join(["python", "scripts/benchmarks/training", *words]),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "torchvision")}},
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "epochs": options.epochs,
        "rows": options.rows,
    }


if __name__ == "__main__":
    main()
