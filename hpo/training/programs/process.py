"""A program that runs: its supervisor, and what is heard of both."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_CHUNK = 2**16
_STUBBORN_SECONDS = 15.0
"""Seconds beyond the grace after which nobody waits for a process that does not end, as some wait in the kernel."""


class ProgramProcess:
    """Starts a program under a supervisor, and tells what it prints and how it ends.

    What it prints is read while `wait` is called, and by nobody else: meanwhile its pipes hold it up.

    Args:
        words: the program and its arguments.
        environment: its variables.
        folder: where it runs.
        scratch: the folder of its own, which is removed at the end.
        grace: seconds between SIGTERM and SIGKILL.
        selector: watches its pipes.
        heard: is called with the number of the stream, 0 for stdout and 1 for stderr, and what was printed.

    Raises:
        OSError: the supervisor cannot be started.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        scratch: Path,
        grace: float,
        selector: selectors.BaseSelector,
        heard: Callable[[int, bytes], None],
    ) -> None:
        self._selector, self._heard, self._grace = selector, heard, grace
        self.failed: int | None = None
        """The number of the error for which it could not be started."""
        self.status: int | None = None
        """How it ended: its exit code, or a signal's number below 0; None before its last process is gone."""
        self.bereaved = False
        """Whether its supervisor was killed."""
        self._pid: int | None = None
        self._halted, self._told = False, b""
        self._channel, theirs = socket.socketpair()
        command = [sys.executable, "-I", "-S", str(_SUPERVISOR), str(theirs.fileno()), str(grace), str(scratch), *words]
        try:
            with theirs:
                supervisor = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=[theirs.fileno()],
                    env=dict(environment),
                    cwd=folder,
                )
        except BaseException:
            self._channel.close()
            raise
        supervisor.wait()  # it has detached itself
        assert supervisor.stdout is not None and supervisor.stderr is not None
        self._pipes: list[IO[bytes]] = [supervisor.stdout, supervisor.stderr]
        for number, pipe in enumerate(self._pipes):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, lambda number=number: self._read(number))
        self._channel.setblocking(False)
        selector.register(self._channel, selectors.EVENT_READ, self._listen)

    @property
    def over(self) -> bool:
        """Whether it has ended, or could not be started."""
        return self.status is not None or self.failed is not None

    def wait(self, seconds: float | None = None) -> None:
        """Waits until something is heard, and passes that on."""
        for key, _ in self._selector.select(seconds):
            key.data()

    def halt(self) -> None:
        """Lets all its processes stand still."""
        if not self._halted:
            self._halted = True
            self._say(b"s")

    def go_on(self) -> None:
        """Lets its processes go on that stand still."""
        if self._halted:
            self._halted = False
            self._say(b"c")

    def end(self, patience: float = 0.0) -> None:
        """Ends it: after a while in which it may end by itself SIGTERM, then SIGKILL; returns when it has ended.

        Args:
            patience: seconds before SIGTERM.
        """
        if self.over:
            return
        self._wait_for_end(patience)
        if not self.over:
            self._say(b"t")
            self._wait_for_end(self._grace + _STUBBORN_SECONDS)

    def close(self) -> None:
        """Lets go of its pipes; where it has not ended its supervisor kills it at once."""
        channels: list[Any] = [*self._pipes, self._channel]
        for channel in channels:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(channel)
            channel.close()

    def _wait_for_end(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.over and (left := until - time.monotonic()) > 0:
            self.wait(left)

    def _say(self, command: bytes) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(command)

    def _read(self, number: int) -> bool:
        """Passes a piece of a stream on; whether there was one."""
        pipe = self._pipes[number]
        if pipe.closed:
            return False
        try:
            content = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if content:
            self._heard(number, content)
            return True
        self._selector.unregister(pipe)
        pipe.close()
        return False

    def _listen(self) -> None:
        try:
            content = self._channel.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        *lines, self._told = (self._told + content).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"started":
                self._pid = int(number)
            elif word == b"failed":
                self.failed = int(number)
            else:
                self.status = int(number)
        if not content and not self.over:
            self._bereave()
        if self.over:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._channel)
            for stream in range(len(self._pipes)):
                while self._read(stream):
                    pass

    def _bereave(self) -> None:
        """Kills the rest of the group of a program whose supervisor was killed, and which the kernel has killed."""
        if self._pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._pid, signal.SIGKILL)
        self.status, self.bereaved = -int(signal.SIGKILL), True
