"""Where the runs go, and how they are found again."""

import contextlib
import os
import uuid
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from hpo.study import Study

EXPERIMENT = "hpo"
"""The MLflow experiment of all studies, unless MLFLOW_EXPERIMENT_NAME names another; a study is a run in it."""

_PAGE = 1000
"""Runs that are asked for at once."""
STUDY_TAG, STUDY_ID_TAG, KIND_TAG, TRIAL_TAG = "hpo.study", "hpo.study_id", "hpo.kind", "hpo.trial"


def tracking_uri(storage: Path) -> str:
    """`MLFLOW_TRACKING_URI`, or else a SQLite file in the storage folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage.resolve() / 'mlflow.db'}"


def connect(storage: Path) -> tuple[MlflowClient, str]:
    """A client, and the id of the experiment, made where it does not exist."""
    uri = tracking_uri(storage)
    _make_whole(uri)
    client = MlflowClient(tracking_uri=uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return client, str(experiment.experiment_id)
    local = uri.startswith("sqlite:")
    try:
        # a server chooses the place of its artifacts itself
        location = (storage.resolve() / "mlflow-artifacts").as_uri() if local else None
        return client, str(client.create_experiment(name, artifact_location=location))
    except MlflowException:  # another process was faster
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return client, str(experiment.experiment_id)


def _make_whole(uri: str) -> None:
    """Makes a SQLite file that is not there, with MLflow's tables, or none: half of them could never be used."""
    place = uri.removeprefix("sqlite:///")
    file = Path(place)
    if place == uri or not file.is_absolute() or file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def study_run(client: MlflowClient, experiment_id: str, study: Study) -> str:
    """The id of the study's parent run, made with the spec as its artifact where there is none.

    Who makes it leaves it finished: only a search says that it is running.
    """
    query = f"tags.`{STUDY_ID_TAG}` = '{study.id}' and tags.`{KIND_TAG}` = 'study'"
    for existing in client.search_runs([experiment_id], query, max_results=1):
        return str(existing.info.run_id)
    spec = study.study_spec
    tags = {
        **study_tags(study, "study"),
        "task": spec.task,
        "data": spec.data.name,
        "model": spec.model.name,
        "sampler": spec.sampler.name,
        "scheduler": spec.scheduler.name,
        "objective": f"{study.goal} {spec.objective.metric}",
        "seed": str(spec.seed),
    }
    run = client.create_run(experiment_id, tags=tags, run_name=study.name)
    client.log_artifact(run.info.run_id, str(study.folder / "spec.yaml"))
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def trial_runs(client: MlflowClient, experiment_id: str, study: Study) -> dict[int, Run]:
    """The runs of a study's trials, by number."""
    query = f"tags.`{STUDY_ID_TAG}` = '{study.id}' and tags.`{KIND_TAG}` = 'trial'"
    found: dict[int, Run] = {}
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], query, max_results=_PAGE, page_token=token)
        found |= {int(run.data.tags[TRIAL_TAG]): run for run in page}
        token = page.token
        if not token:
            return found


def study_tags(study: Study, kind: str) -> dict[str, str]:
    """The tags by which every run of a study is found."""
    return {STUDY_TAG: study.name, STUDY_ID_TAG: study.id, KIND_TAG: kind}
