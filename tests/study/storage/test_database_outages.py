"""A real PostgreSQL that is restarted, cuts connections, or is full, while real searches go on in it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ruamel.yaml import YAML

from hpo.study.folder import study_names
from hpo.study.study import Study
from hpo.study.trial import State
from tests.conftest import FAULTS, PATIENCE, without_ray
from tests.servers import PASSWORD, QUOTED, USER, PostgresServer, postgres_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("outages")]

TRIALS, EPOCHS = 6, 20
STORAGE = Path("studies")
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND pid <> pg_backend_pid()
"""
SEARCH = """
import sys
from functools import partial
from pathlib import Path
import hpo
from driver import noted
from hpo.errors import HpoError
space, database, notes, seconds = sys.argv[1:]
try:
    hpo.search(space, database=database, concurrency=2, train=partial(noted, Path(notes), float(seconds)))
except HpoError as error:
    sys.exit(f"Error: {error}")
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server("max_connections=20") as running:
        yield running


def write_space(document: dict[str, Any], name: str = "squares") -> str:
    """The default sampler and scheduler."""
    whole = {key: value for key, value in document.items() if key != "scheduler"} | {"study": name}
    whole |= {"budget": {"trials": TRIALS}, "resources": {"cpu": 1, "gpu": 0}}
    whole["training"] = {**document["training"], "epochs": EPOCHS}
    with Path(f"{name}.yaml").open("w") as file:
        YAML(typ="safe").dump(whole, file)
    return f"{name}.yaml"


@contextmanager
def search(space: str, url: str, seconds: float = 0.1) -> Iterator["subprocess.Popen[bytes]"]:
    """A search whose epochs take so many seconds."""
    name = Path(space).stem
    Path("search.py").write_text(SEARCH)
    with Path(f"{name}.log").open("wb") as log:
        command = [sys.executable, "search.py", space, url, f"{name}.notes", str(seconds)]
        environment = without_ray()
        environment["PYTHONPATH"] = os.pathsep.join([str(FAULTS), environment.get("PYTHONPATH", "")])
        started = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def trained(name: str = "squares") -> int:
    notes = Path(f"{name}.notes")
    return len(notes.read_text().splitlines()) if notes.exists() else 0


def wait(started: "subprocess.Popen[bytes]", happens: Callable[[], bool], name: str = "squares") -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert started.poll() is None and time.monotonic() < deadline, Path(f"{name}.log").read_text()
        time.sleep(0.05)


def to_the_end(started: "subprocess.Popen[bytes]", space: str, url: str, seconds: float = 0.1) -> int:
    """Until the search is over; one that ended in a sentence, since a transaction was cut, goes on: how often."""
    for again in range(4):
        code, log = started.wait(PATIENCE), Path(space).with_suffix(".log").read_text()
        assert "Traceback" not in log and PASSWORD not in log and QUOTED not in log, log
        if code == 0:
            return again
        assert code == 1 and "the study's database" in log and "`hpo resume --study" in log, log
        with search(space, url, seconds) as started:
            started.wait(PATIENCE)
    raise AssertionError(Path(space).with_suffix(".log").read_text())


def check(url: str, name: str = "squares") -> None:
    """Nothing is lost: every trial is there once, with all that it has reported."""
    study = Study.open(STORAGE, name, url)
    trials = study.trials()
    assert len(trials) == TRIALS and {trial.state for trial in trials} <= {State.COMPLETE, State.PRUNED}
    assert all(list(trial.reports) == list(range(1, trial.epoch + 1)) for trial in trials)
    assert all(study.artifacts.read(trial.number) is not None for trial in trials)
    seeds = {study.spec.trial_seed(trial.number): trial.number for trial in trials}
    noted = {
        (seeds[int(seed)], int(epoch)) for seed, epoch in map(str.split, Path(f"{name}.notes").read_text().splitlines())
    }
    assert {(trial.number, epoch) for trial in trials for epoch in trial.reports} <= noted


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_a_server_that_is_restarted_is_waited_for(
    document: dict[str, Any], server: PostgresServer, seconds: float
) -> None:
    space = write_space(document)
    with search(space, server.url) as started:
        wait(started, lambda: trained() > 10)
        server.stop()
        time.sleep(seconds)
        server.start()
        assert to_the_end(started, space, server.url) <= 1
    check(server.url)


def test_connections_that_are_cut_are_made_anew(document: dict[str, Any], server: PostgresServer) -> None:
    space = write_space(document)
    with search(space, server.url) as started:
        for count in (10, 20, 30):
            wait(started, lambda count=count: trained() > count)  # type: ignore[misc]
            with psycopg.connect(server.url, autocommit=True) as other:
                assert other.execute(CUT, (USER,)).rowcount >= 1
        assert to_the_end(started, space, server.url) <= 3
    check(server.url)


def test_a_server_that_stays_down_is_one_sentence_and_nothing_is_lost(
    document: dict[str, Any], server: PostgresServer
) -> None:
    space = write_space(document)
    with search(space, server.url) as started:
        wait(started, lambda: trained() > 10)
        server.stop()
        assert started.wait(PATIENCE) == 1
    log = Path("squares.log").read_text()
    (sentence,) = [line for line in log.splitlines() if line.startswith("Error: ")]
    assert "the study's database was lost: " in sentence and "`hpo resume --study squares --trust` goes on" in sentence
    assert "Traceback" not in log
    server.start()
    with search(space, server.url) as started:
        assert to_the_end(started, space, server.url) == 0
    check(server.url)


def test_a_server_without_a_free_connection_is_one_sentence_or_waited_for(
    document: dict[str, Any], server: PostgresServer
) -> None:
    space, taken = write_space(document), []
    try:
        with pytest.raises(psycopg.OperationalError):
            while True:
                taken.append(psycopg.connect(server.url))
        with search(space, server.url) as started:  # at the beginning nobody waits
            assert started.wait(PATIENCE) == 1
        assert "cannot be used: " in Path("squares.log").read_text() and not study_names(STORAGE)
        assert "Traceback" not in Path("squares.log").read_text()
        while taken:
            taken.pop().close()
        with search(space, server.url) as started:
            wait(started, lambda: trained() > 10)
            with psycopg.connect(server.url, autocommit=True) as other:
                other.execute(CUT, (USER,))
                with pytest.raises(psycopg.OperationalError):
                    while True:
                        taken.append(psycopg.connect(server.url))
            time.sleep(5)
            while taken:
                taken.pop().close()
            assert to_the_end(started, space, server.url) <= 1
    finally:
        for connection in taken:
            connection.close()
    check(server.url)


def test_two_drivers(document: dict[str, Any], server: PostgresServer) -> None:
    """Of one study the second is refused; two studies in one database are both whole."""
    first, second = write_space(document), write_space(document, "others")
    with search(first, server.url, seconds=1.0) as one, search(second, server.url) as two:
        wait(one, lambda: trained() > 5)
        with search(first, server.url, seconds=1.0) as refused:
            assert refused.wait(PATIENCE) == 1
            assert (
                f"study 'squares' is being searched by another process (process {one.pid} on"
                in Path("squares.log").read_text()
            )
        assert to_the_end(one, first, server.url, 1.0) == 0 and to_the_end(two, second, server.url) == 0
    check(server.url)
    check(server.url, "others")
