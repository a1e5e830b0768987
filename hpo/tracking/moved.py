"""A storage folder that was renamed or copied: the MLflow store in it has its artifacts by absolute paths."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import sqlalchemy

from hpo.tracking.problems import Unusable

DATABASE, ARTIFACTS = "mlflow.db", "mlflow-artifacts"
"""The store in a storage folder, and the folder of artifacts beside it."""
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's store that hold paths of artifacts; its interface cannot change them."""


def sqlite_uri(file: Path) -> str:
    """The URI of a SQLite file, quoted where it must be.

    MLflow makes the folder of a URI before it is unquoted. So slashes are quoted too: that folder is then the current
    one.
    """
    path = str(file)
    return f"sqlite:///{path if not set('%?#') & set(path) else quote(path, safe='')}"


def file_of(uri: str) -> Path | None:
    """The file of a SQLite URI, whose folder is followed; None of any other URI, and of one with options.

    Raises:
        Unusable: it is no URI.
    """
    if not uri.startswith("sqlite:"):
        return None
    try:
        parsed = sqlalchemy.make_url(uri)
    except sqlalchemy.exc.ArgumentError as error:
        raise Unusable(f"MLFLOW_TRACKING_URI is no URI of a database: {error}") from None
    if parsed.query or not parsed.database or parsed.database == ":memory:":
        return None
    file = Path(parsed.database)
    return file.parent.resolve() / file.name


def follow_storage(database: Path) -> None:
    """Points the runs of a SQLite store to the artifacts that lie beside it, where that is not where they were made.

    Nothing changes where the artifacts are still in the other place, and none are beside the store.

    Raises:
        sqlite3.Error: the store cannot be read or written.
    """
    here = database.with_name(ARTIFACTS)
    with closing(sqlite3.connect(database)) as connection, connection:
        if not _tables(connection):  # an empty file, in which MLflow will make them
            return
        query = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE 'file://%/' || ?"
        for (made,) in connection.execute(query, (ARTIFACTS,)).fetchall():
            elsewhere = made != here.as_uri()
            if elsewhere and (here.exists() or not Path(url2pathname(urlsplit(made).path)).exists()):
                _replace(connection, made, here.as_uri())


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _replace(connection: sqlite3.Connection, before: str, now: str) -> None:
    """Replaces the beginning of all paths."""
    tables = _tables(connection)
    for table, column in _COLUMNS:
        if table in tables:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                f" WHERE {column} = ? OR substr({column}, 1, ?) = ? || '/'",
                (now, len(before) + 1, before, len(before) + 1, before),
            )
