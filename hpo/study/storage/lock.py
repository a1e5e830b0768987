"""The lock of a study: a file that names the process which may write, and is free when that process ends."""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import StudyError
from hpo.files import open_regular

if TYPE_CHECKING:
    pass


LOCK = "search.lock"
"""The file in a study's folder that the process which searches it locks."""
LOCKING = os.O_RDWR | os.O_CREAT | os.O_APPEND
"""How a file is opened that is to be locked."""
_MOST_BYTES = 2**16
"""So much is read of a lock's file."""
_ON = " on "
"""Separates the process from the machine in the lock file."""


@contextmanager
def hold(file: Path, study: str, told: str = "", noted: str = "") -> Iterator[None]:
    """Holds a study for one process, by a lock on a file, which tells the others something, and notes something.

    Raises:
        StudyError: another process holds it.
    """
    lock = open_regular(file, LOCKING)
    with locked(lock, partial(held_by, study), told, noted):
        try:
            yield
        finally:
            os.utime(lock)


@contextmanager
def locked(descriptor: int, busy: Callable[[str, str], StudyError], told: str = "", noted: str = "") -> Iterator[None]:
    """Locks a file, in which the process that holds it is named; the lock goes with its process, however that ends.

    Args:
        descriptor: of the file, opened with `LOCKING`; it is closed at the end.
        busy: from the name of another process that holds it, and what that tells, to what is raised then.
        told: a line for the others, beside the name.
        noted: another one, about what it does.
    """
    with os.fdopen(descriptor, "a+", encoding="utf-8") as lock:
        for patience in (0.02, 0.08, 0.2, None):  # somebody may only be looking whether it is locked
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if patience is None:
                    raise busy(*_lines(descriptor)[:2]) from None
                time.sleep(patience)
        lock.truncate(0)
        lock.write(f"{this_process()}\n{told}\n{noted}\n")
        lock.flush()
        os.fsync(lock.fileno())  # or another machine would read an empty file
        yield


def publish(draft: Path, file: Path) -> None:
    """Gives a whole file its name, unless another process was faster.

    Args:
        draft: the file, in the same folder; the caller removes it.
        file: its name.

    Raises:
        StudyError: another process does the same at this moment, where there are no hard links.
        OSError: the folder cannot be written.
    """
    try:
        os.link(draft, file)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        lock = file.with_name(f".{file.name}.lock")
        with locked(open_regular(lock, LOCKING), lambda *_: StudyError(f"another process makes '{file}'; try again")):
            if not file.exists():
                draft.rename(file)


def holder(file: Path) -> tuple[str, str] | None:
    """The process that holds a file's lock, and what it tells the others; None where none does."""
    lines = _held(file)
    return None if lines is None else (lines[0], lines[1])


def note(file: Path) -> str:
    """What the process that holds a file's lock has noted of itself; empty where none does."""
    lines = _held(file)
    return "" if lines is None else lines[2]


def _held(file: Path) -> list[str] | None:
    """The lines in a file that a process has locked, three at least; None where none has."""
    try:
        descriptor = open_regular(file)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _lines(descriptor)
    return None


def check_free(file: Path, study: str) -> None:
    """Checks that no process holds a study, for now.

    Raises:
        StudyError: one does.
    """
    if (holds := holder(file)) is not None:
        raise held_by(study, *holds)


def _lines(descriptor: int) -> list[str]:
    return [*os.pread(descriptor, _MOST_BYTES, 0).decode(errors="replace").splitlines(), "", "", ""]


def this_process() -> str:
    """The name of this process, as `holder` has it."""
    return f"process {os.getpid()}{_ON}{socket.gethostname()}"


def of_this_machine(process: str) -> bool:
    """Whether a process that `holder` has named runs here."""
    return process.rpartition(_ON)[2] == socket.gethostname()


def held_by(study: str, holder: str, told: str = "") -> StudyError:
    """The error that another process searches a study.

    Args:
        study: its name.
        holder: the process, or an empty text.
        told: what that tells the others: how to join it.
    """
    who = f" ({holder.strip()})" if holder.strip() else ""
    way = "wait, stop it, or work for it with --join" if told else "wait, or stop it"
    return StudyError(f"study '{study}' is being searched by another process{who}; {way}")
