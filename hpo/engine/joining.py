"""A machine that works for another process's search: a node of that one's Ray, for as long as the search lasts."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import ray

from hpo.engine.cluster import environment, knock
from hpo.errors import ResourceError

_STOP_SECONDS = 20.0


_MODE = "RAY_AUTH_MODE"
"""Ray asks for the token in ~/.ray/auth_token where this is `token`, as it makes it for a Ray of one machine."""


def invitation() -> str:
    """What another machine needs to join the Ray of this process: its address, and whether it wants a token."""
    return f"{ray.get_runtime_context().gcs_address} {os.environ.get(_MODE, 'disabled')}"


@contextmanager
def node(invited: str, cpus: float | None, gpus: float | None) -> Iterator["Node"]:
    """A node of a running Ray; its trials begin again elsewhere when it leaves.

    Args:
        invited: what `invitation` said there.
        cpus: that it brings; all of the machine where None.
        gpus: likewise.

    Raises:
        ResourceError: nobody listens there.
    """
    where, _, mode = invited.partition(" ")
    try:
        knock(where)
    except OSError as error:
        raise ResourceError(
            f"its Ray at {where} cannot be reached from here: {error}; a search that other machines may join is one on"
            " a Ray cluster (--address)"
        ) from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={where}", "--block"]
    command += [] if cpus is None else [f"--num-cpus={max(1, round(cpus))}"]
    command += [] if gpus is None else [f"--num-gpus={round(gpus)}"]
    with tempfile.TemporaryFile("w+") as told:
        with environment(), environment({_MODE: mode}):
            started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told, start_new_session=True)
        try:
            yield Node(started, told)
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(_STOP_SECONDS)
            started.kill()
            started.wait()


@dataclass(frozen=True)
class Node:
    """The process of a node, which ends when the Ray that it joined does."""

    process: "subprocess.Popen[bytes]"
    told: IO[str]

    @property
    def problem(self) -> str | None:
        """The last line of what it said; None while it runs."""
        if self.process.poll() is None:
            return None
        self.told.seek(0)
        return next(reversed(self.told.read().strip().splitlines()), f"exit code {self.process.returncode}")
