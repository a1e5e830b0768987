"""What the driver costs in long studies, and on several nodes: `python scripts/benchmarks/scale --help`."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

_PARTS = ("suggestion", "report", "decision")


def main() -> None:
    """Runs every study in a process of its own, prints a line for each as it ends, and writes the JSON."""
    options = _options()
    if options.one:
        print(json.dumps(_one(options.one, int(options.trials[0]), options.epochs, options.folder)))
        return
    studies = [_run(options, name, trials) for name in options.searches for trials in options.trials]
    clusters = [_run(options, f"nodes {nodes}", options.node_trials) for nodes in options.nodes]
    record = {
        "machine": {"cores": os.cpu_count(), "processor": platform.processor(), "python": platform.python_version()},
        "epochs": options.epochs,
        "studies": studies,
        "nodes": clusters,
    }
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scale", description="CPU time and memory of the driver of long studies.")
    parser.add_argument("--trials", type=_numbers, default=[100, 1000, 10_000], help="sizes of the simulated studies")
    parser.add_argument("--epochs", type=int, default=9, help="the full resource of the simulated trials")
    parser.add_argument("--searches", type=lambda text: text.split(","), default=None, help="names; all of them")
    parser.add_argument("--nodes", type=_numbers, default=[1, 2, 4], help="sizes of the clusters; 0 for none")
    parser.add_argument("--node-trials", type=int, default=200, help="trials on each cluster")
    parser.add_argument("--folder", type=Path, default=None, help="where the studies are; a temporary one")
    parser.add_argument("--out", type=Path, default=None, help="a .json")
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.searches is None:
        import searches

        options.searches = list(searches.SEARCHES)
    options.nodes = [count for count in options.nodes if count]
    return options


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _one(name: str, trials: int, epochs: int, folder: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if name.startswith("nodes "):
            import nodes

            return asdict(nodes.measure(int(name.split()[1]), trials, Path(scratch)))
        import searches

        return asdict(searches.measure(name, trials, epochs, Path(scratch)))


def _run(options: argparse.Namespace, name: str, trials: int) -> dict[str, Any]:
    words: Sequence[str] = ["--one", name, "--trials", str(trials), "--epochs", str(options.epochs)]
    place = [] if options.folder is None else ["--folder", str(options.folder)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).parent), *words, *place],
        env={**os.environ, **threads},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    cost: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    print(_line(name, cost), flush=True)
    return cost


def _line(name: str, cost: dict[str, Any]) -> str:
    if "nodes" in cost:
        return (
            f"{cost['nodes']} nodes, {cost['trials']} trials: start {cost['start']:.1f} s,"
            f" {cost['seconds_a_trial'] * 1e3:.0f} ms a trial, driver {cost['driver'] / 1e6:.0f} MB,"
            f" worker {cost['worker'] / 1e6:.0f} MB"
        )
    parts = ", ".join(f"{part} {cost['median'][part] * 1e3:.1f} ({cost['p95'][part] * 1e3:.1f})" for part in _PARTS)
    return (
        f"{name:22} {cost['trials']:6} trials: {cost['seconds_a_trial'] * 1e3:6.1f} ms a trial (first"
        f" {cost['first'] * 1e3:.1f}, last {cost['last'] * 1e3:.1f}); median (p95) ms: {parts};"
        f" {cost['memory'] / 1e6:.0f} MB, journal {cost['journal'] / 1e6:.1f} MB, read in {cost['opening']:.1f} s"
    )


if __name__ == "__main__":
    main()
