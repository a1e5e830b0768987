"""A process that hangs ends itself: from a thread in C, which needs no help of what hangs."""

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from hpo.artifacts import Folder, Place

TRACE = "hang.txt"
"""The file among a trial's artifacts that says where it stood."""


@contextmanager
def watched(seconds: float | None, place: Place) -> Iterator[None]:
    """Ends the process if what is done within takes longer; where every thread stood is written before.

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


@contextmanager
def _trace(place: Place) -> Iterator[IO[str]]:
    """A file that is there only if something was written to it."""
    if not isinstance(place, Folder):
        yield sys.__stderr__ or sys.stderr
        return
    place.folder.mkdir(parents=True, exist_ok=True)
    path = place.folder / TRACE
    with path.open("w", encoding="utf-8") as file:
        yield file
    path.unlink()
