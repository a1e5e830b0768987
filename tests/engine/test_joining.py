"""A second command that works for a search that runs already, with real Ray."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from socket import socket

import pytest
from ray._private.utils import write_ray_address

from hpo.engine.joining import Invitation, _address_forgotten
from hpo.study import Study
from hpo.trial import State
from tests.conftest import PATIENCE, Run, without_ray
from tests.servers import free_port

pytestmark = pytest.mark.xdist_group("faults")

TRIALS = 60
SEARCH = f"""
import time
from pathlib import Path
import numpy as np
import ray
import hpo
from hpo.training import Report
from hpo.training.objective import Snapshot

def snapshot():
    rows = np.full((60, 3), 1 / 3, np.float32)
    return Snapshot({{"w": np.zeros(1, np.float32)}}, {{"validation": rows, "test": rows}})

def slow(config, context):
    for epoch in range(1, context.spec.training.epochs + 1):
        with Path("nodes").open("a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\\n")
        time.sleep(0.1 if Path("enough").exists() else 2.0)
        yield Report(epoch, {{"accuracy": 0.1 * epoch, "nll": 1.0}}, snapshot)

if __name__ == "__main__":
    hpo.search("space.yaml", trials={TRIALS}, concurrency=4, objective=slow)
"""


def nodes() -> int:
    """How many machines have trained something."""
    file = Path("nodes")
    return len(set(file.read_text().split())) if file.exists() else 0


def wait_for(count: int, search: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while nodes() < count:
        assert search.poll() is None and time.monotonic() < deadline, Path("log").read_text()
        time.sleep(0.2)


def test_what_cannot_be_joined_says_so(space: Path, study: Study, hpo: Run) -> None:
    joining = ("search", "--space", str(space), "--join", "--concurrency", "1")
    code, _, err = hpo(*joining)
    assert code == 2 and "nobody searches study 'squares' now; leave --join out to search it" in err
    with study.held():  # as `hpo gc` does
        code, _, err = hpo(*joining)
    assert code == 2 and f"is held by process {os.getpid()} on " in err and "no search that can be joined; wait" in err
    lost = Invitation(f"127.0.0.1:{free_port()}", "disabled", 1, 0, str(study.folder.absolute()))
    with study.held(str(lost)):
        code, _, err = hpo(*joining)
        assert code == 2 and f"its Ray at {lost.address} cannot be reached from here" in err
        code, _, err = hpo(*joining, "--set", "training.batch_size=64")
        assert code == 2 and "training.batch_size was 32, is 64" in err
    with socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        there = f"127.0.0.1:{server.getsockname()[1]}"
        with study.held(str(Invitation(there, "disabled", 1, 0, "/no/such/folder"))):
            code, _, err = hpo(*joining)
    assert code == 2 and "this machine does not see '/no/such/folder', where the trials of that search" in err
    for option in (("--trials", "3"), ("--time-limit", "3s"), ("--from", "other"), ("--ensemble",)):
        code, _, err = hpo(*joining, *option)
        assert code == 2 and f"{option[0]} is the business of the search that is joined; leave it out" in err


def test_an_invitation_is_one_line() -> None:
    invitation = Invitation("10.0.0.1:6379", "token", 0.5, 0.25, None)
    assert Invitation.read(str(invitation)) == invitation and "\n" not in str(invitation)
    assert Invitation.read("") is Invitation.read("{}") is Invitation.read("told") is None


@pytest.mark.parametrize("before", [None, "10.0.0.1:6379"])
def test_whose_ray_was_joined_is_forgotten(before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    note = tmp_path / "ray" / "ray_current_cluster"
    if before is not None:
        note.write_text(before)
    with _address_forgotten():
        write_ray_address("10.0.0.2:6379")
        assert note.read_text() == "10.0.0.2:6379"
    assert (note.read_text() if note.exists() else None) == before


def test_a_second_command_works_for_the_search_that_runs(space: Path, hpo: Run) -> None:
    assert hpo("search", "--space", str(space), "--join")[0] == 2
    environment = without_ray()
    Path("search.py").write_text(SEARCH)
    joining = [sys.executable, "-m", "hpo", "search", "--space", str(space), "--join", "--concurrency", "1"]
    with Path("log").open("w") as log, Path("first").open("w") as told:
        search = subprocess.Popen([sys.executable, "search.py"], stdout=log, stderr=log, env=environment)
        helpers: list[subprocess.Popen[bytes]] = []
        try:
            wait_for(1, search)
            code, _, err = hpo("search", "--space", str(space))
            assert code == 2 and f"is being searched by another process (process {search.pid} on " in err
            code, _, err = hpo("search", "--space", str(space), "--join")
            assert code == 2 and "works for that search already; --concurrency N says how many trials more" in err
            helpers.append(subprocess.Popen(joining, stdout=told, stderr=told, env=environment))
            wait_for(2, search)
            helpers[0].send_signal(signal.SIGINT)
            assert helpers[0].wait(PATIENCE) == 130, Path("first").read_text()
            command = [*joining, "--format", "json"]
            helpers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, env=environment))
            wait_for(3, search)
            Path("enough").touch()
            out, _ = helpers[1].communicate(timeout=PATIENCE)
            assert helpers[1].returncode == 0, Path("first").read_text()
            assert search.wait(PATIENCE) == 0, Path("log").read_text()
        finally:
            for process in (search, *helpers):
                process.kill()
                process.wait()
    assert json.loads(out)["trials"]["failed"] == json.loads(out)["trials"]["unfinished"] == 0
    study = Study.open(Path("studies"), "squares")
    assert len(study.trials()) == TRIALS
    assert {trial.state for trial in study.trials()} <= {State.COMPLETE, State.PRUNED}
    assert all(list(trial.reports) == list(range(1, trial.epoch + 1)) for trial in study.trials())
    assert study.searcher is None
    code, _, err = hpo("search", "--space", str(space), "--join")
    assert code == 2 and "nobody searches study 'squares' now; leave --join out to search it" in err
