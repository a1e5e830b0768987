"""The store of MLflow's runs, and how they are found again."""

import contextlib
import errno
import os
import re
import shlex
import sqlite3
import uuid
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException

from hpo.files import NotAFile, check_own, open_regular, read_regular
from hpo.spec import StudySpec
from hpo.study.folder import SPEC
from hpo.study.storage.lock import publish
from hpo.study.study import Study
from hpo.tracking.artifacts import write_text
from hpo.tracking.moved import ARTIFACTS, DATABASE, file_of, follow_storage, sqlite_uri
from hpo.tracking.problems import Unusable

EXPERIMENT = "hpo"
"""The MLflow experiment of all studies, unless MLFLOW_EXPERIMENT_NAME names another; a study is a run in it."""

_LOCKED_SECONDS = 5.0
"""How long another process may lock a SQLite file before that is an error."""
_JOURNAL_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
"""The end of a journal of SQLite that is one of several, of databases that were written to together."""
_MOST_ENTRIES = 2000
"""Tables and indexes of a SQLite file; MLflow 3 has about 220."""
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL", re.IGNORECASE)
_REFUSES = re.compile(
    r"CREATE TRIGGER \w+ BEFORE UPDATE ON \w+ FOR EACH ROW WHEN ([\w.!=<> ]+)"
    r" BEGIN SELECT RAISE\(ABORT, '[^']*'\); END",
    re.IGNORECASE,
)
"""A trigger that only refuses to change a row."""
_MOST_BYTES = 2**20
_PAGE = 1000
"""Runs that are asked for at once."""
STUDY_TAG, STUDY_ID_TAG, KIND_TAG, TRIAL_TAG = "hpo.study", "hpo.study_id", "hpo.kind", "hpo.trial"


