"""An ensemble as an MLflow run under its study, with a model that loads and serves wherever `hpo` is installed.

The model has no code beside it, which whoever can write there could change: the installed package loads it, and models
of the user's own are imported from where they are installed.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric, Param
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import AnyType, ColSpec, Schema, TensorSpec

from hpo.study.artifacts import Folder
from hpo.study.study import Study
from hpo.tracking.artifacts import copied, write_folder, write_model
from hpo.tracking.store import (
    TRIAL_TAG,
    connect,
    query_of,
    study_run,
    study_tags,
    tracking_uri,
)

_URI_VARIABLE = "MLFLOW_TRACKING_URI"
_LONGEST_KEY = 250
_MODEL = "model"
_MODEL_FILES = re.compile(r"ensemble\.json|member-\d{2,}\.(safetensors|pt)")
_PICTURES = re.compile(r"report\.html|[a-z0-9_]+\.png")
"""What is copied of an ensemble's folder and of its report: files that others may have laid beside are left alone."""


@dataclass(frozen=True, eq=False)
class EnsembleRecord:
    """What MLflow is told of an ensemble.

    `folder` holds the model and `loader` is the module that loads it; `members` have name, trial and weight;
    `metrics` maps a name to a value. Of the folder no link is followed.
    """

    name: str
    method: str
    folder: Folder
    loader: str
    members: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]
    example: Any
    """One input: an image `(1, h, w, c)` uint8, a row of a table `(1, features)` of floats, or a DataFrame of one row
    of numbers and texts; None of another kind."""
    classes: int
    """Columns of what the model predicts: classes, labels or regression targets."""
    servable: bool = True
    """Whether there is a model that predicts."""
    report: str | None = None
    """The folder in `folder` that has an HTML page; it is logged with all that is in it."""


def log_ensemble(study: Study, storage: Path, record: EnsembleRecord) -> str:
    """Logs the ensemble's run and model.

    Returns:
        The id of the run; the model, if there is one that predicts, is `runs:/<id>/model`.

    Raises:
        mlflow.exceptions.MlflowException: MLflow could not be reached or refused.
    """
    client, experiment_id = connect(storage)
    parent = study_run(client, experiment_id, study, storage)
    tags = {**study_tags(study, "ensemble"), "mlflow.parentRunId": parent, "method": record.method}
    tags |= _member_runs(client, experiment_id, study, record)
    run = client.create_run(experiment_id, tags=tags, run_name=record.name).info.run_id
    try:
        now = time.time_ns() // 1_000_000
        params = [Param(_weight_key(member["name"]), str(member["weight"])) for member in record.members]
        client.log_batch(run, [Metric(name, value, now, 0) for name, value in record.metrics.items()], params)
        if record.report is not None:
            write_folder(client, storage, run, "report", record.folder / record.report, _PICTURES)
        if record.servable:
            _log_model(client, storage, experiment_id, run, record)
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run)
    return str(run)


def _log_model(
    client: mlflow.MlflowClient, storage: Path, experiment_id: str, run: str, record: EnsembleRecord
) -> None:
    """Puts the model under its run.

    `mlflow.pyfunc.log_model` would put it where the user's script stands: into the experiment that this has set, and
    under the run that it has open.
    """
    logged = client.create_logged_model(experiment_id, name=_MODEL, source_run_id=run)
    with (
        tracking_to(tracking_uri(storage)),
        copied(record.folder, _MODEL_FILES) as data,
        TemporaryDirectory() as folder,
    ):
        path = Path(folder) / _MODEL
        mlflow.pyfunc.save_model(
            path=str(path),
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=run,
                model_id=logged.model_id,
            ),
            loader_module=record.loader,
            data_path=str(data),
            signature=_signature(record),
            input_example=record.example,
            pip_requirements=requirements(),
        )
        client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
        write_model(client, storage, logged, Folder(path))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


@contextmanager
def tracking_to(uri: str) -> Iterator[None]:
    """Points MLflow's global functions at a store for a while; they keep it in the environment, which is put back."""
    before = os.environ.get(_URI_VARIABLE)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None, undeclared, unsets it


def _weight_key(member: str) -> str:
    """The name of a member's weight, in what MLflow takes for a key."""
    return re.sub(r"[^\w.:/-]+", "-", f"weight.{member}")[:_LONGEST_KEY]


def _member_runs(
    client: mlflow.MlflowClient, experiment_id: str, study: Study, record: EnsembleRecord
) -> dict[str, str]:
    """Tags that link each member to its trial's run."""
    query = query_of(study, "trial")
    runs = {
        run.data.tags[TRIAL_TAG]: run.info.run_id
        for run in client.search_runs([experiment_id], query, max_results=5000)
    }
    numbers = [str(member["trial"]) for member in record.members if "study" not in member]
    return {f"member.trial-{number}": runs[number] for number in numbers if number in runs}


def _signature(record: EnsembleRecord) -> ModelSignature | None:
    """What the model takes and gives; None where a function of the user's own takes what it likes."""
    if record.example is None:
        return None
    predictions = TensorSpec(np.dtype(np.float32), (-1, record.classes))
    inputs: list[ColSpec | TensorSpec]
    if isinstance(record.example, np.ndarray):
        inputs = [TensorSpec(record.example.dtype, (-1, *record.example.shape[1:]))]
    else:  # any may be missing, and MLflow takes no whole number where it was told of others
        inputs = [ColSpec(AnyType(), name, required=False) for name in record.example]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([predictions]))


def requirements() -> list[str]:
    """What a served model needs beside `hpo`, which is no package of an index: the versions in use here."""
    from importlib.metadata import version

    names = (
        "mlflow",
        "numpy",
        "pydantic",
        "ruamel.yaml",
        "safetensors",
        "torch",
        "optuna",
        "scipy",
    )
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
