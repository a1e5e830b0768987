"""An MLflow server that is really stopped: no trial waits for it, and it has everything in the end."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
from mlflow import MlflowClient

from hpo.study.study import Study
from hpo.study.trial import State
from tests.conftest import FAULTS, PATIENCE, without_ray
from tests.servers import MlflowServer, mlflow_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("outages")]

OUTAGE, TRIALS = 60.0, 70
STORAGE = Path("studies")


def write_space(rounds: ModuleType, trials: int) -> Path:
    space = Path("space.yaml")
    filled = {"name": "outage", "sampler": "random", "scheduler": "none", "trials": trials, "seed": 0}
    space.write_text(rounds.SPACE.format(**filled))
    return space


def environment(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    return without_ray()


def wait_for_a_trial(url: str, search: "subprocess.Popen[bytes]") -> None:
    client = MlflowClient(url)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert search.poll() is None, Path("log").read_text()
        experiment = client.get_experiment_by_name("hpo")
        if experiment is not None and client.search_runs(
            [experiment.experiment_id], "tags.`hpo.kind` = 'trial' and attributes.status = 'FINISHED'", max_results=1
        ):
            return
        time.sleep(0.3)
    raise AssertionError(f"MLflow has heard of no trial: {Path('log').read_text()}")


def test_mlflow_that_is_down_for_a_minute_has_everything_in_the_end(
    rounds: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = write_space(rounds, trials=TRIALS)
    with mlflow_server(tmp_path) as server, Path("log").open("w") as log:
        command = [sys.executable, str(FAULTS / "driver.py"), str(space), str(STORAGE), "notes"]  # 0.2 s an epoch
        search = subprocess.Popen(command, stdout=log, stderr=log, env=environment(server, monkeypatch))
        try:
            wait_for_a_trial(server.url, search)
            server.stop()
            down = time.time()
            time.sleep(OUTAGE)
            assert search.poll() is None
            up = time.time()
            server.start()
            assert search.wait(PATIENCE) == 0, Path("log").read_text()
        finally:
            search.kill()
            search.wait()
        study = Study.open(STORAGE, "outage")
        assert [trial.state for trial in study.trials()] == [State.COMPLETE] * TRIALS
        meanwhile = sum(down < at < up for trial in study.trials() for _, at in trial.reported.values())
        assert meanwhile > 10 * 9  # training went on: what had begun are two trials of 9 epochs
        rounds.check_mlflow(study, STORAGE)


def test_mlflow_that_is_down_throughout_is_told_by_the_next_command(
    rounds: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, server = write_space(rounds, trials=3), MlflowServer(tmp_path)
    command = [sys.executable, "-m", "hpo", "search", "--space", str(space), "--concurrency", "2"]

    def run() -> str:
        variables = environment(server, monkeypatch)
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=variables, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "MLflow lacks" in run()
    study = Study.open(STORAGE, "outage")
    assert [trial.state for trial in study.trials()] == [State.COMPLETE] * 3
    assert all(list(trial.reports) == list(range(1, 10)) for trial in study.trials())
    try:
        server.start()
        assert "MLflow lacks" not in run()
        rounds.check_mlflow(study, STORAGE)
    finally:
        server.stop()
