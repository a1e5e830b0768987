"""A run is a method on a task with a seed. Finished ones lie in a JSON-lines file: a killed benchmark goes on."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from lcbench import EPOCHS, LCBench
from peers import PEERS, Method
from product import PRODUCT
from simulator import Trace, best_after

WORKERS = 4
BUDGET_EPOCHS = 30 * EPOCHS
"""What 30 trials cost that are trained to the end."""

FRACTIONS = (0.10, 0.25, 0.50, 1.00)
"""The parts of the budget after which a run is scored."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")

_ENVIRONMENT = {**dict.fromkeys(_THREADS, "1"), "PYTHONHASHSEED": "0"}
"""Of the workers, which start from nothing: one thread a run. SMAC's local search goes through sets in hash order."""

METHODS: dict[str, Method] = {**PEERS, **PRODUCT}


@dataclass(frozen=True, order=True)
class Key:
    """What a run is of."""

    method: str
    task: int
    seed: int


@dataclass(frozen=True)
class Run:
    """A finished run."""

    key: Key
    regret: tuple[float, ...]
    """(best - incumbent) / (best - median) after each of FRACTIONS; below 0 where the incumbent beats the reference."""
    own_seconds: float
    """CPU time of the method itself, without the surrogate's."""
    best: float
    """val_accuracy of the best of the reference's random configs at the last epoch."""
    median: float
    trace: Trace


def run(folder: Path, key: Key) -> Run:
    """Runs one method on one task with one seed."""
    lcbench = LCBench(folder, key.task)
    best, median = _reference(folder, key.task)
    started = time.process_time()
    trace = METHODS[key.method](lcbench, key.seed, WORKERS, BUDGET_EPOCHS)
    own_seconds = time.process_time() - started - lcbench.query_seconds
    incumbents = [best_after(trace, round(fraction * BUDGET_EPOCHS)) for fraction in FRACTIONS]
    regret = tuple((best - incumbent) / (best - median) for incumbent in incumbents)
    return Run(key, regret, round(own_seconds, 3), best, median, trace)


def run_all(folder: Path, keys: Sequence[Key], journal: Path, jobs: int) -> None:
    """Runs what the journal has not yet, a process for each of `jobs`, and appends each run as it ends."""
    done = {finished.key for finished in read(journal)}
    missing = [key for key in keys if key not in done]
    print(f"{len(missing)} of {len(keys)} runs to do", file=sys.stderr)
    os.environ.update(_ENVIRONMENT)
    started = time.monotonic()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool, journal.open("a") as file:
        futures = [pool.submit(run, folder, key) for key in missing]
        try:
            for count, future in enumerate(as_completed(futures), start=1):
                finished = future.result()
                file.write(json.dumps(asdict(finished)) + "\n")
                file.flush()
                print(_progress(finished, count, len(missing), time.monotonic() - started), file=sys.stderr)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read(journal: Path) -> list[Run]:
    """The finished runs of a journal; a last line that a kill has torn is cut off the file."""
    if not journal.exists():
        return []
    text = journal.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        journal.write_text(whole)
    return list(_parse(whole.splitlines()))


def forget(journal: Path, methods: Iterable[str]) -> None:
    """Drops the runs of these methods, so that they are made anew."""
    gone = set(methods)
    kept = [finished for finished in read(journal) if finished.key.method not in gone]
    journal.write_text("".join(json.dumps(asdict(finished)) + "\n" for finished in kept))


def _parse(lines: Iterable[str]) -> Iterator[Run]:
    for line in lines:
        row = json.loads(line)
        trace = [(epochs, best) for epochs, best in row["trace"]]
        yield Run(Key(**row["key"]), tuple(row["regret"]), row["own_seconds"], row["best"], row["median"], trace)


def _progress(finished: Run, count: int, total: int, seconds: float) -> str:
    key = finished.key
    regret = " ".join(f"{value:.3f}" for value in finished.regret)
    return f"[{count}/{total}, {seconds:.0f} s] {key.method} {key.task} seed {key.seed}: {regret}"


@cache
def _reference(folder: Path, task: int) -> tuple[float, float]:
    return LCBench(folder, task).reference()
