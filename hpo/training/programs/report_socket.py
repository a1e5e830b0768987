"""Where `hpo.report` of a program is heard, and answered once its trial is to go on."""

import contextlib
import json
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from hpo.errors import TrainingError
from hpo.training.programs.printed_reports import Told

_MOST = 2**24
"""Bytes of a report."""


class ReportSocket:
    """A socket in a folder that only this user can enter; a process that reports waits there for its answer.

    Args:
        path: of the socket.
        selector: tells of connections and of what they say, by calling what it is given as `data`.
        take: is called with each report.
    """

    def __init__(self, path: Path, selector: selectors.BaseSelector, take: Callable[[Told], None]) -> None:
        self._selector, self._take = selector, take
        self._waiting: list[socket.socket] = []
        self._said: dict[socket.socket, bytes] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    @property
    def waits(self) -> bool:
        """Whether a process waits for an answer."""
        return bool(self._waiting)

    def answer(self, word: str) -> None:
        """Answers all that wait: `go`, or `stop` to those that are to end."""
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            with contextlib.suppress(OSError):
                connection.sendall(f"{word}\n".encode())

    def close(self) -> None:
        """Ends all connections."""
        for connection in list(self._said):
            self._drop(connection)
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._said[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(connection))

    def _hear(self, connection: socket.socket) -> None:
        try:
            content = connection.recv(2**16)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._drop(connection)
            return
        *lines, rest = (self._said[connection] + content).split(b"\n")
        if len(rest) > _MOST:
            raise TrainingError(f"a report of the program has more than {_MOST:,} bytes")
        self._said[connection] = rest
        if lines:
            self._waiting.append(connection)
            for told in map(_told, lines):
                self._take(told)

    def _drop(self, connection: socket.socket) -> None:
        self._said.pop(connection, None)
        if connection in self._waiting:
            self._waiting.remove(connection)
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection)
        connection.close()


def _told(line: bytes) -> Told:
    try:
        document = json.loads(line)
        return Told(dict(document["metrics"]), document["epoch"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise TrainingError(f"what the program wrote to HPO_REPORT is no report: {line!r:.80}") from None
