"""A search with real Ray that is looked at, changed and ended from another process; and failed trials again."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import hpo as product
from hpo.errors import TrialsError
from hpo.spec import Config, StudySpec
from hpo.study.study import Study
from hpo.study.trial import State, TrialRecord
from hpo.training import Context, Report
from tests.conftest import PATIENCE, Run, without_ray
from tests.engine.ray.test_run import snapshot
from tests.servers import postgres

EPOCHS = 100_000


@pytest.fixture(params=["journal", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The record of searches, wherever `HPO_DATABASE` says."""
    if request.param == "journal":
        yield
        return
    with postgres() as url:
        monkeypatch.setenv("HPO_DATABASE", url)
        yield


@pytest.fixture
def running(document: dict[str, Any], database: None) -> Iterator["subprocess.Popen[bytes]"]:
    """`hpo search` of trials without an end, two at once."""
    document |= {"scheduler": "none", "sampler": "random", "budget": {"trials": 9}}
    document["training"] |= {"epochs": EPOCHS, "batch_size": 1024}
    with Path("long.yaml").open("w") as file:
        YAML(typ="safe").dump(document, file)
    command = [sys.executable, "-m", "hpo", "search", "--space", "long.yaml", "--concurrency", "2"]
    with Path("log").open("ab") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, env=without_ray())
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def trials() -> list[TrialRecord]:
    if not Path("studies/squares").exists():
        return []
    return Study.open(Path("studies"), "squares").trials()


def wait(search: "subprocess.Popen[bytes]", happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert search.poll() is None and time.monotonic() < deadline, Path("log").read_text()
        time.sleep(0.3)


def test_a_search_is_seen_changed_and_ended_from_another_shell(running: "subprocess.Popen[bytes]", hpo: Run) -> None:
    wait(running, lambda: len(trials()) == 2 and all(trial.epoch >= 2 for trial in trials()))
    seen = json.loads(hpo("status", "--format", "json")[1])
    searcher = f"process {running.pid} on {socket.gethostname()}"
    assert (seen["searcher"], seen["left"], seen["spent"]["trials"]) == (searcher, {"trials": 9}, 0)
    assert [trial["trial"] for trial in seen["running"]] == [0, 1]
    for trial in seen["running"]:
        process, where = trial["machine"].split(" on ")
        assert where == socket.gethostname() and process != f"process {running.pid}"
        os.kill(int(process.split()[1]), 0)  # it is there
        assert 0 < trial["seconds"] < seen["seconds"] + 60

    code, out, _ = hpo("enqueue", "--study", "squares", "optimizer.lr=0.0125")
    assert (code, out) == (0, f"Enqueued: optimizer.lr=0.0125; {searcher} tries it next.\n")
    code, out, _ = hpo("stop", "--trial", "1")
    assert code == 0 and f"Trial 1 is asked to end, of {searcher}" in out
    wait(running, lambda: len(trials()) == 3 and trials()[2].epoch >= 1)
    stopped, tried = trials()[1:]
    assert (stopped.state, stopped.reason) == (State.PRUNED, "stopped by the user")
    assert tried.config["optimizer.lr"] == 0.0125 and 8 <= tried.config["model.width"] <= 32
    study = Study.open(Path("studies"), "squares")
    wait(running, lambda: study.artifacts.read(1) is not None)  # what it leaves stays
    assert study.wishes.waiting() == {}

    assert hpo("stop")[0] == 0
    assert running.wait(PATIENCE) == 130
    log = " ".join(Path("log").read_text().split())
    assert "hpo stop: the search ends when its running trials have stored their state" in log
    assert "hpo resume --study squares` goes on with it" in log and "Traceback" not in log
    again = {trial.number: trial for trial in trials()}
    assert [again[number].state for number in (0, 1, 2)] == [State.RUNNING, State.PRUNED, State.RUNNING]
    assert study.artifacts.state_epoch(0) == again[0].epoch
    assert json.loads(hpo("status", "--format", "json")[1])["searching"] is False


def broken_once(config: Config, context: Context) -> Iterator[Report]:
    """Raises as long as a file is there."""
    assert isinstance(context.spec, StudySpec)
    if (Path(context.spec.data.path or "").parent / "broken").exists():
        raise RuntimeError("the disk is away")
    yield from (Report(epoch, {"accuracy": 0.5}, snapshot) for epoch in (1, 2, 3))


def test_what_failed_begins_again(document: dict[str, Any], ray_cluster: None) -> None:
    document |= {"scheduler": "none", "failures": {"max_failures": 99}, "budget": {"trials": 2}}
    mark = Path(document["data"]["path"]).parent / "broken"
    mark.touch()
    with pytest.raises(TrialsError):
        product.search(document, train=broken_once)
    lost = Study.open(Path("studies"), "squares").trials()
    assert [trial.state for trial in lost] == [State.FAILED] * 2
    mark.unlink()
    found = product.resume("squares", train=broken_once, retry_failed=True).study.trials()
    assert [trial.state for trial in found] == [State.FAILED] * 2 + [State.COMPLETE] * 2
    assert [trial.retry_of for trial in found] == [None, None, 0, 1]
    assert [trial.config for trial in found[2:]] == [trial.config for trial in lost]
    again = product.resume("squares", train=broken_once, retry_failed=True).study
    assert len(again.trials()) == 4 and again.spent().trials == 2