def tracking_uri(storage: Path) -> str:
    """`MLFLOW_TRACKING_URI`, or else a SQLite file in the storage folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(storage.resolve() / DATABASE)


def connect(storage: Path) -> tuple[MlflowClient, str]:
    """A client, and the id of the experiment, made where it does not exist.

    Raises:
        Unusable: the store cannot be used before somebody mends it.
        mlflow.exceptions.MlflowException: MLflow could not be reached or refused.
        OSError: the same.
    """
    uri = tracking_uri(storage)
    file = file_of(uri)
    if not os.environ.get("MLFLOW_TRACKING_URI") and file != storage.resolve() / DATABASE:
        raise Unusable(
            f"'{storage}' has a '%', '?' or '#' in its path, and SQLAlchemy before 2.1 opens no database there: install"
            " 'sqlalchemy>=2.1', take another storage, or name another store in MLFLOW_TRACKING_URI"
        )
    if file is not None:
        if file == storage.resolve() / DATABASE:
            check_own_store(storage)
        _make_whole(file)
        check_database(file)
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            follow_storage(file)
    client = MlflowClient(tracking_uri=uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # a server chooses the place of its artifacts itself
        location = (storage.resolve() / ARTIFACTS).as_uri() if uri.startswith("sqlite:") else None
        try:
            return client, str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process was faster
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    _check_active(experiment, uri)
    return client, str(experiment.experiment_id)


def _check_active(experiment: Experiment, uri: str) -> None:
    if experiment.lifecycle_stage != "active":
        raise Unusable(
            f"its experiment '{experiment.name}' was deleted; `mlflow experiments restore --experiment-id"
            f" {experiment.experiment_id}` with MLFLOW_TRACKING_URI={shlex.quote(uri)} brings it back, or"
            " MLFLOW_EXPERIMENT_NAME names another"
        )


def check_own_store(storage: Path) -> None:
    """Holds the store in a storage folder to be that folder's own: SQLite would follow what else may stand there.

    Raises:
        Unusable: it leads elsewhere.
    """
    whole = storage.resolve()
    try:
        check_own(whole, (DATABASE, *(f"{DATABASE}-{file}" for file in ("journal", "wal", "shm")), ARTIFACTS))
        _check_journal(whole / f"{DATABASE}-journal")
    except NotAFile as error:
        raise Unusable(
            f"{error}, and what MLflow has in a storage folder is never reached through one; put what is meant in its"
            " place, or name another store in MLFLOW_TRACKING_URI"
        ) from None


def _check_journal(file: Path) -> None:
    """Holds what a crash has left of a write to name no other journal: SQLite would remove the file of that name."""
    with contextlib.suppress(FileNotFoundError), os.fdopen(open_regular(file), "rb") as journal:
        if journal.seek(0, os.SEEK_END) >= len(_JOURNAL_NAMES_ANOTHER):
            journal.seek(-len(_JOURNAL_NAMES_ANOTHER), os.SEEK_END)
            if journal.read() == _JOURNAL_NAMES_ANOTHER:
                raise Unusable(f"'{file}' names a file elsewhere, which MLflow's database never does; remove it")


def check_database(file: Path) -> None:
    """Looks at a SQLite file as MLflow will use it, which tries for minutes what can never be.

    What a crash has left half-written is taken back by that.

    Raises:
        Unusable: it is no database, or cannot be written.
        sqlite3.OperationalError: another process has locked it.
    """
    way = "move it away, or name another store in MLFLOW_TRACKING_URI"
    if file.is_dir():
        raise Unusable(f"'{file}' is a folder, and MLflow's database would be there; {way}")
    for place, access in ((file, os.R_OK | os.W_OK), (file.parent, os.W_OK | os.X_OK)):
        if not os.access(place, access):
            raise Unusable(
                f"'{place}' cannot be written by this user, and MLflow's database is there; change its"
                " permissions, or name another store in MLFLOW_TRACKING_URI"
            )
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(file))}?mode=rw", _LOCKED_SECONDS, uri=True)
        ) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            _check_schema(database, file)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise Unusable(f"'{file}' cannot be read as MLflow's database: {error}; {way}") from None


def _only_refuses(sql: str) -> bool:
    found = _REFUSES.fullmatch(" ".join(sql.split()))
    return found is not None and "select" not in found[1].lower()


def _check_schema(database: sqlite3.Connection, file: Path) -> None:
    """Holds a SQLite file to be made of tables and indexes, as MLflow's is.

    A view, a virtual table or a trigger runs what somebody has written into the file, whatever is asked of a table; the
    one trigger that MLflow has only refuses a change.

    Raises:
        Unusable: it has something else.
    """
    for kind, name, sql in database.execute("SELECT type, name, sql FROM sqlite_master LIMIT ?", (_MOST_ENTRIES,)):
        plain = kind in ("table", "index") and not _VIRTUAL.match(sql or "")
        if not plain and not (kind == "trigger" and _only_refuses(sql or "")):
            what = "virtual table" if kind == "table" else kind
            raise Unusable(
                f"'{file}' has a {what} '{name!s:.60}', which MLflow's database never has; move it away, or name"
                " another store in MLFLOW_TRACKING_URI"
            )
    if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > _MOST_ENTRIES:
        raise Unusable(f"'{file}' has more tables than MLflow's database ever has; move it away")


def _make_whole(file: Path) -> None:
    """Makes a SQLite file that is not there, with MLflow's tables, or none: half of them could never be used."""
    if not file.is_absolute() or file.exists():
        return
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.touch()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise Unusable(
            f"MLflow's database '{file}' cannot be made: {error.strerror}; name another store in MLFLOW_TRACKING_URI"
        ) from None
    try:
        MlflowClient(tracking_uri=sqlite_uri(draft)).search_experiments(max_results=1)
        publish(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def study_run(client: MlflowClient, experiment_id: str, study: Study, storage: Path) -> str:
    """The id of the study's parent run, made with the spec as its artifact where there is none.

    Who makes it leaves it finished: only a search says that it is running.
    """
    for existing in client.search_runs([experiment_id], query_of(study, "study"), max_results=1):
        return str(existing.info.run_id)
    spec = study.spec
    trained = {} if spec.train is None else {"train": spec.train}
    if isinstance(spec, StudySpec):
        trained |= {"task": spec.task, "data": spec.data.name, "model": ", ".join(spec.families)}
    tags = {
        **study_tags(study, "study"),
        **trained,
        "sampler": spec.sampler.name,
        "scheduler": spec.scheduler.name,
        "objective": f"{study.goal} {spec.objective.metric}",
        "seed": str(spec.seed),
    }
    run = client.create_run(experiment_id, tags=tags, run_name=study.name)
    write_text(client, storage, run.info.run_id, SPEC, read_regular(study.folder / SPEC, _MOST_BYTES).decode())
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def trial_runs(client: MlflowClient, experiment_id: str, study: Study) -> dict[int, Run]:
    """The runs of a study's trials, by number."""
    query = query_of(study, "trial")
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


def query_of(study: Study, kind: str) -> str:
    """What MLflow is asked to find a study's runs of a kind: by name and id, since a record may have another's id."""
    return " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in study_tags(study, kind).items())
