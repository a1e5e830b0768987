"""The limits of a worker's time: a process that hangs ends itself, and an epoch ends when the search does."""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO

from hpo.study.artifacts import Folder, Place

TRACE = "hang.txt"
"""The file among a trial's artifacts that says where it stood."""


@contextmanager
def watched(seconds: float | None, place: Place) -> Iterator[None]:
    """Ends the process if what is done within takes longer; where every thread stood is written before.

    It is a thread in C that does this, which needs no help of what hangs.

    Args:
        seconds: None is no limit.
        place: of the trial's artifacts; where it is not a folder, the process's stderr has the trace.
    """
    if seconds is None:
        yield
        return
    with _trace(place) as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


class OutOfTime(BaseException):
    """The search's time is over; no handler of errors in a user's code is to keep it."""


@contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Raises OutOfTime in what is done within, when the time has come.

    Args:
        deadline: seconds since 1970; None is no limit. Nor is there one outside of the main thread.
    """
    if deadline is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(1e-3, deadline - time.time()))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _trace(place: Place) -> Iterator[IO[str]]:
    """A file that is there only if something was written to it."""
    if not isinstance(place, Folder):
        yield sys.__stderr__ or sys.stderr
        return
    place.write(TRACE, b"")
    with os.fdopen(place.opened(TRACE, os.O_WRONLY), "w", encoding="utf-8") as file:
        yield file
    place.remove(TRACE)
