"""Runs a program and leaves no process of it behind, whatever becomes of the program or of whoever has started it.

A script of the standard library alone, which starts in a hundredth of a second:

    python -I -S supervisor.py SOCKET GRACE SCRATCH WORDS...

It detaches from its starter, so that nobody who ends that one's children ends it too, and adopts what the program
leaves behind (Linux: a child subreaper), also what has a session of its own. By the socket it is told `s` (stand
still), `c` (go on) and `t` (end: SIGTERM, and SIGKILL after GRACE seconds), and tells lines: `started PID`, `failed
ERRNO`, and `exit STATUS` once no process is left. When the other end is closed, as where its starter has died, it kills
all at once, and removes SCRATCH, the folder of the program's own.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes long to import
    from typing import Any

_SUBREAPER, _DEATH_SIGNAL = 36, 1
"""Options of Linux's prctl: adopt orphaned descendants; the signal that comes when the parent dies."""
_LOOK_SECONDS, _STUBBORN_SECONDS = 0.02, 10.0
"""The time between two looks at what is being ended, and until its end is told although a process is left."""


def main() -> None:
    """Starts the program, and stays until none of its processes is left."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    grace, scratch, words = float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    if os.fork():
        os._exit(0)
    os.setsid()
    channel.set_inheritable(False)
    _prctl(_SUBREAPER, 1)
    number, pid = _started(words)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # or the program's pipes would never end
        os.dup2(nowhere, stream)
    if number:
        _tell(channel, f"failed {number}")
    else:
        _tell(channel, f"started {pid}")
        _Family(channel, pid, grace).see_through()
    with contextlib.suppress(OSError):
        while channel.recv(64):  # the program's folder is read until its starter lets go
            pass
    _remove(scratch)


def _started(words: list[str]) -> tuple[int, int]:
    """Starts the program in a session of its own: the number of the error, 0 where there is none, and its process."""
    own, told = os.getpid(), os.pipe()
    pid = os.fork()
    if pid == 0:
        number = 127
        try:
            os.setsid()
            _prctl(_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() != own:
                os._exit(number)
            for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGCHLD", "SIGXFSZ", "SIGUSR1"):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.execvp(words[0], words)
        except OSError as error:
            number = error.errno or number
        os.write(told[1], str(number).encode())
        os._exit(127)
    os.close(told[1])
    failed = os.read(told[0], 16)
    os.close(told[0])
    if failed:
        os.waitpid(pid, 0)
    return int(failed or b"0"), pid


class _Family:
    """A program and all that descends from it.

    Args:
        channel: to who has started it.
        pid: the program's.
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, channel: socket.socket, pid: int, grace: float) -> None:
        self._channel, self._pid, self._grace = channel, pid, grace
        self._status: int | None = None
        self._woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)

    def see_through(self) -> None:
        """Does as it is told until the program has ended, and ends what that has left."""
        self._reap()
        told = b"-"
        while self._status is None and told not in (b"t", b""):
            watched: list[Any] = [self._channel, self._woken]
            ready, _, _ = select.select(watched, [], [])
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._reap()
            if self._channel in ready:
                told = self._told()
                if told in (b"s", b"c"):
                    self._send(signal.SIGSTOP if told == b"s" else signal.SIGCONT)
            else:
                told = b"-"
        if told != b"":
            self._end()
        self._kill()
        self._tell_end()

    def _told(self) -> bytes:
        try:
            return self._channel.recv(1)
        except OSError:
            return b""

    def _end(self) -> None:
        """Asks all to end, and waits for as long as they have; not where their starter dies meanwhile."""
        until, asked = time.monotonic() + self._grace, set[int]()
        while (left := self._left()) and time.monotonic() < until:
            if self._status is not None:
                self._ask([pid for pid in left if pid not in asked])
                asked.update(left)
            elif not asked:
                self._ask([-self._pid])  # the group; what it has started elsewhere is its own business
                asked.add(self._pid)
            ready, _, _ = select.select([self._channel], [], [], _LOOK_SECONDS)
            if ready and self._told() == b"":
                return

    def _ask(self, pids: list[int]) -> None:
        """Asks processes, or a group, to end, also where they stand still."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)

    def _kill(self) -> None:
        """Kills all, again and again until none is left; one that waits in the kernel is told as ended meanwhile."""
        until = time.monotonic() + _STUBBORN_SECONDS
        while self._left():
            self._send(signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)
            if time.monotonic() > until:
                self._tell_end()
                until += 3600.0

    def _left(self) -> list[int]:
        self._reap()
        return self._alive()

    def _alive(self) -> list[int]:
        """The descendants that live; where the system does not list them the group of the program alone."""
        try:
            parents = dict(_processes())
        except OSError:
            try:
                os.killpg(self._pid, 0)
            except OSError:
                return []
            return [-self._pid]
        found: list[int] = []
        own = {os.getpid()}
        while own:
            own = {pid for pid, parent in parents.items() if parent in own}
            found += own
        return found

    def _send(self, number: signal.Signals) -> None:
        if self._status is None:
            with contextlib.suppress(OSError):
                os.killpg(self._pid, number)
        for pid in self._alive():
            with contextlib.suppress(OSError):
                os.kill(pid, number)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self._status = os.waitstatus_to_exitcode(ended[1])

    def _tell_end(self) -> None:
        status = -signal.SIGKILL if self._status is None else self._status
        _tell(self._channel, f"exit {int(status)}")


def _processes() -> "list[tuple[int, int]]":
    """Living processes of this machine, each with its parent.

    Raises:
        OSError: the system does not list them.
    """
    found: list[tuple[int, int]] = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib takes long to import
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                state, parent = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    found.append((int(name), int(parent)))
    if not found:
        raise OSError("no process is listed")
    return found


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _tell(channel: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):
        channel.sendall(f"{line}\n".encode())


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _remove(folder: str) -> None:
    from shutil import rmtree

    rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
