"""Where ensembles are, by name."""

from pathlib import Path

from hpo import files
from hpo.ensemble.model import DOCUMENT
from hpo.errors import InputError, StudyError
from hpo.plugins import did_you_mean
from hpo.spec import is_study_name
from hpo.study.artifacts import Folder
from hpo.study.folder import ENSEMBLES, check_apart
from hpo.study.study import Study


def folder_of(study: Study, name: str) -> Folder:
    """The folder of a study's ensemble, also where there is none yet."""
    return Folder(study.folder) / ENSEMBLES / name


def find(name: str, storage: Path) -> Folder:
    """The folder of an ensemble; links are none.

    Raises:
        StudyError: no study has one of this name, or several have.
    """
    known = all_ensembles(storage)
    found = [study for study, own in known if own == name]
    if not found:
        names = [own for _, own in known]
        hint = did_you_mean(name, names) if names else " There are none yet: run `hpo ensemble` first."
        raise StudyError(f"no ensemble '{name}' in '{storage}'.{hint}")
    if len(found) > 1:
        owners = ", ".join(sorted(found))
        raise StudyError(f"ensemble '{name}' exists in several studies ({owners}); build one with a --name of its own")
    return Folder(storage / found[0]) / ENSEMBLES / name


def free_name(study: Study, wanted: str | None) -> str:
    """A name that no ensemble of the storage has, since `hpo predict` finds an ensemble by its name alone.

    Args:
        study: the ensemble's.
        wanted: by the user; `<study>-<number>` where None.

    Raises:
        InputError: the wanted name is no name.
        StudyError: it is taken.
    """
    taken = {name for _, name in all_ensembles(study.folder.parent)}
    if wanted is None:
        return next(name for number in range(1, len(taken) + 2) if (name := f"{study.name}-{number}") not in taken)
    if not is_study_name(wanted):
        rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit, 80 at most"
        raise InputError(f"--name must be {rule}, got {wanted!r}")
    if wanted in taken:
        raise StudyError(f"there is an ensemble '{wanted}' already; choose another --name")
    return wanted


def all_ensembles(storage: Path) -> list[tuple[str, str]]:
    """All ensembles of all studies: the study's name, and its own."""
    check_apart(storage)
    return [
        (study.name, name)
        for study in sorted(storage.glob("*/"))
        if is_study_name(study.name) and not study.is_symlink()
        for name in files.folders(study, ENSEMBLES)
        if is_study_name(name) and files.has(study, f"{ENSEMBLES}/{name}/{DOCUMENT}")
    ]
