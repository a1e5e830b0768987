"""What a cluster's outages do to a search: `python scripts/faults/outages.py`, as root, in network namespaces.

Three hosts, each with an address of its own on a bridge, one storage that all see. In the middle of a search, which
runs on the second, something happens; what the user sees is printed, and what the study then has is checked.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rounds
from hosts import Host, Unable, end, hosts

from hpo.study.folder import study_names
from hpo.study.study import Study
from hpo.study.trial import LIVE, State

_SPACE = """\
study: outage
data: {name: digits, validation: 0.2}
model: {name: mlp, layers: 1, width: 32}
training: {epochs: 120, batch_size: 32, device: cpu}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
parameters:
  optimizer.lr: {min: 1.0e-4, max: 1.0, log: true}
objective: {metric: accuracy}
sampler: random
scheduler: none
budget: {trials: TRIALS}
resources: {cpu: 1, gpu: 0}
"""
_PATIENCE = 600.0
_PROGRESS = re.compile(r"^trial \d+ (complete|pruned|paused) ")
_EVERY_DAY = ("starting Ray", "outage: ", "Next: ", "│", "┃", "━", "─", "Study '")


@dataclass
class Cluster:
    """Three hosts and a search on the second; the first is the head."""

    hosts: list[Host]
    folder: Path
    trials: int
    search: "subprocess.Popen[bytes]"
    nodes: "dict[str, subprocess.Popen[bytes]]"

    @property
    def log(self) -> str:
        """What the user has seen."""
        return (self.folder / "search.log").read_text()

    def study(self) -> Study:
        """As it is now."""
        return Study.open(self.folder / "studies", "outage")

    def wait(self) -> int:
        """For the end of the search: its exit code."""
        return self.search.wait(_PATIENCE)

    def go_on(self) -> int:
        """The same command again, on this machine alone."""
        with (self.folder / "again.log").open("w") as log:
            again = subprocess.Popen(
                [sys.executable, "-m", "hpo", "search", "--space", "space.yaml"],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            return again.wait(_PATIENCE)
        finally:
            end(again)


def cut_short(cluster: Cluster) -> None:
    """The third host's link is cut for 30 s."""
    cluster.hosts[2].link(up=False)
    time.sleep(30)
    cluster.hosts[2].link(up=True)


def cut(cluster: Cluster) -> None:
    """The third host's link is cut for ever."""
    cluster.hosts[2].link(up=False)


def cut_search(cluster: Cluster) -> None:
    """The link of the host of the search is cut for ever."""
    cluster.hosts[1].link(up=False)


def cut_search_short(cluster: Cluster) -> None:
    """The link of the host of the search is cut for 30 s."""
    cluster.hosts[1].link(up=False)
    time.sleep(30)
    cluster.hosts[1].link(up=True)


def kill_head(cluster: Cluster) -> None:
    """The head's processes are killed."""
    end(cluster.nodes["head"])


def join_blind(cluster: Cluster) -> None:
    """A host joins on which the storage's folder is there, and empty."""
    host = cluster.hosts[3]
    host.hide(cluster.folder)
    host.join(cluster.hosts[0], cluster.folder.parent / "blind.log", cpus=4)


OUTAGES: dict[str, tuple[Callable[[Cluster], None], bool]] = {
    "cut-30s": (cut_short, True),
    "cut": (cut, True),
    "cut-search-30s": (cut_search_short, False),
    "cut-search": (cut_search, False),
    "head": (kill_head, False),
    "blind": (join_blind, True),
}
"""Name -> what happens, and whether the search is to survive it."""


def run(name: str, folder: Path, trials: int) -> dict[str, Any]:
    """Searches on three hosts, lets it happen, and checks that nothing is lost.

    Returns:
        What the user has seen beside progress, the exit code, and the seconds from what happened to the end.

    Raises:
        rounds.Broken: something is lost.
        Unable: namespaces are not permitted here.
    """
    happens, survives = OUTAGES[name]
    shared = folder / "shared"
    shared.mkdir()
    (shared / "space.yaml").write_text(_SPACE.replace("TRIALS", str(trials)))
    with hosts(4 if name == "blind" else 3, folder) as made:
        head = made[0]
        nodes = {"head": head.join(head, folder / "head.log")}
        for number, host in enumerate(made[1:3]):
            nodes[str(number)] = host.join(head, folder / f"node-{number}.log")
        words = [sys.executable, "-m", "hpo", "search", "--space", "space.yaml", "--address", f"{head.address}:6379"]
        search = made[1].start(words, shared / "search.log", cwd=shared)
        cluster = Cluster(made, shared, trials, search, nodes)
        until = time.monotonic() + _PATIENCE
        while len(_ended(cluster)) < 3 or not made[2].trains():
            if search.poll() is not None or time.monotonic() > until:
                raise rounds.Broken(f"the search did not begin: {cluster.log[-2000:]}")
            time.sleep(0.5)
        happens(cluster)
        began, before = time.monotonic(), _ended(cluster)
        code = cluster.wait()
        took = time.monotonic() - began
        if survives and code != 0:
            raise rounds.Broken(f"{name}: exit code {code}: {cluster.log[-2000:]}")
        again = None if code == 0 else cluster.go_on()
    _check(cluster, before, trials)
    return {"outage": name, "code": code, "again": again, "seconds": round(took, 1), "seen": _seen(cluster.log)}


def _ended(cluster: Cluster) -> dict[int, float | None]:
    """The trials that have ended, and their values."""
    if "outage" not in study_names(cluster.folder / "studies"):
        return {}
    return {trial.number: trial.value for trial in cluster.study().trials() if trial.state not in LIVE}


def _check(cluster: Cluster, before: dict[int, float | None], trials: int) -> None:
    study = cluster.study()
    found = {trial.number: trial for trial in study.trials()}
    if len(found) != trials or any(trial.state is not State.COMPLETE for trial in found.values()):
        states = [f"{trial.number} {trial.state.value}: {trial.reason}" for trial in found.values()]
        raise rounds.Broken(f"not all of {trials} trials are complete: {states}")
    if changed := [number for number, value in before.items() if found[number].value != value]:
        raise rounds.Broken(f"trials {changed} had ended and were trained again")
    if missing := [number for number in found if study.artifacts.read(number) is None]:
        raise rounds.Broken(f"trials {missing} have left nothing")
    rounds.check_mlflow(study, cluster.folder / "studies")


def _seen(log: str) -> list[str]:
    """The lines that are not of every day."""
    return [
        line
        for line in log.splitlines()
        if line.strip() and not _PROGRESS.match(line) and not any(word in line for word in _EVERY_DAY)
    ]


def main() -> None:
    """Prints a line of JSON an outage; a traceback and exit code 1 where something that must hold does not."""
    parser = argparse.ArgumentParser(prog="outages", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(OUTAGES), help=f"of {', '.join(OUTAGES)}; all")
    parser.add_argument("--trials", type=int, default=30, help="of each search (30)")
    options = parser.parse_args()
    for name in options.names:
        with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
            try:
                print(json.dumps(run(name, Path(folder), options.trials), ensure_ascii=False, indent=1), flush=True)
            except Unable as error:
                sys.exit(f"no network namespaces here: {error}")


if __name__ == "__main__":
    main()
