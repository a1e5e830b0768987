"""Searches of different studies in one storage that begin in the same second: `python scripts/faults/together.py`."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rounds

from hpo.study.study import Study
from hpo.study.trial import LIVE, State

_PATIENCE = 1200.0
"""Seconds within which all searches of a round must have ended."""


def run(folder: Path, searches: int, trials: int, round_: int = 0) -> dict[str, Any]:
    """Begins so many searches at once, and checks that all are whole, in the study and in MLflow.

    Returns:
        The seconds that each took, and how many of them were told to wait for their turn, or that Ray began again.

    Raises:
        rounds.Broken: a search has failed, a trial is missing, or MLflow has not what a study has.
    """
    names = [f"together-{round_}-{number}" for number in range(searches)]
    for number, name in enumerate(names):
        sampler, scheduler = rounds.SEARCHES[number % len(rounds.SEARCHES)]
        text = rounds.SPACE.format(name=name, sampler=sampler, scheduler=scheduler, trials=trials, seed=number)
        (folder / f"{name}.yaml").write_text(text)
    storage, began = folder / "studies", time.monotonic()
    running = {name: _search(folder, name) for name in names}
    sessions, took, log = {search.pid for search in running.values()}, {}, {}
    try:
        while len(took) < searches:
            for name, search in running.items():
                if name not in took and search.poll() is not None:
                    took[name] = time.monotonic() - began
            if time.monotonic() - began > _PATIENCE:
                raise rounds.Broken(f"{searches - len(took)} of {searches} searches have not ended")
            time.sleep(0.2)
    finally:
        for search in running.values():
            search.kill()
            search.wait()
    for name, search in running.items():
        log[name] = (folder / f"{name}.log").read_text()
        if search.returncode != 0:
            raise rounds.Broken(f"{name}: exit code {search.returncode}: {log[name][-2000:]}")
        _check(Study.open(storage, name), storage, trials)
    rounds.wait_for_orphans(sessions, rounds.working, rounds.ORPHAN_SECONDS)
    return {
        "seconds": sorted(round(seconds, 1) for seconds in took.values()),
        "waited": sum("waits for its turn" in text for text in log.values()),
        "began_again": sum("Ray did not start" in text for text in log.values()),
    }


def _search(folder: Path, name: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "hpo", "search", "--space", f"{name}.yaml"]
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def _check(study: Study, storage: Path, trials: int) -> None:
    found = study.trials()
    if sum(not trial.inherited for trial in found) != trials:
        raise rounds.Broken(f"{study.name} has {len(found)} trials, not {trials}")
    for trial in found:
        if trial.state in LIVE or trial.state is State.FAILED:
            raise rounds.Broken(f"{study.name}: trial {trial.number} is {trial.state.value}: {trial.reason}")
        if trial.state is State.COMPLETE and study.artifacts.read(trial.number) is None:
            raise rounds.Broken(f"{study.name}: trial {trial.number} has left nothing")
    rounds.check_mlflow(study, storage)


def main() -> None:
    """Prints a line a round, and the whole; a traceback and exit code 1 where something that must hold does not."""
    parser = argparse.ArgumentParser(
        prog="together",
        description="Begins searches of different studies in one storage in the same second, again and again. All must "
        "end well, each study must have its trials and what they leave, and MLflow must have what the studies have.",
    )
    parser.add_argument("--searches", type=int, default=6, help="at once (6)")
    parser.add_argument("--rounds", type=int, default=10, help="one after another (10)")
    parser.add_argument("--trials", type=int, default=4, help="of each search (4)")
    parser.add_argument("--folder", type=Path, default=None, help="where the studies are; a temporary one")
    options = parser.parse_args()
    told = []
    with tempfile.TemporaryDirectory(prefix="together-", dir=options.folder) as folder:
        for round_ in range(options.rounds):
            told.append(run(Path(folder), options.searches, options.trials, round_))
            print(f"round {round_}: {json.dumps(told[-1])}", file=sys.stderr, flush=True)
    seconds = [second for one in told for second in one["seconds"]]
    print(
        json.dumps(
            {
                "studies": len(seconds),
                "median_seconds": round(statistics.median(seconds), 1),
                "longest_seconds": max(seconds),
                "waited": sum(one["waited"] for one in told),
                "began_again": sum(one["began_again"] for one in told),
            }
        )
    )


if __name__ == "__main__":
    main()
