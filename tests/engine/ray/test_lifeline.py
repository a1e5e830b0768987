"""A command whose Ray is lost."""

import socket
import subprocess
import sys
import threading

import pytest

from hpo.engine.ray import lifeline
from hpo.engine.ray.lifeline import _knocked
from tests.conftest import PATIENCE, ROOT, without_ray
from tests.servers import free_port

COMMAND = """
import contextlib, os, signal, sys, time
from pathlib import Path
from hpo.engine.ray import lifeline
from hpo.engine.ray.cluster import cluster

lifeline._PATIENCE = 3.0
with cluster(), lifeline.lifeline():
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another's process, which has ended
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()) and sys.argv[1] in (place / "cmdline").read_text():
                os.kill(int(place.name), signal.SIGKILL)
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


def test_ray_is_asked_where_to_knock_before_it_can_be_lost(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[threading.Thread] = []
    monkeypatch.setattr(lifeline, "_node_here", lambda: asked.append(threading.current_thread()))
    with lifeline.lifeline():
        assert asked == [threading.current_thread()]  # the thread that knocks would wait for a Ray that has gone
    assert len(asked) == 1


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
