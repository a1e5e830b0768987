import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from hpo.datasets.dataset import Inputs
from hpo.ensemble.model import LOADER_MODULE, Ensemble
from hpo.errors import InputError
from hpo.study.artifacts import Folder
from hpo.study.study import Study
from hpo.tracking.ensembles import EnsembleRecord, log_ensemble, requirements
from hpo.tracking.registry import check_name, register
from hpo.tracking.store import connect, tracking_uri
from tests.conftest import ROOT
from tests.ensemble.folders import inputs, write_ensemble
from tests.servers import wait_for


def log(study: Study, folder: Path, example: Inputs, report: str | None = None) -> str:
    """The id of the ensemble's run."""
    record = EnsembleRecord(
        name="made",
        method="voting",
        folder=Folder(folder),
        loader=LOADER_MODULE,
        members=[
            {"name": "trial 0", "trial": 0, "weight": 0.75},
            {"name": "soup of trials 1, 2", "trial": None, "weight": 0.25},
        ],
        metrics={"test_nll": 0.5},
        example=example,
        classes=3,
        report=report,
    )
    return log_ensemble(study, study.folder.parent, record)


@pytest.mark.parametrize(
    ("task", "kind"), [("classification", "images"), ("multilabel", "table"), ("regression", "table")]
)
def test_a_logged_model_predicts_as_the_ensemble(task: str, kind: str, study: Study, tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", task, kind)
    rows = inputs(kind, 4)
    run_id = log(study, folder, rows[:1])
    mlflow.set_tracking_uri(tracking_uri(study.folder.parent))
    try:
        loaded = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    np.testing.assert_array_equal(loaded.predict(rows), Ensemble(folder).combined_predictions(rows))
    (tensor,) = loaded.metadata.get_input_schema().inputs
    assert tensor.type == rows.dtype and tensor.shape == (-1, *rows.shape[1:])
    assert loaded.metadata.get_output_schema().inputs[0].shape == (-1, 3)
    assert loaded.input_example is not None
    model = Path(str(loaded.metadata.artifact_path).removeprefix("file://"))
    assert loaded.metadata.flavors["python_function"]["code"] is None and not (model / "code").exists()
    assert not list(model.rglob("*.py")), "what is beside a model could be changed, and would be run"


def test_a_model_needs_no_more_than_its_requirements(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made")
    spare = ["click", "cmaes", "deap", "mlflow", "ray", "rich", "sklearn", "threadpoolctl"]
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({spare}))  # as if they were not installed\n"
        "import numpy; from hpo.ensemble.model import _load_pyfunc\n"
        f"print(_load_pyfunc({str(folder)!r}).predict(numpy.zeros((1, 8, 8, 3), numpy.uint8)).shape)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout == "(1, 3)\n", done.stderr
    assert not {requirement.partition("==")[0] for requirement in requirements()} & {*spare, "scikit-learn"} - {
        "mlflow"
    }


def test_a_run_has_weights_and_the_report(study: Study, tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made")
    (folder / "pages").mkdir()
    (folder / "pages" / "report.html").write_text("<p>made</p>")
    run_id = log(study, folder, inputs("images", 1), "pages")
    client = MlflowClient(tracking_uri=tracking_uri(study.folder.parent))
    assert client.get_run(run_id).data.params == {"weight.trial-0": "0.75", "weight.soup-of-trials-1-2": "0.25"}
    assert [file.path for file in client.list_artifacts(run_id, "report")] == ["report/report.html"]


def test_the_script_of_the_user_has_an_experiment_and_a_run_of_its_own(study: Study, tmp_path: Path) -> None:
    """`mlflow.set_experiment` in the same script is no business of an ensemble's run, nor the other way round."""
    uri = tracking_uri(study.folder.parent)
    connect(study.folder.parent)
    mlflow.set_tracking_uri(uri)
    try:
        mine = mlflow.set_experiment("mine").experiment_id
        with mlflow.start_run() as open_run:
            run_id = log(study, write_ensemble(tmp_path / "made"), inputs("images", 1))
            active = mlflow.active_run()
            assert active is not None and active.info.run_id == open_run.info.run_id
        theirs, logged = mlflow.get_run(open_run.info.run_id), mlflow.get_run(run_id)
        assert theirs.outputs is not None and not theirs.outputs.model_outputs
        assert logged.info.status == "FINISHED" and logged.info.experiment_id != mine
        assert logged.outputs is not None
        (model,) = logged.outputs.model_outputs
        assert mlflow.get_logged_model(model.model_id).experiment_id == logged.info.experiment_id
        assert mlflow.pyfunc.load_model(f"runs:/{run_id}/model").predict(inputs("images", 2)).shape == (2, 3)
        with mlflow.start_run() as later:
            assert later.info.experiment_id == mine
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        mlflow.tracking.fluent._active_experiment_id = None
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


def test_versions_are_registered_and_the_alias_moves(study: Study, tmp_path: Path) -> None:
    storage = study.folder.parent
    run_id = log(study, write_ensemble(tmp_path / "made"), inputs("images", 1))
    assert register(storage, run_id, "insects") == 1
    assert register(storage, run_id, "insects") == 2
    assert register(storage, run_id, "insects", alias="shadow") == 3
    client = MlflowClient(tracking_uri=tracking_uri(storage))
    assert client.get_model_version_by_alias("insects", "champion").version in (2, "2")
    assert client.get_model_version_by_alias("insects", "shadow").run_id == run_id
    assert "MLFLOW_TRACKING_URI" not in os.environ


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "x" * 256, " "])
def test_a_name_that_the_registry_refuses_is_told(name: str) -> None:
    with pytest.raises(InputError, match="--register must be a name of 1 to 255 characters"):
        check_name(name)


@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v3", "a b", "a.b"])
def test_an_alias_that_the_registry_refuses_is_told(alias: str) -> None:
    with pytest.raises(InputError, match="an alias must be of letters, digits"):
        check_name("insects", alias)


def test_a_registered_ensemble_answers_over_http(study: Study, tmp_path: Path) -> None:
    storage = study.folder.parent
    folder = write_ensemble(tmp_path / "made")
    images = inputs("images", 2)
    register(storage, log(study, folder, images[:1]), "insects")
    expected = Ensemble(folder).predict_proba(images)
    with served("insects", tracking_uri(storage), tmp_path / "server.log") as url:
        np.testing.assert_allclose(post(url, images[:1]), expected[:1], atol=1e-6)
        np.testing.assert_allclose(post(url, images), expected, atol=1e-6)
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(url, images[:, :5])
        assert refused.value.code == 400
        refused.value.close()


@contextmanager
def served(name: str, uri: str, log_file: Path) -> Iterator[str]:
    """The address of a server of the registered model, as anyone would start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mlflow_command = str(Path(sys.executable).with_name("mlflow"))
    command = [mlflow_command, "models", "serve", "-m", f"models:/{name}@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": uri,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with (
        log_file.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True) as server,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/ping", server, log_file)
            yield url
        finally:
            os.killpg(server.pid, 15)


def post(url: str, values: np.ndarray) -> Any:
    """Predictions for inputs sent as JSON."""
    request = urllib.request.Request(
        f"{url}/invocations",
        data=json.dumps({"inputs": values.tolist()}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return np.array(json.loads(answer.read())["predictions"], np.float32)
