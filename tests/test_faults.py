"""Commands that are killed while they work; `scripts/faults --rounds 100` kills searches for longer."""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import PATIENCE

BAGS = 12
_LEFT = r"machine 10\.\S+ has left, or the way to it is cut; its trials begin again elsewhere, from what"
_NO_NODE = (
    r"Error: (the Ray node of this machine, .* has ended, .* and|this command was killed: .* What is done is kept:)"
    r" the same command goes on"
)
"""Ray's native code ends the process at times, before anybody knows that its node has ended."""
_NO_HEAD = (
    r"Error: the head of the Ray cluster, 10\.\S+:6379, has not answered for 45 s, .* and the same command goes on"
)

pytestmark = pytest.mark.xdist_group("faults")


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_searches_go_on_to_whole_studies(kills: int, rounds: ModuleType, tmp_path: Path) -> None:
    tally = rounds.run(tmp_path, rounds=kills, trials=8, seed=1)
    assert tally.kills == kills
    assert tally.epochs <= tally.trained


@pytest.mark.slow
def test_killed_bagging_goes_on_bag_by_bag(rounds: ModuleType) -> None:
    space = Path("space.yaml")
    settings = {"name": "bags", "sampler": "random", "scheduler": "none", "trials": 2, "seed": 0}
    space.write_text(rounds.SPACE.format(**settings).replace("epochs: 9", "epochs: 60"))
    search = [sys.executable, "-m", "hpo", "search", "--space", str(space)]
    subprocess.run(search, check=True, capture_output=True, timeout=PATIENCE)
    command = [sys.executable, "-m", "hpo", "ensemble", "--method", "bagging", "--bags", str(BAGS), "--format", "json"]

    def done() -> dict[Path, int]:
        """What says that a bag is done, and when it was written."""
        found = Path("studies/bags/retrained/bagging").glob("*/done.json")
        return {file: file.stat().st_mtime_ns for file in found}

    with Path("log").open("w") as log:
        building = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        while building.poll() is None and len(done()) < 2:
            time.sleep(0.02)
        building.send_signal(signal.SIGKILL)
        building.wait()
    assert building.returncode == -signal.SIGKILL, Path("log").read_text()
    rounds.wait_for_orphans({building.pid}, rounds.working, rounds.ORPHAN_SECONDS)
    before = done()
    assert 2 <= len(before) < BAGS

    again = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert len(json.loads(again.stdout)["members"]) == BAGS
    assert len(done()) == BAGS and before.items() <= done().items()  # no bag was trained twice


@pytest.mark.slow
def test_searches_that_begin_together_are_all_whole(rounds: ModuleType, tmp_path: Path) -> None:
    told = import_module("together").run(tmp_path, searches=3, trials=3)
    assert len(told["seconds"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "sentences"),
    [
        ("cut-30s", 0, [_LEFT]),
        ("cut", 0, [_LEFT]),
        ("cut-search-30s", 1, [_NO_NODE]),
        ("cut-search", 1, [_NO_HEAD]),
        ("head", 1, [_NO_HEAD]),
        ("blind", 0, [r"machine 10\.\S+ does not see '/.*/artifacts', where trials store what they leave"]),
    ],
)
def test_an_outage_of_a_cluster_is_one_sentence_and_loses_nothing(
    rounds: ModuleType, name: str, code: int, sentences: list[str]
) -> None:
    outages = import_module("outages")
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:  # Ray's sockets need a short path
        try:
            told = outages.run(name, Path(folder), trials=20)
        except outages.Unable as error:
            pytest.skip(f"no network namespaces here: {error}")
    seen = [line for line in told["seen"] if "core_worker.cc" not in line]  # a line of Ray's native code
    if name.endswith("30s") and told["code"] == 0 and not seen:
        return  # the way was back before Ray gave the machine up, and the trials there have trained on
    assert told["code"] == code and told["again"] in (None, 0)
    assert len(seen) == len(sentences), seen
    for line, sentence in zip(seen, sentences, strict=True):
        assert re.match(sentence, line)
