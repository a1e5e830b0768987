"""Where ensembles are, by name."""

from pathlib import Path

import pydantic

from hpo import spec as specs
from hpo.errors import InputError, StudyError
from hpo.registry import did_you_mean
from hpo.study import Study


def find(name: str, storage: Path) -> Path:
    """The folder of an ensemble.

    Raises:
        StudyError: no study has one of this name, or several have.
    """
    folders = _all(storage)
    found = [folder for folder in folders if folder.name == name]
    if not found:
        names = [folder.name for folder in folders]
        hint = did_you_mean(name, names) if names else " There are none yet: run `hpo ensemble` first."
        raise StudyError(f"no ensemble '{name}' in '{storage}'.{hint}")
    if len(found) > 1:
        owners = ", ".join(sorted(folder.parent.parent.name for folder in found))
        raise StudyError(f"ensemble '{name}' exists in several studies ({owners}); build one with a --name of its own")
    return found[0]


def free_name(study: Study, wanted: str | None) -> str:
    """A name that no ensemble of the storage has, since `hpo predict` finds an ensemble by its name alone.

    Args:
        study: the ensemble's.
        wanted: by the user; `<study>-<number>` where None.

    Raises:
        InputError: the wanted name is no name.
        StudyError: it is taken.
    """
    taken = {folder.name for folder in _all(study.folder.parent)}
    if wanted is None:
        return next(name for number in range(1, len(taken) + 2) if (name := f"{study.name}-{number}") not in taken)
    try:
        pydantic.TypeAdapter(specs.StudyName).validate_python(wanted)
    except pydantic.ValidationError:
        rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit, 80 at most"
        raise InputError(f"--name must be {rule}, got {wanted!r}") from None
    if wanted in taken:
        raise StudyError(f"there is an ensemble '{wanted}' already; choose another --name")
    return wanted


def _all(storage: Path) -> list[Path]:
    folders = [path.parent for path in storage.glob("*/ensembles/*/ensemble.json")]
    return [folder for folder in folders if not folder.name.startswith(".")]
