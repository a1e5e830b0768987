"""The folders of studies in a storage folder: which there are, whether they can be written, how one is made."""

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpo import files
from hpo.errors import StudyError
from hpo.files import NotAFile, check_own
from hpo.spec import is_study_name
from hpo.study import environment
from hpo.study.data_summary import DATA_FILE
from hpo.study.locations import FILE
from hpo.study.storage.journal import JOURNAL
from hpo.study.storage.lock import LOCK

SPEC = "spec.yaml"
"""The file in a study's folder that says what is searched."""
ENSEMBLES = "ensembles"
"""The folder in it that has its ensembles, each in a folder of its name."""
_OWN = (
    *(SPEC, JOURNAL, f"{JOURNAL}.lock", LOCK, FILE, environment.FILE, DATA_FILE),
    *("artifacts", ENSEMBLES, "retrained", "wishes"),
)
"""What may be in a study's folder."""


def check_apart(storage: Path) -> None:
    """Holds a storage folder to be none where Python looks for modules: a study's folder can be a package to it.

    Raises:
        StudyError: it is the current folder, or on Python's path.
    """
    whole = storage.resolve()
    if any(Path(entry or ".").resolve() == whole for entry in (".", *sys.path)):
        raise StudyError(
            f"storage '{storage}' is a folder where Python looks for modules, such as the one where you stand, and a"
            f" study's folder could be taken for one: stand in '{whole.parent}', and name it as '{whole.name}'"
        )


def study_names(storage: Path) -> list[str]:
    """The studies in a storage folder, the one touched last at the end; what no study can be called is none.

    Raises:
        StudyError: Python looks for modules in the storage folder.
    """
    check_apart(storage)
    studies = {path.parent for file in (JOURNAL, FILE) for path in storage.glob(f"*/{file}")}
    named = [folder for folder in studies if is_study_name(folder.name)]
    return [folder.name for folder in sorted(named, key=lambda folder: (_touched(folder), folder))]


def check_writable(storage: Path, name: str) -> None:
    """Looks whether a study, or a new one of this name, can be written.

    Raises:
        StudyError: the file system is read-only, or this user may not write there.
    """
    folder = storage / name
    if folder.is_dir():
        places = [folder, *(file for file in (folder / JOURNAL, folder / LOCK) if file.exists())]
    else:
        places = [next(place for place in (storage, *storage.absolute().parents) if place.exists())]
    for place in places:
        if not os.access(place, os.W_OK):
            raise StudyError(
                f"study '{name}': '{place}' cannot be written (a read-only file system, or the permissions of"
                " another user), so it can only be read here: `hpo trials` and `hpo best`; copy the storage, or"
                " name another with --storage"
            )


def check_links(folder: Path) -> None:
    """Looks whether a study's folder, and what it has, is the study's own.

    Raises:
        StudyError: the folder is a link, or a link, a pipe or a device is in the place of one of its files or folders.
    """
    if folder.is_symlink():
        raise StudyError(
            f"study '{folder.name}': '{folder}' is a link, and what a study owns is never reached through one; put the"
            " folder itself there, or name the storage folder that has it with --storage"
        )
    try:
        check_own(folder, _OWN)
    except NotAFile as error:
        way = "where the study had a file; put that back, from a copy"
        if error.is_link:
            way = (
                "and what a study owns is never reached through a link; put what it points to in its place"
                " (artifacts may be elsewhere by --artifacts)"
            )
        raise StudyError(f"study '{folder.name}': {error}, {way}") from None


@contextmanager
def drafted(storage: Path, name: str) -> Iterator[Path]:
    """A hidden folder to make a study in; it goes at the end, unless `finish` has given it its name.

    Raises:
        StudyError: there is a study of this name already, or the storage folder cannot be written.
    """
    check_apart(storage)
    if (storage / name).exists():
        raise StudyError(f"study '{name}' exists already in '{storage}'")
    draft = storage / f".{name}.{uuid.uuid4().hex}"
    try:
        storage.mkdir(mode=0o700, parents=True, exist_ok=True)  # of its owner alone, unless it was there
        draft.mkdir()
    except OSError as error:
        raise StudyError(f"storage '{storage}' cannot be written: {error}") from None
    try:
        yield draft
    finally:
        with contextlib.suppress(OSError):
            files.clear(storage, draft.name)


def finish(draft: Path, folder: Path) -> None:
    """Gives a draft its name.

    Raises:
        StudyError: there is a folder of this name by now.
    """
    try:
        files.rename(folder.parent, draft.name, folder.name)
    except OSError:
        raise StudyError(f"'{folder}' exists already: another process was faster, or it is no study") from None


def _touched(folder: Path) -> float:
    """The time when a study's record was last written, or searched, on the clock of its files."""
    touched = (folder / name for name in (JOURNAL, FILE, LOCK))
    return max((file.lstat().st_mtime for file in touched if os.path.lexists(file)), default=0.0)
