"""A second command that works for a search that runs already, with real Ray."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from ray._private.utils import write_ray_address

from hpo.engine.ray.joining import Invitation, _address_forgotten
from hpo.errors import InputError
from hpo.study.secret import keep_ray_token, proof
from hpo.study.study import Study
from hpo.study.trial import State
from tests.conftest import PATIENCE, Run, without_ray
from tests.servers import free_port

pytestmark = pytest.mark.xdist_group("faults")

TRIALS = 60
SOON = time.time() + 3600.0
SEARCH = f"""
import time
from pathlib import Path
import numpy as np
import ray
import hpo
from hpo.training import Report
from hpo.training.function import Snapshot

def snapshot():
    rows = np.full((60, 3), 1 / 3, np.float32)
    return Snapshot({{"w": np.zeros(1, np.float32)}}, {{"validation": rows, "test": rows}})

def slow(config, context):
    for epoch in range(1, context.spec.training.epochs + 1):
        with Path("nodes").open("a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\\n")
        until = time.monotonic() + 10.0  # the search must not end before both helpers have come
        while not Path("enough").exists() and time.monotonic() < until:
            time.sleep(0.1)
        yield Report(epoch, {{"accuracy": 0.1 * epoch, "nll": 1.0}}, snapshot)

if __name__ == "__main__":
    hpo.search("space.yaml", trials={TRIALS}, concurrency=4, train=slow)
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


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's secret is."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def proven(invitation: Invitation) -> Invitation:
    """As a search of this user writes it."""
    return replace(invitation, proof=proof(str(replace(invitation, proof=None)), make=True))


@pytest.mark.parametrize("change", [{"cpu": 1e300}, {"cpu": -1}, {"gpu": math.nan}, {"mode": "none"}, {"mode": 1}])
def test_an_invitation_to_what_no_machine_has_is_none(change: dict[str, Any]) -> None:
    invitation = Invitation("10.0.0.1:6379", "token", 0.5, 0.25, None, "a", SOON)
    assert Invitation.read(str(invitation)) == invitation
    assert Invitation.read(str(replace(invitation, **change))) is None


def test_only_who_can_read_the_secret_can_invite(config: Path) -> None:
    bare = Invitation("10.0.0.1:6379", "token", 0.5, 0.25, None, "a", SOON)
    with pytest.raises(InputError, match="is not proven to be yours"):
        bare.check("a", None)
    mine = proven(bare)
    secret = config / "hpo" / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600 and secret.parent.stat().st_mode & 0o777 == 0o700
    mine.check("a", None)
    assert Invitation.read(str(mine)) == mine == proven(bare)
    changed = [replace(mine, address="6.6.6.6:1"), replace(mine, folder="/"), replace(mine, mode="disabled")]
    for other in (*changed, replace(mine, proof="0" * 64), replace(mine, proof=None)):
        with pytest.raises(InputError, match="is not proven to be yours"):
            other.check("a", None)
    with pytest.raises(InputError, match="is not proven to be yours"):
        mine.check("b", None)  # of another study
    old = proven(replace(bare, until=time.time() - 1))
    with pytest.raises(InputError, match=r"is too old to be followed unasked; .* --address 10\.0\.0\.1:6379"):
        old.check("a", None)
    old.check("a", "10.0.0.1:6379")
    secret.chmod(0o640)
    with pytest.raises(InputError, match="can be read by others, or is another user's: chmod 600"):
        mine.check("a", None)
    secret.unlink()
    with pytest.raises(
        InputError, match="Copy that file from there, or say which Ray you mean: --address 10.0.0.1:6379"
    ):
        mine.check("a", None)
    mine.check("a", "10.0.0.1:6379")  # the user has named it


def test_rays_token_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    token = tmp_path / ".ray" / "auth_token"
    keep_ray_token()
    made = token.read_text()
    assert len(made) >= 32 and token.stat().st_mode & 0o777 == 0o600
    token.chmod(0o644)  # as Ray itself leaves it
    keep_ray_token()
    assert token.stat().st_mode & 0o777 == 0o600 and token.read_text() == made
    token.unlink()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    keep_ray_token()
    assert not token.exists()


@pytest.mark.usefixtures("config")
def test_what_cannot_be_joined_says_so(space: Path, study: Study, hpo: Run) -> None:
    joining = ("search", "--space", str(space), "--join", "--concurrency", "1")
    code, _, err = hpo(*joining)
    assert code == 2 and "nobody searches study 'squares' now; leave --join out to search it" in err
    with study.hold.held():  # as `hpo gc` does
        code, _, err = hpo(*joining)
    assert code == 2 and f"is held by process {os.getpid()} on " in err and "no search that can be joined; wait" in err
    whose = f"squares {study.id}"
    lost = Invitation(f"127.0.0.1:{free_port()}", "disabled", 1, 0, str(study.folder.absolute()), whose, SOON)
    with study.hold.held(str(lost)):  # anyone who can write to the study's folder could have written that
        code, _, err = hpo(*joining)
        assert code == 2 and f"the invitation to the Ray at {lost.address} is not proven to be yours" in err
        assert f"or say which Ray you mean: --address {lost.address}" in err
        code, _, err = hpo(*joining, "--address", "10.0.0.1:6379")
        assert code == 2 and f"that search's Ray is at {lost.address}" in err
        code, _, err = hpo(*joining, "--address", lost.address)
        assert code == 2 and "cannot be reached from here" in err
    theirs = proven(replace(lost, study=f"other {study.id}"))  # of another study, whose id this one's record has
    with study.hold.held(str(theirs)):
        code, _, err = hpo(*joining)
        assert code == 2 and "is not proven to be yours" in err
    lost = proven(lost)
    with study.hold.held(str(lost)):
        code, _, err = hpo(*joining)
        assert code == 2 and f"its Ray at {lost.address} cannot be reached from here" in err
        code, _, err = hpo(*joining, "--set", "training.batch_size=64")
        assert code == 2 and "training.batch_size was 32, is 64" in err
    with socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        there = f"127.0.0.1:{server.getsockname()[1]}"
        with study.hold.held(str(proven(Invitation(there, "disabled", 1, 0, "/no/such/folder", whose, SOON)))):
            code, _, err = hpo(*joining)
    assert code == 2 and "this machine does not see '/no/such/folder', where the trials of that search" in err
    for option in (
        ("--trials", "3"),
        ("--time-limit", "3s"),
        ("--from", "other"),
        ("--ensemble",),
        ("--accept-code",),
        ("--grace-period", "5s"),
    ):
        code, _, err = hpo(*joining, *option)
        assert code == 2 and f"{option[0]} is the business of the search that is joined; leave it out" in err


def test_an_invitation_is_one_line() -> None:
    invitation = Invitation("10.0.0.1:6379", "token", 0.5, 0.25, None, "of the study", SOON)
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


@pytest.mark.slow
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
            again = subprocess.run([sys.executable, "search.py"], capture_output=True, text=True, env=environment)
            assert f"is being searched by another process (process {search.pid} on " in again.stderr
            assert "starting Ray" not in again.stderr
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
    assert study.hold.searcher is None
    code, _, err = hpo("search", "--space", str(space), "--join")
    assert code == 2 and "nobody searches study 'squares' now; leave --join out to search it" in err
