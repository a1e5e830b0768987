"""Runs programs as a worker does, and looks whether a process of theirs is left."""

import contextlib
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpo import spec
from hpo.spec import Config, SearchSpec
from hpo.study.artifacts import place
from hpo.training import Context
from hpo.training.programs import Program
from hpo.training.programs.program import RunningProgram
from tests.conftest import PATIENCE

EPOCHS = 5
MARK = "PROGRAM_OF_A_TEST"
Start = Callable[..., RunningProgram]


def searched(run: str | Sequence[str], epochs: int = EPOCHS, mark: str = "", **command: Any) -> SearchSpec:
    document = {
        "study": "own",
        "command": {"run": run, "grace": 0.3, **command, "environment": {MARK: mark, **command.get("environment", {})}},
        "training": {"epochs": epochs},
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}, "optimizer.name": {"values": ["adam", "sgd"]}},
    }
    return spec.read(document).checked()


def processes(mark: str, supervisors: bool = False) -> list[int]:
    """The processes whose environment has a mark, but for those that supervise them."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            marked = folder.name.isdigit() and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            supervises = marked and b"supervisor.py" in (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0] if marked else "X"
            if state not in "ZX" and (supervisors or not supervises):
                found.append(int(folder.name))
    return found


def eventually(true: Callable[[], object]) -> bool:
    """Whether it becomes true while one waits."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python` is the one that runs the tests."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A mark of this test's programs, of which no process is left in the end."""
    own = uuid.uuid4().hex
    yield own
    left = processes(own)
    ended = eventually(lambda: not processes(own, supervisors=True))
    for pid in processes(own, supervisors=True):
        with contextlib.suppress(OSError):
            os.kill(pid, 9)
    assert left == [] and ended


@pytest.fixture
def start(mark: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a program; what it prints is stored in `trial`. It is closed in the end, and leaves no process."""
    started: list[RunningProgram] = []

    def run(
        words: str | Sequence[str],
        config: Config | None = None,
        resume: Any = None,
        epochs: int = EPOCHS,
        **command: Any,
    ) -> RunningProgram:
        wanted = searched(words, epochs, mark, **command)
        assert wanted.command is not None
        context = Context(wanted, None, 7, resume, number=3, place=place(tmp_path / "trial"))
        one = Program.of(wanted.command)(config or {"lr": 0.5, "optimizer.name": "sgd"}, context)
        started.append(one)
        return one

    yield run
    for one in started:
        one.close()


def sh(script: str) -> list[str]:
    """The words of a script of the shell, in which braces are braces."""
    return ["sh", "-c", script.replace("{", "{{").replace("}", "}}")]


def py(script: str) -> list[str]:
    """The words of a script of Python, in which braces are braces."""
    return ["python", "-c", script.replace("{", "{{").replace("}", "}}")]
