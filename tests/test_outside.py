"""A whole search and ensemble whose record, artifacts and runs are all on servers: PostgreSQL, S3, MLflow over HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpo import api
from hpo.study import State
from tests.servers import PASSWORD, QUOTED, credentials, free_port, postgres, s3
from tests.tracking.test_ensembles import wait_for

pytestmark = pytest.mark.xdist_group("ray")


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "kept")]
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as server,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, 15)


def test_a_search_and_an_ensemble_on_servers(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials(monkeypatch)
    with postgres() as database, s3() as query, mlflow_server(tmp_path) as tracking:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
        monkeypatch.setenv("HPO_DATABASE", database)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}

        def hpo(*arguments: str) -> str:
            command = [sys.executable, "-m", "hpo", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
            assert done.returncode == 0, done.stderr
            assert PASSWORD not in done.stdout + done.stderr and QUOTED not in done.stdout + done.stderr
            return done.stdout

        place = f"s3://bucket/studies?{query}"
        searching = ("search", "--space", str(space), "--artifacts", place, "--format", "json")
        found = json.loads(hpo(*searching, "--trials", "4"))
        assert sum(found["trials"].values()) == 4 and found["trials"]["failed"] == 0
        more = json.loads(hpo(*searching, "--trials", "6"))  # the same command goes on
        assert sum(more["trials"].values()) == 6

        built = json.loads(hpo("ensemble", "--method", "voting", "--top", "3", "--format", "json"))
        assert len(built["members"]) == 3 and built["tracking_problem"] is None

        study = api.open_study()
        assert not (study.folder / "journal.log").exists() and not (study.folder / "artifacts").exists()
        assert {trial.state for trial in study.trials()} <= {State.COMPLETE, State.PRUNED}
        client = MlflowClient(tracking)
        experiment = client.get_experiment_by_name("hpo")
        assert experiment is not None
        kinds = [run.data.tags["hpo.kind"] for run in client.search_runs([experiment.experiment_id])]
        assert sorted(kinds) == ["ensemble", "study", *["trial"] * 6]
        assert PASSWORD not in (study.folder / "places.json").read_text()
