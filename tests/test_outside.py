"""A whole search and ensemble whose record, artifacts and runs are all on servers: PostgreSQL, S3, MLflow over HTTP."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from hpo import api
from hpo.study.trial import State
from tests.conftest import PATIENCE, without_ray
from tests.servers import PASSWORD, QUOTED, credentials, mlflow_server, postgres, s3

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


def test_a_search_and_an_ensemble_on_servers(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del document["scheduler"]  # the default sampler and scheduler, which asks the study itself
    space = tmp_path / "space.yaml"
    with space.open("w") as file:
        YAML(typ="safe").dump(document, file)
    credentials(monkeypatch)
    with postgres() as database, s3() as query, mlflow_server(tmp_path) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("HPO_DATABASE", database)
        environment = without_ray()

        def hpo(*arguments: str) -> str:
            command = [sys.executable, "-m", "hpo", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
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
        client = MlflowClient(server.url)
        experiment = client.get_experiment_by_name("hpo")
        assert experiment is not None
        kinds = [run.data.tags["hpo.kind"] for run in client.search_runs([experiment.experiment_id])]
        assert sorted(kinds) == ["ensemble", "study", *["trial"] * 6]
        assert PASSWORD not in (study.folder / "places.json").read_text()
