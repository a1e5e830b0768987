"""A machine that works for another process's search: a node of that one's Ray, for as long as the search lasts."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Self

import ray

from hpo.engine.ray.cluster import environment, knock
from hpo.engine.ray.machines import HELPER
from hpo.errors import InputError, ResourceError
from hpo.signals import raising
from hpo.study.artifacts import Folder, Place
from hpo.study.secret import is_proof, proof, secret_file

_STOP_SECONDS = 20.0
"""Seconds in which a node says goodbye to its Ray."""
_LONGEST, _ASKEW = 7 * 24 * 3600.0, 3600.0
"""Seconds that an invitation holds, and by how much the clocks of two machines may differ."""
_ADDRESS = re.compile(r"[\w.:\[\]-]+", re.ASCII)
"""An address of a Ray: nothing that a shell would take for more, since messages tell the user to type it."""
_MODE = "RAY_AUTH_MODE"
"""Ray asks for the token in ~/.ray/auth_token where this is `token`, as it makes it for a Ray of one machine."""
_MODES = ("disabled", "token")
_MOST = 10_000
"""CPUs or GPUs of a trial; no machine has more."""


@dataclass(frozen=True)
class Invitation:
    """What another machine needs to know to help with a search."""

    address: str
    """GCS address of the Ray of the search, `host:port`."""
    mode: str
    """Whether that wants a token."""
    cpu: float
    gpu: float
    """GPUs of each trial."""
    folder: str | None
    """The folder in which trials store what they leave; None where that is an object store."""
    study: str
    """The name and the id of the study."""
    until: float
    """When it ends, in seconds since 1970: whoever can write to the study's folder may keep it."""
    proof: str | None = None
    """Proof that the user wrote it, and not whoever can write to the study's folder; see `hpo.study.secret`."""

    @classmethod
    def here(cls, each: Mapping[str, float], place: Place, study: str, limit: float | None) -> Self:
        """An invitation to the Ray of this process, proven by the user's secret.

        Args:
            each: what a trial gets.
            place: of the artifacts.
            study: its name and id.
            limit: seconds that the search lasts at most.
        """
        folder = str(place.folder.absolute()) if isinstance(place, Folder) else None
        address, mode = str(ray.get_runtime_context().gcs_address), os.environ.get(_MODE, "disabled").lower()
        until = time.time() + min(_LONGEST, math.inf if limit is None else limit + _ASKEW)
        invitation = cls(address, mode, each["cpu"], each["gpu"], folder, study, until)
        with contextlib.suppress(PermissionError):  # told to who joins; the search needs no secret
            return replace(invitation, proof=proof(str(invitation), make=True))
        return invitation

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Reads an invitation from one line; None where it is none, or a part of it is of another kind."""
        try:
            read = cls(**json.loads(text))
            texts = (read.address, read.mode, read.study, read.folder or "", read.proof or "")
            sound = math.isfinite(read.until) and all(0 <= share <= _MOST for share in (read.cpu, read.gpu))
            if not sound or not all(isinstance(part, str) for part in texts) or read.mode not in _MODES:
                return None
            return read if _ADDRESS.fullmatch(read.address) and (read.proof or "").isascii() else None
        except (ValueError, TypeError, RecursionError, OverflowError):
            return None

    def __str__(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    def check(self, study: str, address: str | None) -> None:
        """Holds it to be the user's own: who follows it lets whoever wrote it run code here.

        Args:
            study: the name and the id of the study that is joined.
            address: of the Ray that the user names this time; it needs no proof.

        Raises:
            InputError: it is not proven, or too old, and the user has named no Ray or another one.
        """
        if address is not None:
            if address != self.address:
                raise InputError(
                    f"--address {address}: that search's Ray is at {self.address}; name it so, or not at all"
                )
            return
        try:
            known = self.proof is not None and is_proof(str(replace(self, proof=None)), self.proof)
        except OSError as error:
            raise InputError(f"{error}; an invitation is proven by it") from None
        if not known or self.study != study:
            raise InputError(
                f"the invitation to the Ray at {self.address} is not proven to be yours: '{secret_file()}' here is not"
                " the one of the machine that searches, or somebody else wrote it. Copy that file from there, or say"
                f" which Ray you mean: --address {self.address}"
            )
        if self.until < time.time():
            raise InputError(
                f"the invitation to the Ray at {self.address} is too old to be followed unasked; say that you mean that"
                f" Ray: --address {self.address}"
            )


@contextmanager
def node(invitation: Invitation, trials: int | None) -> Iterator["Node"]:
    """A node of a running Ray; its trials begin again elsewhere when it leaves.

    Args:
        invitation: to it.
        trials: for how many at once it brings CPUs and GPUs; all that the machine has where None.

    Raises:
        ResourceError: nobody listens there, or the folder of the artifacts is not seen from here.
    """
    try:
        knock(invitation.address)
    except OSError as error:
        raise ResourceError(
            f"its Ray at {invitation.address} cannot be reached from here: {error}; a search that other machines may"
            " join is one on a Ray cluster (--address)"
        ) from error
    if invitation.folder is not None and not Path(invitation.folder).exists():
        raise ResourceError(
            f"this machine does not see '{invitation.folder}', where the trials of that search store what they leave;"
            " use a folder that all machines share under one path (--storage), or --artifacts URI"
        )
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", f"--address={invitation.address}", "--block"]
    command += [f"--resources={json.dumps({HELPER: 1})}"]
    if trials is not None:
        command += [f"--num-{kind}s={math.ceil(trials * getattr(invitation, kind))}" for kind in ("cpu", "gpu")]
    with _address_forgotten(), tempfile.TemporaryFile("w+") as told:
        with environment(), environment({_MODE: invitation.mode}):
            started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told, start_new_session=True)
        try:
            with raising(signal.SIGINT):
                yield Node(started, told)
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(_STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()


@contextmanager
def _address_forgotten() -> Iterator[None]:
    """Ray notes on a machine which Ray it has joined, and `ray.init()` would look for that when it is long gone."""
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    note = Path(temporary) / "ray" / "ray_current_cluster"
    before = note.read_text() if note.exists() else None
    try:
        yield
    finally:
        if before is None:
            note.unlink(missing_ok=True)
        else:
            note.write_text(before)


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
