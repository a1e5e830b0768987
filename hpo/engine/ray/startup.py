"""What a start of Ray needs of this machine: a temporary folder, a home with a token, and its turn."""

import contextlib
import fcntl
import logging
import os
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpo.errors import ResourceError
from hpo.study.secret import keep_ray_token

_LONGEST = 107 if sys.platform == "linux" else 103
"""Bytes of the name of a socket."""
_BELOW = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
"""The longest name of a socket below Ray's temporary folder."""
_TURN_SECONDS = 300.0
"""A start waits no longer than this for the others, one of which may hang."""
_WORD_SECONDS = 2.0
"""A start that has waited for so long tells the user why."""
_LOOK_SECONDS = 0.2
_log = logging.getLogger(__name__)


def check(own: bool) -> None:
    """Checks what Ray would fail for in the middle of its start, or at its import.

    Args:
        own: whether a Ray of this machine is to be started, and not a cluster joined.

    Raises:
        ResourceError: there is no home, or the temporary folder or the home cannot be used.
    """
    try:
        home = Path.home()
    except RuntimeError:
        raise ResourceError(
            f"HOME is not set, and user {os.getuid()} has no home on this machine, which Ray needs; set HOME to a"
            " folder that this user can write"
        ) from None
    if own:
        _check_temporary()
        _check_token(home)


def _check_temporary() -> None:
    """Checks that Ray's sessions can be made, and that the names of their sockets are short enough."""
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), None)
    if variable == "TMPDIR" and sys.platform != "linux":  # there Ray does not look at it
        variable = None
    folder = Path(os.environ[variable] if variable else "/tmp")
    named = f"{variable}: '{folder}'" if variable else f"'{folder}'"
    room = _LONGEST - len(_BELOW)
    if len(os.fsencode(folder)) > room:
        raise ResourceError(
            f"{named} is too long: a socket's name has at most {_LONGEST} bytes, which leaves {room} for the folder"
            " below which Ray makes its own; set RAY_TMPDIR to a shorter one, such as /tmp"
        )
    try:
        (folder / "ray").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder / "ray"):
            pass
    except OSError as error:
        raise ResourceError(
            f"{named} cannot be written, where Ray makes its sockets and logs: {error.strerror or error}; set"
            " RAY_TMPDIR to a folder of this machine that can"
        ) from None


def _check_token(home: Path) -> None:
    """Makes the token that a Ray of this machine asks for."""
    try:
        keep_ray_token()
    except OSError as error:
        raise ResourceError(
            f"'{home / '.ray' / 'auth_token'}' cannot be used, the token by which Ray knows its user:"
            f" {error.strerror or error}; set HOME to a folder that this user can write"
        ) from None


@contextmanager
def turn(given_up: threading.Event) -> Iterator[None]:
    """Waits until no other process of this user starts a Ray on this machine.

    Begun together, on few cores, all would take longer than Ray gives each. The lock is a courtesy: where it cannot be
    had, because its file is somebody else's or its holder hangs, the start is not held up.

    Args:
        given_up: ends the waiting.
    """
    with contextlib.ExitStack() as held:
        try:
            lock = _opened(Path(tempfile.gettempdir()) / f"hpo-ray-{os.getuid()}.lock")
        except OSError:
            yield
            return
        held.callback(os.close, lock)
        began, told = time.monotonic(), False
        while not given_up.is_set() and not _locked(lock) and time.monotonic() - began < _TURN_SECONDS:
            if not told and time.monotonic() - began > _WORD_SECONDS:
                told = True
                _log.warning("Another search is starting its Ray on this machine; this one waits for its turn ...")
            given_up.wait(_LOOK_SECONDS)
        yield


def _opened(file: Path) -> int:
    """A file of this user's own; no link is followed."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    found = os.fstat(lock)
    if found.st_uid != os.getuid() or not stat.S_ISREG(found.st_mode):
        os.close(lock)
        raise PermissionError(f"'{file}' is not this user's own")
    return lock


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
