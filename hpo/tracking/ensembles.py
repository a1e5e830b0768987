"""An ensemble as an MLflow run under its study, with a model that loads and serves anywhere."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types.schema import Schema, TensorSpec
from numpy.typing import NDArray

from hpo.study import Study
from hpo.tracking.store import (
    KIND_TAG,
    STUDY_ID_TAG,
    TRIAL_TAG,
    connect,
    study_run,
    study_tags,
    tracking_uri,
)

_URI_VARIABLE = "MLFLOW_TRACKING_URI"
_PACKAGE = Path(__file__).parents[1]
"""Goes with the model, so that it loads where `hpo` is not installed."""


@dataclass(frozen=True, eq=False)
class EnsembleRecord:
    """What MLflow is told of an ensemble.

    `folder` holds the model and `loader` is the module that loads it; `members` have trial and weight; `metrics` maps a
    name to a value.
    """

    name: str
    method: str
    folder: Path
    loader: str
    members: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]
    example: NDArray[np.uint8] | NDArray[np.float32]
    classes: int
    code: Sequence[Path] = ()
    """The user's own modules that the model needs."""


def log_ensemble(study: Study, storage: Path, record: EnsembleRecord) -> str:
    """Logs the ensemble's run and model.

    Returns:
        The id of the run; the model is `runs:/<id>/model`.

    Raises:
        mlflow.exceptions.MlflowException: MLflow could not be reached or refused.
    """
    client, experiment_id = connect(storage)
    parent = study_run(client, experiment_id, study)
    with _tracking_to(tracking_uri(storage)):
        tags = {**study_tags(study, "ensemble"), "mlflow.parentRunId": parent, "method": record.method}
        tags |= _member_runs(client, experiment_id, study, record)
        run = client.create_run(experiment_id, tags=tags, run_name=record.name)
        with mlflow.start_run(run_id=run.info.run_id, nested=True):
            mlflow.log_params({f"weight.trial-{m['trial']}": m["weight"] for m in record.members})
            mlflow.log_metrics(dict(record.metrics))
            mlflow.pyfunc.log_model(
                name="model",
                loader_module=record.loader,
                data_path=str(record.folder),
                code_paths=[str(path) for path in (_PACKAGE, *record.code)],
                signature=_signature(record),
                input_example=record.example,
                pip_requirements=_requirements(),
            )
        return str(run.info.run_id)


@contextmanager
def _tracking_to(uri: str) -> Iterator[None]:
    """Points MLflow's global functions at a store for a while; they keep it in the environment, which is put back."""
    before = os.environ.get(_URI_VARIABLE)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None, undeclared, unsets it


def _member_runs(
    client: mlflow.MlflowClient, experiment_id: str, study: Study, record: EnsembleRecord
) -> dict[str, str]:
    """Tags that link each member to its trial's run."""
    query = f"tags.`{STUDY_ID_TAG}` = '{study.id}' and tags.`{KIND_TAG}` = 'trial'"
    runs = {
        run.data.tags[TRIAL_TAG]: run.info.run_id
        for run in client.search_runs([experiment_id], query, max_results=5000)
    }
    numbers = [str(member["trial"]) for member in record.members]
    return {f"member.trial-{number}": runs[number] for number in numbers if number in runs}


def _signature(record: EnsembleRecord) -> ModelSignature:
    images = TensorSpec(np.dtype(np.uint8), (-1, *record.example.shape[1:]))
    probabilities = TensorSpec(np.dtype(np.float32), (-1, record.classes))
    return ModelSignature(inputs=Schema([images]), outputs=Schema([probabilities]))


def _requirements() -> list[str]:
    """What a served model needs: the versions in use here."""
    from importlib.metadata import version

    names = (
        "mlflow",
        "numpy",
        "pydantic",
        "ruamel.yaml",
        "safetensors",
        "torch",
        "torchmetrics",
        "optuna",
        "scikit-learn",
        "scipy",
    )
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
