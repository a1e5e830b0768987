"""Hosts of a Ray cluster in network namespaces of this machine, on a bridge, each with an address of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_PORT = 6379
_SECONDS = 120.0
"""Within which a node must be up."""


class Unable(Exception):
    """This machine does not let namespaces be made."""


@dataclass
class Host:
    """One of them, with network, processes and mounts of its own; files it shares with the others.

    Args:
        name: of its network namespace.
        address: its own.
        folder: of its own, which it sees where Ray has its sessions.
        sessions: where Ray has them, on all hosts; short, for the names of sockets.
    """

    name: str
    address: str
    folder: Path
    sessions: Path
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    first: int = 0
    """The process that holds its namespaces; with it all that run on it end."""

    def boot(self) -> None:
        """Starts the first process, in namespaces of its own."""
        words = ["ip", "netns", "exec", self.name, "unshare", "--mount", "--pid", "--fork", "--mount-proc"]
        holder = subprocess.Popen([*words, "sleep", "infinity"], start_new_session=True)
        self.processes.append(holder)
        children, until = Path(f"/proc/{holder.pid}/task/{holder.pid}/children"), time.monotonic() + _SECONDS
        while not (children.exists() and _title(children.read_text().strip()).startswith("sleep")):
            if holder.poll() is not None or time.monotonic() > until:
                raise Unable("unshare: a host has no processes of its own")
            time.sleep(0.02)
        self.first = int(children.read_text())
        _do(*self._inside, "mount", "--bind", str(self.folder), str(self.sessions))

    @property
    def _inside(self) -> list[str]:
        return ["nsenter", f"--target={self.first}", "--mount", "--net", "--pid"]

    def hide(self, folder: Path) -> None:
        """Lays an empty folder over one."""
        _do(*self._inside, "mount", "-t", "tmpfs", "none", str(folder))

    def start(self, command: list[str], log: Path, cwd: Path | None = None) -> "subprocess.Popen[bytes]":
        """Starts a command on the host, in a session of its own."""
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        own |= {"RAY_TMPDIR": str(self.sessions), "RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1"}
        words = [*self._inside, "env", f"--chdir={cwd or Path.cwd()}", *command]
        with log.open("a") as file:
            process = subprocess.Popen(words, env=own, stdout=file, stderr=file, start_new_session=True)
        self.processes.append(process)
        return process

    def join(self, head: "Host", log: Path, cpus: int = 1) -> "subprocess.Popen[bytes]":
        """Starts a node of the head's cluster, or the head, and waits until it is there; it ends with its process."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cpus}"]
        command += [f"--node-ip-address={self.address}", "--object-store-memory=100000000"]
        if self is head:
            command += ["--head", f"--port={_PORT}", "--include-dashboard=false"]
        else:
            command += [f"--address={head.address}:{_PORT}"]
        process, until = self.start(command, log), time.monotonic() + _SECONDS
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no node on {self.name}: {log.read_text()[-1000:]}")
            time.sleep(0.2)
        return process

    def trains(self) -> bool:
        """Whether a worker of a search is in the middle of an epoch."""
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        return any(_title(number).startswith("ray::ResourceTrainable.train") for number in found.stdout.split())

    def link(self, up: bool) -> None:
        """Plugs its cable in, or pulls it."""
        _do("ip", "link", "set", f"{self.name}b", "up" if up else "down")

    def end(self) -> None:
        """Ends all that was started on it."""
        for process in reversed(self.processes):
            end(process)


def _title(number: str) -> str:
    """What a process says that it does; nothing where there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_text().strip("\0 ")
    return ""


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kills the processes of a session, those that have left its group too."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                if os.getsid(int(place.name)) == process.pid:
                    os.kill(int(place.name), signal.SIGKILL)
    process.wait()


@contextmanager
def hosts(count: int, folder: Path) -> Iterator[list[Host]]:
    """So many hosts on a bridge; all of it is gone afterwards.

    Args:
        count: of hosts.
        folder: for what Ray leaves of each; short.

    Raises:
        Unable: namespaces are not permitted here.
    """
    mark = f"{os.getpid() % 10_000:x}"
    bridge, net = f"hb{mark}", f"10.{77 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
    made: list[Host] = []
    try:
        _do("ip", "link", "add", bridge, "type", "bridge")
        _do("ip", "link", "set", bridge, "up")
        for number in range(1, count + 1):
            host = Host(f"h{mark}n{number}", f"{net}.{number}", folder / f"h{number}", folder / "ray")
            made.append(host)
            _plug(host, bridge)
            host.boot()
        yield made
    finally:
        for host in made:
            host.end()
            _try("ip", "netns", "del", host.name)
            _try("ip", "link", "del", f"{host.name}b")
        _try("ip", "link", "del", bridge)


def _plug(host: Host, bridge: str) -> None:
    inside, outside = f"{host.name}a", f"{host.name}b"
    _do("ip", "netns", "add", host.name)
    _do("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", host.name)
    _do("ip", "link", "set", outside, "master", bridge)
    _do("ip", "link", "set", outside, "up")
    _do("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", inside)
    _do("ip", "-n", host.name, "link", "set", inside, "up")
    _do("ip", "-n", host.name, "link", "set", "lo", "up")
    _do("ip", "-n", host.name, "route", "add", "default", "dev", inside)  # by it a host finds its own address
    for made in (host.folder, host.sessions):
        made.mkdir(parents=True, exist_ok=True)


def _do(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unable(f"{words[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Unable(f"{' '.join(words)}: {error.stderr.strip()}") from error


def _try(*words: str) -> None:
    subprocess.run(words, check=False, capture_output=True)
