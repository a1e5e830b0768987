"""The files of runs and models.

MLflow's store says where they go, and one in a storage folder may have been changed by whoever can write there. So they
stay beside that store, where no link is followed. Those of another store, which the user has named, go where it says.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from hpo import files
from hpo.study.artifacts import Folder
from hpo.tracking.moved import ARTIFACTS, DATABASE, file_of
from hpo.tracking.problems import Unusable

_ALL = re.compile(r"(?s).*")
"""Names in a folder of this process's own."""


def write_text(client: MlflowClient, storage: Path, run: str, name: str, text: str) -> None:
    """Writes a file of a run.

    Args:
        client: of the store.
        storage: the folder of all studies.
        run: its id.
        name: of the file.
        text: its content.

    Raises:
        Unusable: the store has the run's files elsewhere.
        OSError, mlflow.exceptions.MlflowException: it cannot be written.
    """
    if not _is_own(client, storage):
        client.log_text(run, text, name)
    else:
        files.write(storage, f"{_place(storage, client.get_run(run).info.artifact_uri)}/{name}", text.encode())


def write_folder(
    client: MlflowClient, storage: Path, run: str, name: str, folder: Folder, names: re.Pattern[str]
) -> None:
    """Writes a copy of a folder, as a folder of a run.

    Args:
        client: of the store.
        storage: the folder of all studies.
        run: its id.
        name: of the copy.
        folder: that is copied.
        names: of the files that are copied.

    Raises:
        Unusable: the store has the run's files elsewhere.
        OSError, mlflow.exceptions.MlflowException: it cannot be written.
    """
    if not _is_own(client, storage):
        with copied(folder, names) as copy:
            client.log_artifacts(run, str(copy), name)
    else:
        _copy(storage, f"{_place(storage, client.get_run(run).info.artifact_uri)}/{name}", folder, names)


def write_model(client: MlflowClient, storage: Path, model: LoggedModel, folder: Folder) -> None:
    """Writes a copy of a folder, as the files of a model.

    Args:
        client: of the store.
        storage: the folder of all studies.
        model: whose files.
        folder: that is copied.

    Raises:
        Unusable: the store has the model's files elsewhere.
        OSError, mlflow.exceptions.MlflowException: it cannot be written.
    """
    if not _is_own(client, storage):
        with copied(folder, _ALL) as copy:
            client.log_model_artifacts(model.model_id, str(copy))
    else:
        _copy(storage, str(_place(storage, model.artifact_location)), folder, _ALL)


def _is_own(client: MlflowClient, storage: Path) -> bool:
    """Whether the store is the one in the storage folder."""
    return file_of(str(client.tracking_uri)) == storage.resolve() / DATABASE


@contextmanager
def copied(folder: Folder, names: re.Pattern[str]) -> Iterator[Path]:
    """A copy of a folder for a while, of the same name and without links, for those who follow any.

    Args:
        folder: that is copied.
        names: of the files that are copied: others may have been laid there by whoever can write to it, and MLflow
            would load a model among them.
    """
    with TemporaryDirectory() as own:
        _copy(Path(own), folder.path.name, folder, names)
        yield Path(own, folder.path.name)


def _copy(base: Path, name: str, folder: Folder, names: re.Pattern[str]) -> None:
    for file in folder.files():
        if names.fullmatch(file):
            files.write(base, f"{name}/{file}", folder.read(file))


def _place(storage: Path, uri: str | None) -> PurePosixPath:
    """The folder that files go to, below the storage folder."""
    parts, whole = urlsplit(uri or ""), storage.resolve()
    place = Path(url2pathname(parts.path))
    if parts.scheme != "file" or ".." in place.parts or not place.is_relative_to(whole / ARTIFACTS):
        raise Unusable(
            f"its database says that files go to '{uri}', which is not in '{whole / ARTIFACTS}'; name another store in"
            " MLFLOW_TRACKING_URI"
        )
    return PurePosixPath(place.relative_to(whole))
