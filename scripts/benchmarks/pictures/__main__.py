"""The memory of a search over more pictures than it should hold: `python scripts/benchmarks/pictures --help`."""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import numpy as np
from PIL import Image

_CLASSES = ("dark", "light")
_EPILOG = """
Makes pictures of noise on a dark or a light ground as JPEG files, half of each class, and searches a small network over
them with one trial at a time. Told are the largest memory of the search's own process and of the process that trains,
as the system counts them (VmHWM, pages of mapped files included; RssAnon, without).

  python scripts/benchmarks/pictures --count 50000 --size 64
"""


@dataclass(frozen=True)
class Run:
    """How large the processes of one search have become, in MB."""

    count: int
    size: int
    pixels: float
    search: float
    search_anonymous: float
    trial: float
    trial_anonymous: float
    seconds: float
    accuracy: str


def main() -> None:
    """Makes the pictures, searches, prints the memory, writes the JSON."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        print(f"making {options.count:,} pictures ...", flush=True)
        make(Path(folder) / "data", options.count, options.size)
        run = searched(Path(folder), options)
    print(
        f"{run.count:,} pictures of {run.size} pixels, {run.pixels:,.0f} MB of them: the search had {run.search:,.0f}"
        f" MB at most ({run.search_anonymous:,.0f} without mapped files), the trial {run.trial:,.0f}"
        f" ({run.trial_anonymous:,.0f}); {run.seconds:.0f} s; {run.accuracy}"
    )
    if options.output is not None:
        benchmark.write(options.output, "pictures", ("torch", "ray", "numpy"), [run])


def make(folder: Path, count: int, size: int) -> None:
    """Writes `count` pictures for training and a fiftieth as many for test, in folders of their classes."""
    for split, pictures in (("train", count), ("test", max(20, count // 50))):
        for name in _CLASSES:
            (folder / split / name).mkdir(parents=True)
        with ProcessPoolExecutor() as processes:
            list(processes.map(partial(_picture, folder / split, size), range(pictures), chunksize=500))


def _picture(folder: Path, size: int, number: int) -> None:
    ground = (60, 180)[number % 2]
    noise = np.random.default_rng(number).integers(-60, 60, (size, size, 3))
    pixels = np.clip(ground + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / _CLASSES[number % 2] / f"{number:06d}.jpg", quality=80)


def searched(folder: Path, options: argparse.Namespace) -> Run:
    """A search of one trial over the pictures, watched."""
    (folder / "space.yaml").write_text(
        f"study: pictures\ndata: {{name: image_folder, path: data, size: {options.size}}}\n"
        "model: {name: convnet, stages: 2, width: 8}\n"
        f"training: {{epochs: {options.epochs}, batch_size: 128}}\n"
        "optimizer: {name: adamw, lr: 0.003}\n"
        "parameters:\n  optimizer.lr: {min: 0.001, max: 0.01, log: true}\n"
        "budget: {trials: 1}\n"
    )
    command = [sys.executable, "-m", "hpo", "search", "-f", "space.yaml", "--concurrency", "1"]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    most: dict[str, float] = {}
    watch = threading.Thread(target=_watch, args=(process, most))
    watch.start()
    assert process.stdout is not None
    told = process.stdout.read()
    process.wait()
    watch.join()
    if process.returncode:
        sys.exit(told)
    best = next((line.strip() for line in told.splitlines() if "complete at epoch" in line), "no trial")
    return Run(
        options.count,
        options.size,
        options.count * options.size**2 * 3 / 1e6,
        most.get("search", 0.0),
        most.get("search_anonymous", 0.0),
        most.get("trial", 0.0),
        most.get("trial_anonymous", 0.0),
        time.monotonic() - started,
        best.partition(";")[0],
    )


def _watch(process: "subprocess.Popen[str]", most: dict[str, float]) -> None:
    """Looks at the memory of the search and of its workers, twice a second."""
    while process.poll() is None:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                title = (status.parent / "cmdline").read_text()
            except (OSError, ValueError):
                continue
            own = int(fields["Pid"]) == process.pid
            if own or (title.startswith("ray::") and _below(int(fields["Pid"]), process.pid)):
                name = "search" if own else "trial"
                for key, field in ((name, "VmHWM"), (f"{name}_anonymous", "RssAnon")):
                    most[key] = max(most.get(key, 0.0), int(fields.get(field, "0 kB").split()[0]) / 1000)
        time.sleep(0.5)


def _below(pid: int, ancestor: int) -> bool:
    """Whether a process is a descendant of another."""
    while pid > 1 and pid != ancestor:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
    return pid == ancestor


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python scripts/benchmarks/pictures",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=50_000, help="pictures to train on (default %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of the trial (default %(default)s)")
    parser.add_argument("--output", type=Path, help="a JSON file of the run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
