"""A study's runs in MLflow that are deleted or renamed with it."""

import os
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from hpo.study.study import Study
from hpo.tracking.moved import DATABASE
from hpo.tracking.store import KIND_TAG, STUDY_ID_TAG, STUDY_TAG, connect

_PAGE = 1000


def delete_runs(study: Study, storage: Path, ensemble: str | None = None) -> int:
    """Deletes a study's runs as MLflow does: `mlflow runs restore` brings each back, until `mlflow gc` ends them.

    Args:
        study: that the runs are of.
        storage: the folder of all studies.
        ensemble: deletes the runs of this ensemble alone; those of the study, its trials and all ensembles where None.

    Returns:
        How many runs were deleted.

    Raises:
        mlflow.exceptions.MlflowException: MLflow could not be reached or refused; as of `rename_runs`.
    """
    if not _is_used(storage):
        return 0
    client, experiment = connect(storage)
    found = list(_runs(client, experiment, study.name, study.id))
    if ensemble is not None:
        found = [run for run in found if run.data.tags.get(KIND_TAG) == "ensemble" and run.info.run_name == ensemble]
    for run in found:
        client.delete_run(run.info.run_id)
    return len(found)


def rename_runs(study: Study, storage: Path) -> int:
    """Lets the runs that a study has under its earlier names be those of its present name.

    Returns:
        How many runs were renamed.
    """
    if not _is_used(storage):
        return 0
    client, experiment = connect(storage)
    renamed = 0
    for name in study.names:
        for run in [] if name == study.name else list(_runs(client, experiment, name, study.id)):
            if run.data.tags.get(KIND_TAG) == "study":
                client.update_run(run.info.run_id, name=study.name)
            client.set_tag(run.info.run_id, STUDY_TAG, study.name)
            renamed += 1
    return renamed


def _is_used(storage: Path) -> bool:
    """Whether there is a store; none is made for what is only removed or renamed there."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (storage / DATABASE).exists()


def _runs(client: MlflowClient, experiment: str, study: str, id_: str) -> Iterator[Run]:
    """All runs of a study that are not deleted: its own, those of its trials and of its ensembles."""
    query = f"tags.`{STUDY_TAG}` = '{study}' and tags.`{STUDY_ID_TAG}` = '{id_}'"
    token: str | None = None
    while True:
        page = client.search_runs([experiment], query, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
