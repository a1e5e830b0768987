"""The Slurm job that requeues itself, without Slurm: `scontrol` is one that keeps what it is told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo.study.study import Study
from hpo.study.trial import State
from tests.conftest import PATIENCE, ROOT, without_ray

JOB = ROOT / "scripts" / "cluster" / "slurm.sbatch"
SCONTROL = '#!/bin/sh\necho "$@" >> requeued\n'
SEARCH = """#!{python}
import signal, sys, time
open("arguments", "w").write(" ".join(sys.argv[1:]))
def end(number, frame):
    print("signal", number, flush=True)
    time.sleep(0.5)
    sys.exit({code})
signal.signal(signal.SIGTERM, end)
open("ready", "w").close()
time.sleep({seconds})
sys.exit({result})
"""


def program(name: str, text: str) -> None:
    """Puts a program before all others of its name."""
    Path("bin").mkdir(exist_ok=True)
    file = Path("bin") / name
    file.write_text(text)
    file.chmod(0o755)


def job(*arguments: str) -> "subprocess.Popen[bytes]":
    program("scontrol", SCONTROL)
    path = f"{Path('bin').absolute()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**without_ray(), "PATH": path, "SLURM_JOB_ID": "4711"}
    with Path("log").open("ab") as log:
        return subprocess.Popen(["bash", str(JOB), *arguments], stdout=log, stderr=log, env=environment)


def wait(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, Path("log").read_text()
        time.sleep(0.05)


def fake(code: int = 143, seconds: float = PATIENCE, result: int = 0) -> None:
    """A search that sleeps, and ends with a code when it is told to end."""
    program("hpo", SEARCH.format(python=sys.executable, code=code, seconds=seconds, result=result))


def test_it_is_a_script_that_bash_reads() -> None:
    assert subprocess.run(["bash", "-n", str(JOB)], capture_output=True, check=False).stderr == b""
    asked = [line.split()[1] for line in JOB.read_text().splitlines() if line.startswith("#SBATCH ")]
    assert "--signal=B:USR1@120" in asked and "--requeue" in asked and "--open-mode=append" in asked


@pytest.mark.parametrize(
    ("sent", "code", "ends", "requeued"),
    [
        ([signal.SIGUSR1], 143, 0, True),
        ([signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM], 143, 0, True),
        ([signal.SIGTERM], 143, 143, False),
        ([signal.SIGUSR1], 1, 1, False),  # it failed at its end: nothing would go better
        ([signal.SIGUSR1], 0, 0, False),  # it was done in that moment
    ],
)
def test_it_is_requeued_where_its_time_is_up_and_only_then(
    sent: list[signal.Signals], code: int, ends: int, requeued: bool
) -> None:
    fake(code)
    started = job("--space", "a b.yaml")
    wait(Path("ready").exists)
    for number in sent:
        started.send_signal(number)
        time.sleep(0.1)
    assert started.wait(PATIENCE) == ends
    assert Path("arguments").read_text() == "search --space a b.yaml --grace-period 90s"
    assert Path("requeued").exists() == requeued
    if requeued:
        assert Path("requeued").read_text() == "requeue 4711\n"
    assert Path("log").read_text().count("signal 15") == 1  # a second one would end a search at once


@pytest.mark.parametrize("result", [0, 1, 2])
def test_a_search_that_ends_by_itself_ends_the_job_with_its_code(result: int) -> None:
    fake(seconds=0.2, result=result)
    assert job().wait(PATIENCE) == result
    assert not Path("requeued").exists()


@pytest.mark.slow
def test_a_real_search_stores_its_trials_and_the_next_job_goes_on(document: dict[str, Any]) -> None:
    from ruamel.yaml import YAML

    document |= {"scheduler": "none", "sampler": "random", "budget": {"trials": 1}}
    document["training"] |= {"epochs": 100_000, "batch_size": 1024}
    with Path("long.yaml").open("w") as file:
        YAML(typ="safe").dump(document, file)

    def reached() -> int:
        there = Path("studies/squares").exists()
        return max((it.epoch for it in Study.open(Path("studies"), "squares").trials()), default=0) if there else 0

    last = 0
    for jobs in (1, 2):
        started, before = job("--space", "long.yaml", "--concurrency", "1"), last
        wait(lambda before=before: reached() > before + 5)  # type: ignore[misc]
        started.send_signal(signal.SIGUSR1)
        assert started.wait(PATIENCE) == 0, Path("log").read_text()
        assert Path("requeued").read_text() == "requeue 4711\n" * jobs
        study = Study.open(Path("studies"), "squares")
        (trial,) = study.trials()
        last = trial.epoch
        assert trial.state is State.RUNNING and study.artifacts.state_epoch(0) == last
