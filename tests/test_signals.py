"""Signals that end a command, sent to real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hpo.signals import interruptions, raising
from hpo.study.folder import study_names
from hpo.study.study import Study
from hpo.study.trial import State
from tests.conftest import PATIENCE, without_ray
from tests.servers import free_port, wait_for

EPOCHS = 2000
pytestmark = pytest.mark.xdist_group("signals")


@contextmanager
def command(*arguments: str, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A command of its own; what it says is in the file `log`."""
    with Path("log").open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "hpo", *arguments], stdout=log, stderr=log, env=without_ray(), **options
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def wait(search: "subprocess.Popen[bytes]", happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert search.poll() is None and time.monotonic() < deadline, Path("log").read_text()
        time.sleep(0.1)


def trains(epochs: int) -> bool:
    """Whether a trial has trained for so many epochs."""
    if "squares" not in study_names(Path("studies")):
        return False
    return any(trial.epoch >= epochs for trial in Study.open(Path("studies"), "squares").trials())


@pytest.fixture
def long_space(document: dict[str, Any]) -> str:
    """A search of one trial, of many short epochs."""
    del document["parameters"]["model.width"]
    document |= {"scheduler": "none", "sampler": "random", "budget": {"trials": 1}}
    document["training"]["epochs"] = EPOCHS
    with Path("long.yaml").open("w") as file:
        YAML(typ="safe").dump(document, file)
    return "long.yaml"


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow)]
)
def test_a_search_ends_in_order_and_goes_on(long_space: str, sent: signal.Signals, code: int) -> None:
    search = ("search", "--space", long_space, "--concurrency", "1")
    with command(*search) as started:
        wait(started, lambda: trains(5))
        begun = time.monotonic()
        started.send_signal(sent)
        assert started.wait(PATIENCE) == code, Path("log").read_text()
        took = time.monotonic() - begun
    log = " ".join(Path("log").read_text().split())
    assert f"{sent.name}: the search ends when its running trials have stored their state, in 30 s at most" in log
    assert "hpo resume --study squares` goes on with it" in log
    assert "Traceback" not in log and "PC: @" not in log and "***" not in log
    assert took < 30 + 15
    study = Study.open(Path("studies"), "squares")
    (trial,) = study.trials()
    assert trial.state is State.RUNNING and 5 <= trial.epoch < EPOCHS
    assert study.artifacts.state_epoch(0) == trial.epoch  # nothing is trained twice
    assert study.hold.searcher is None
    with command(*search) as started:  # the same command goes on, beyond where it stood
        wait(started, lambda: trains(trial.epoch + 5))
        started.send_signal(sent)
        assert started.wait(PATIENCE) == code
    again = Study.open(Path("studies"), "squares").trial(0)
    assert {epoch: again.reports[epoch] for epoch in trial.reports} == trial.reports
    assert again.began != trial.began or again.epoch >= trial.epoch + 5


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(long_space: str, document: dict[str, Any], tmp_path: Path) -> None:
    """The trial hangs in an epoch, so that the first signal alone would wait."""
    (tmp_path / "hanging.py").write_text(
        "import sys, time\nfrom pathlib import Path\nimport hpo\n"
        "from hpo.training import Report\nfrom hpo.training.function import Snapshot\n"
        "def hang(config, context):\n"
        "    yield Report(1, {'accuracy': 0.5}, lambda: Snapshot({}, {}))\n"
        "    time.sleep(1000)\n"
        "hpo.search('long.yaml', train=hang, concurrency=1, grace_period=600)\n"
    )
    with Path("log").open("ab") as log:
        search = subprocess.Popen([sys.executable, "hanging.py"], stdout=log, stderr=log, env=without_ray())
    try:
        wait(search, lambda: trains(1))
        search.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            search.wait(5)
        search.send_signal(signal.SIGTERM)
        assert search.wait(60) == 143, Path("log").read_text()
    finally:
        search.kill()
        search.wait()
    assert "PC: @" not in Path("log").read_text()
    (trial,) = Study.open(Path("studies"), "squares").trials()
    assert trial.state is State.RUNNING and trial.epoch == 1


