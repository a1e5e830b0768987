"""What a start of Ray needs of this machine."""

import logging
import os
import pwd
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hpo.engine.ray import startup
from hpo.engine.ray.startup import check, turn
from hpo.errors import ResourceError
from tests.conftest import PATIENCE, ROOT, without_ray, without_rights

RETRY = """
import time
import ray
import ray._private.services as services
from hpo.engine.ray.cluster import cluster

known, began = services.get_node, time.monotonic()

def late(*arguments):
    if time.monotonic() - began < 32:
        raise RuntimeError("no node is there yet")
    return known(*arguments)

services.get_node = late
with cluster():
    print(ray.get(ray.remote(lambda: 6 * 7).remote()), len(ray.nodes()))
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and the usual temporary folder."""
    for name in ("TMPDIR", "RAY_TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "home"


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_temporary_folder_whose_name_is_too_long_for_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with pytest.raises(ResourceError, match=r"TMPDIR: '.*x' is too long: a socket's name has at most 107 bytes, which"):
        check(own=True)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check(own=True)
    check(own=False)


def test_the_longest_temporary_folder_that_is_let_through_has_room_for_rays_sockets() -> None:
    from ray._private.utils import validate_socket_filepath

    room = startup._LONGEST - len(startup._BELOW)
    validate_socket_filepath("x" * room + startup._BELOW)
    with pytest.raises(OSError, match="AF_UNIX path length"):
        validate_socket_filepath("x" * (room + 1) + startup._BELOW)


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_that_cannot_be_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/proc/nothing")
    with pytest.raises(ResourceError, match=f"{name}: '/proc/nothing' cannot be written, where Ray makes its sockets"):
        check(own=True)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for own in (True, False):
        with pytest.raises(ResourceError, match=rf"HOME is not set, and user {os.getuid()} has no home"):
            check(own)


def refused(space: Path, *before: str, **changes: str) -> str:
    """The one line that a search says which ends before it is begun."""
    command = [*before, sys.executable, "-m", "hpo", "search", "--space", str(space)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=without_ray() | changes)
    assert (ran.returncode, ran.stdout) == (2, "") and "Traceback" not in ran.stderr, ran.stderr
    (line,) = ran.stderr.splitlines()
    return line


def test_a_search_names_the_temporary_folder_that_is_too_long(space: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    assert refused(space, TMPDIR=str(folder)).startswith(f"Error: TMPDIR: '{folder}' is too long: a socket's name has")


def test_a_search_names_the_temporary_folder_that_cannot_be_written(space: Path) -> None:
    told = "Error: TMPDIR: '/proc' cannot be written, where Ray makes its sockets and logs: "
    assert refused(space, TMPDIR="/proc").startswith(told)


def test_a_search_of_a_user_without_a_home_says_so(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    told = "Error: HOME is not set, and user 54321 has no home on this machine, which Ray needs; set HOME to a folder"
    assert refused(space, *without_rights()).startswith(told)


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nothing")
    with pytest.raises(ResourceError, match=r"'/proc/nothing/.ray/auth_token' cannot be used, the token by which Ray"):
        check(own=True)
    check(own=False)  # who joins a cluster writes no token


def test_the_token_is_its_owners_alone(own_home: Path) -> None:
    file = own_home / ".ray" / "auth_token"
    check(own=False)
    assert not file.exists()
    before = os.umask(0)
    try:
        check(own=True)
    finally:
        os.umask(before)
    token = file.read_text()
    assert len(token) == 64 and mode(file) == 0o600 and mode(file.parent) == 0o700
    file.chmod(0o644)  # as Ray itself makes it
    check(own=True)
    assert file.read_text() == token and mode(file) == 0o600
    assert [found.name for found in file.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"])
def test_a_token_that_is_the_users_own_business(name: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "disabled")
    check(own=True)
    assert not own_home.exists()


def test_ray_takes_the_token(own_home: Path) -> None:
    check(own=True)
    code = "from ray._raylet import AuthenticationTokenLoader as loader\nprint(loader.instance().get_raw_token())"
    command = [sys.executable, "-c", code]
    environment = without_ray() | {"RAY_AUTH_MODE": "token"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert (own_home / ".ray" / "auth_token").read_text() in ran.stdout, ran.stderr


def test_starts_take_turns_and_say_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(startup, "_WORD_SECONDS", 0.3)
    never, order = threading.Event(), []

    def second() -> None:
        with turn(never):
            order.append("second")

    with turn(never):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(1.0)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert [record.message for record in caplog.records] == [
        "Another search is starting its Ray on this machine; this one waits for its turn ..."
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "_TURN_SECONDS", 0.5)
    given_up = threading.Event()
    with turn(given_up):
        began = time.monotonic()
        with turn(given_up):  # its holder hangs
            assert 0.4 < time.monotonic() - began < 10
        given_up.set()
        began = time.monotonic()
        with turn(given_up):
            assert time.monotonic() - began < 0.4


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_file_of_ones_own_is_left_alone(kind: str, tmp_path: Path) -> None:
    lock, target = tmp_path / f"hpo-ray-{os.getuid()}.lock", tmp_path / "target"
    {"link": lambda: lock.symlink_to(target), "pipe": lambda: os.mkfifo(lock), "folder": lock.mkdir}[kind]()
    with turn(threading.Event()):
        pass
    assert not target.exists()


@pytest.mark.slow
def test_a_start_that_was_too_slow_is_begun_again() -> None:
    command = [sys.executable, "-c", RETRY]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT, env=without_ray())
    assert ran.stdout.split() == ["42", "1"], ran.stderr
    assert re.search(r"Ray did not start: The current node timed out during startup.*; start 2 of 3 \.\.\.", ran.stderr)
    assert "Traceback" not in ran.stderr
