"""What a training function prints is kept with its trial, as that of a program is: `hpo log` shows it."""

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

from hpo.study.artifacts import PRINTED, Place, printed
from hpo.training.function import Report
from hpo.training.output import Output

_STORE_SECONDS = 5.0
"""What was printed is stored no more often, but for the end."""
_END: Any = object()


def kept(reports: Iterator[Report], place: Place, goes_on: bool) -> Iterator[Report]:
    """The same reports; what is printed while they are made is stored in the trial's place.

    Closing this iterator closes the reports.

    Args:
        reports: of a training function.
        place: of the trial's files.
        goes_on: whether the trial ran before: what was kept then stays.
    """
    prints = _Prints(place, goes_on)
    try:
        while True:
            with prints.heard():
                report = next(reports, _END)
            if report is _END:
                return
            if time.monotonic() - prints.stored_at >= _STORE_SECONDS:
                prints.store()
            yield report
    finally:
        try:
            if (close := getattr(reports, "close", None)) is not None:
                with prints.heard():
                    close()
        finally:
            prints.store()


class _Prints:
    """The two streams of a training function.

    Args:
        place: of the trial's files.
        goes_on: whether the trial ran before.
    """

    def __init__(self, place: Place, goes_on: bool) -> None:
        before: dict[str, bytes] = {}
        if goes_on:
            with suppress(OSError):  # what was printed before is no reason to fail
                before = printed(place)
        self._place, self._outputs = place, [Output(before.get(name, b"")) for name in PRINTED]
        self._streams = [_Stream(output) for output in self._outputs]
        self.stored_at = time.monotonic()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Takes what is printed while it lasts."""
        out, err = self._streams
        with redirect_stdout(out), redirect_stderr(err):
            yield

    def store(self) -> None:
        """Stores what was printed, if anything was since the last time."""
        self.stored_at = time.monotonic()
        for name, output, stream in zip(PRINTED, self._outputs, self._streams, strict=True):
            if stream.written:
                stream.written = False
                with suppress(OSError):  # a disk that is full ends the search where the trial's own files are stored
                    self._place.write(name, output.kept)


class _Stream(io.TextIOBase):
    """A text stream whose content is kept."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.written = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding in which it is kept."""
        return "utf-8"

    def write(self, text: str) -> int:
        """Takes a text."""
        self._output.add(text.encode(errors="replace"))
        self.written = True
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The process's own stdout: what other programs print there is not kept."""
        if sys.__stdout__ is None:
            raise io.UnsupportedOperation("fileno")
        return sys.__stdout__.fileno()
