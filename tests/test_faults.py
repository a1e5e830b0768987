"""Commands that are killed while they work; `scripts/faults --rounds 100` kills searches for longer."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import PATIENCE

BAGS = 12

pytestmark = pytest.mark.xdist_group("faults")


def test_killed_searches_go_on_to_whole_studies(rounds: ModuleType, tmp_path: Path) -> None:
    tally = rounds.run(tmp_path, rounds=10, trials=8, seed=1)
    assert tally.kills == 10
    assert tally.epochs <= tally.trained


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