@pytest.mark.slow
def test_what_takes_longer_than_the_grace_period_is_cut(long_space: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nimport hpo\nfrom hpo.training import Report\nfrom hpo.training.function import Snapshot\n"
        "def slow(config, context):\n"
        "    yield Report(1, {'accuracy': 0.5}, lambda: Snapshot({}, {}))\n"
        "    time.sleep(1000)\n"
        "result = hpo.search('long.yaml', train=slow, concurrency=1, grace_period=2)\n"
        "print('interrupted by', result.interrupted.name)\n"
    )
    with Path("log").open("ab") as log:
        search = subprocess.Popen([sys.executable, "slow.py"], stdout=log, stderr=log, env=without_ray())
    try:
        wait(search, lambda: trains(1))
        begun = time.monotonic()
        search.send_signal(signal.SIGTERM)
        assert search.wait(PATIENCE) == 0, Path("log").read_text()
        assert time.monotonic() - begun < 40
    finally:
        search.kill()
        search.wait()
    assert "interrupted by SIGTERM" in Path("log").read_text()


def test_nohup_is_heeded(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raising(), interruptions() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interruption.signal is None and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def terminal() -> Iterator[None]:
    """SIGHUP ends a process, also where the tests were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("terminal")
def test_handlers_are_as_before() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    for second, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        with pytest.raises(SystemExit) as left, raising(), interruptions() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert interruption.signal is signal.SIGINT
            os.kill(os.getpid(), second)
            time.sleep(1)
        assert left.value.code == code
        with pytest.raises(SystemExit) as left, raising():
            os.kill(os.getpid(), second)
            time.sleep(1)
        assert left.value.code == code
    with pytest.raises(KeyboardInterrupt), interruptions():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert [signal.getsignal(number) for number in numbers] == before


def alive(group: int) -> list[str]:
    """The processes of a group that have not ended."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row[2] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


@pytest.mark.slow
@pytest.mark.parametrize("whom", [os.kill, os.killpg])
def test_ui_leaves_nothing_behind(whom: Callable[[int, int], None]) -> None:
    """SIGTERM comes to the process alone, SIGHUP of a terminal that is closed to its group."""
    Path("studies").mkdir()
    Path("studies/mlflow.db").touch()
    port = free_port()
    with command("ui", "--port", str(port), start_new_session=True) as started:
        wait_for(f"http://127.0.0.1:{port}/health", started, Path("log"))
        whom(started.pid, signal.SIGTERM if whom is os.kill else signal.SIGHUP)
        started.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while alive(started.pid) and time.monotonic() < deadline:
            time.sleep(0.2)
        left = alive(started.pid)
        if left:
            os.killpg(started.pid, signal.SIGKILL)
    assert not left


@pytest.mark.slow
def test_what_trains_beside_a_search_ends_at_once_and_goes_on(document: dict[str, Any]) -> None:
    document |= {"scheduler": "none", "budget": {"trials": 2}}
    document["training"]["epochs"] = 300
    with Path("long.yaml").open("w") as file:
        YAML(typ="safe").dump(document, file)
    with command("search", "--space", "long.yaml", "--epochs", "30") as started:
        assert started.wait(PATIENCE) == 0, Path("log").read_text()
    bags = ("ensemble", "--method", "bagging", "--bags", "6", "--top", "1", "--name", "bags")
    folder = Path("studies/squares/ensembles")
    with command(*bags) as started:
        wait(started, lambda: bool(list(Path("studies/squares/retrained").rglob("epoch-*"))))
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 143, Path("log").read_text()
    assert not (folder / "bags" / "ensemble.json").exists()
    with command("reproduce", "0") as started:
        time.sleep(8)
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) in (0, 143), Path("log").read_text()
    log = Path("log").read_text()
    assert "Traceback" not in log and "PC: @" not in log
    with command(*bags) as started:
        assert started.wait(PATIENCE) == 0, Path("log").read_text()
