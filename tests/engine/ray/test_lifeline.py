"""A command whose Ray is lost."""

import socket
import subprocess
import sys

import pytest

from hpo.engine.ray.lifeline import _knocked
from tests.conftest import PATIENCE, ROOT, without_ray
from tests.servers import free_port

COMMAND = """
import os, signal, sys, time
from pathlib import Path
import ray
from hpo.engine.ray import lifeline
from hpo.engine.ray.cluster import cluster

lifeline._PATIENCE = 3.0
with cluster(), lifeline.lifeline():
    ended = [
        int(place.name) for place in Path("/proc").glob("[0-9]*")
        if (place / "stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
        and sys.argv[1] in (place / "cmdline").read_text()
    ]
    for process in ended:
        os.kill(process, signal.SIGKILL)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("process", "what"),
    [
        ("raylet/raylet", "has ended"),
        pytest.param("gcs/gcs_server", "has not answered for 3 s", marks=pytest.mark.slow),
    ],
)
def test_a_lost_ray_is_one_sentence(process: str, what: str) -> None:
    command = [sys.executable, "-c", COMMAND, process]
    environment = without_ray() | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    who = "the Ray that this command had started"
    way = "What is done is kept: run it again, and it goes on"
    said = f"Error: {who} {what}, so this command has ended. {way}\n"
    assert ran.returncode == 1 and ran.stderr.endswith(said), ran.stderr  # it may have waited for its turn before


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", True),  # as the kernel does where memory has run out
        ("os._exit(1)", True),  # as Ray's native code does
        ("pass", False),
        ("raise SystemExit", False),
    ],
)
def test_a_killed_command_has_its_last_words(how: str, told: bool) -> None:
    command = f"import os, signal\nfrom hpo.engine.ray.lifeline import _last_words\nwith _last_words():\n    {how}"
    environment = without_ray() | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", command], stderr=subprocess.PIPE, text=True, env=environment)
    assert ("Error: this command was killed: its machine ran out of memory" in ran.stderr) == told
    assert ("What is done is kept: the same command goes on" in ran.stderr) == told
    assert len(ran.stderr.splitlines()) == told


def test_only_who_is_away_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"127.0.0.1:{server.getsockname()[1]}"
        assert _knocked(there) is None
        monkeypatch.setattr(socket, "create_connection", lambda *_, **__: open("/no/such/file"))  # noqa: PTH123, SIM115
        assert _knocked(there) is None  # an error of this process, such as too many open files
    monkeypatch.undo()
    assert _knocked(f"127.0.0.1:{free_port()}") is not None
