"""`hpo.report`: by which code that trains says what it has reached, whoever runs it."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

ADDRESS = "HPO_REPORT"
"""The environment variable by which a program finds the search that has started it: the path of a socket."""
_MISSING = "hpo.report wants metrics: hpo.report(loss=0.1), or a dict of them"
_ANSWER = 64
"""Bytes of an answer at most."""


class Receiver(Protocol):
    """What takes reports of the code that runs."""

    def report(self, metrics: Mapping[str, Any], epoch: int | None) -> None:
        """Takes the metrics of an epoch; the one after the last where it is None."""


_receiver: Receiver | None = None


def report(metrics: Mapping[str, Any] | None = None, /, *, epoch: int | None = None, **named: Any) -> None:
    """Reports the metrics of an epoch of the trial that runs, from within its training function or its program.

    The call returns when the trial is to go on. If it is to pause or stop, the call does not return: `GreenletExit`
    (in a program `SystemExit`), which is no `Exception`, ends what runs, and its `finally` blocks are run. Where no
    search runs the code, nothing is done, so that a script works alone too.

    Args:
        metrics: name -> number.
        epoch: which it is, from 1 on; the one after the last where None.
        named: metrics by keyword.

    Raises:
        TypeError: there are no metrics, or in a program a metric is no number.
        TrainingError: it is called from another thread than the training function's.
        OSError: the search that has started the program cannot be reached any more.
    """
    given = {**(metrics or {}), **named}
    if not given:
        raise TypeError(_MISSING)
    receiver = _receiver or _search_around()
    if receiver is not None:
        receiver.report(given, epoch)


def receiver() -> Receiver | None:
    """What takes the reports of the code that runs; None where no search runs it."""
    return _receiver


@contextmanager
def received(receiver: Receiver) -> Iterator[None]:
    """Lets a receiver take the reports of what runs within."""
    global _receiver
    before, _receiver = _receiver, receiver
    try:
        yield
    finally:
        _receiver = before


class _Search:
    """The search that has started this program.

    Args:
        address: the path of its socket.
    """

    def __init__(self, address: str) -> None:
        self.process = os.getpid()
        """The process that is connected; a copy of it has to connect itself."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(address)

    def report(self, metrics: Mapping[str, Any], epoch: int | None) -> None:
        """Sends a report, and waits until the trial is to go on; ends this program where it is not."""
        numbers = {str(name): _number(name, value) for name, value in metrics.items()}
        told = {"epoch": None if epoch is None else _plain(epoch), "metrics": numbers}
        self._socket.sendall(json.dumps(told).encode() + b"\n")
        if self._socket.recv(_ANSWER) != b"go\n":
            raise SystemExit(0)


_search: _Search | None = None


def _search_around() -> _Search | None:
    """The search that has started this program; None where none has."""
    global _search
    address = os.environ.get(ADDRESS)
    if address and (_search is None or _search.process != os.getpid()):
        _search = _Search(address)
    return _search if address else None


def _number(name: object, value: Any) -> float | int:
    plain = _plain(value)
    try:
        if isinstance(plain, bool | str | bytes | bytearray):
            raise TypeError
        return plain if isinstance(plain, int) else float(plain)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"hpo.report got {value!r:.60} as '{name}': a metric is one number") from None


def _plain(value: Any) -> Any:
    """A number of any library's as one of Python's."""
    return value.item() if hasattr(value, "item") else value
