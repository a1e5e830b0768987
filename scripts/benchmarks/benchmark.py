"""What the benchmarks have in common: the choice of peers, and how a figure was made."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hpo.study import environment


def some_of(known: Collection[str], kind: str = "peer") -> Callable[[str], list[str]]:
    """For argparse: names of a kind with ";" between them, all of them known."""

    def read(text: str) -> list[str]:
        names = [name.strip() for name in text.split(";")]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no such {kind}: {'; '.join(unknown)}; there are {'; '.join(known)}")
        return names

    return read


def spread(values: Iterable[float]) -> str:
    """The mean of values and their standard deviation, as text."""
    known = list(values)
    return f"{fmean(known):.4f} ± {stdev(known) if len(known) > 1 else 0:.4f}"


def write(file: Path, benchmark: str, packages: Iterable[str], runs: Iterable[Any]) -> None:
    """Writes runs, which are dataclasses, and how they were made.

    That is the command as it was typed, but for the folders of this machine, the versions, and the machine.
    """
    typed = [Path(argument).name if "/" in argument else argument for argument in sys.argv[1:]]
    record = {
        "command": " ".join(["python", f"scripts/benchmarks/{benchmark}", *typed]),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "machine": {"cpu": environment.processor(), "cores": os.cpu_count()},
        "runs": [asdict(run) for run in runs],
    }
    file.write_text(json.dumps(record, indent=1) + "\n")
