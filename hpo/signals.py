"""Signals that end a command: Ctrl-C, SIGTERM (Slurm, Kubernetes, systemd) and SIGHUP (a terminal that was closed)."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_TERMINATING = (signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Whether a signal has come, and when."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The first one."""
        self.last: signal.Signals | None = None
        self.asked = False
        """Whether another process has asked for the end, before any signal came."""
        self._at = 0.0

    def note(self, number: int) -> None:
        """Records a signal that comes now."""
        _let_go_of_closed_terminal(number)
        self.last = signal.Signals(number)
        if self.signal is None:
            self._at, self.signal = time.monotonic(), self.last

    def ask(self) -> None:
        """Records that another process asks for the end (`hpo stop`), as Ctrl-C would."""
        self.asked = self.signal is None
        self.note(signal.SIGINT)

    @property
    def name(self) -> str:
        """What has asked for the end, in words."""
        return "hpo stop" if self.asked else "no signal" if self.signal is None else self.signal.name

    @property
    def seconds(self) -> float:
        """Seconds since the first signal."""
        return time.monotonic() - self._at


def exit_code(number: int) -> int:
    """What a command exits with that a signal has ended, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number


@contextmanager
def interruptions() -> Iterator[Interruption]:
    """The first signal is noted, and the search ends in order; a second one ends it at once.

    Then KeyboardInterrupt is raised, which leaves here as SystemExit where it was not Ctrl-C that came. A signal that
    was ignored before stays ignored.
    """
    interruption = Interruption()

    def on_signal(number: int, frame: FrameType | None) -> None:
        again = interruption.signal is not None
        interruption.note(number)
        if again:
            raise KeyboardInterrupt

    with _handling((signal.SIGINT, *_TERMINATING), on_signal), _exiting(interruption):
        yield interruption


@contextmanager
def raising(*others: signal.Signals) -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, which leaves here as SystemExit.

    What was begun is put in order meanwhile. In Ray's calls a handler may raise nothing else.

    Args:
        others: signals that raise too, such as SIGINT where a shell may have had it ignored.
    """
    interruption = Interruption()

    def on_signal(number: int, frame: FrameType | None) -> None:
        interruption.note(number)
        raise KeyboardInterrupt

    with _handling((*_TERMINATING, *others), on_signal), _exiting(interruption):
        yield


def handle_anew() -> None:
    """Sets Python's handlers of SIGTERM and SIGHUP once more, in place of native ones that print a stack first.

    Ray's native code installs such when it starts. In another thread than the main one this does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _TERMINATING:
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)


@contextmanager
def _exiting(interruption: Interruption) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if interruption.last in _TERMINATING:
            raise SystemExit(exit_code(interruption.last)) from None
        raise


@contextmanager
def deaf_children() -> Iterator[None]:
    """What this thread starts meanwhile never hears SIGHUP: a terminal tells all of its processes that it is closed.

    Ray does the same with Ctrl-C.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _let_go_of_closed_terminal(number: int) -> None:
    """Nobody reads any more what goes to a terminal that was closed, and writing to it would be an error."""
    if number != signal.SIGHUP:
        return
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            with contextlib.suppress(OSError):
                os.dup2(nowhere, stream)
            os.close(nowhere)


@contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handles signals for a while, but none that is ignored (`nohup`); in another thread than the main one none at all.

    A shell has Ctrl-C ignored by what it starts in the background, which may be told to end in order nevertheless.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in numbers if number == signal.SIGINT or before[number] is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            if before[number] is not None:
                signal.signal(number, before[number])
