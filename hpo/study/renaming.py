"""A study gets another name. Whoever kills that finds the study whole, under one of both names.

The name of a study's folder is its name. So the folder is renamed in one step, after `places.json` says that this name
is the study's too and before everything else that has the name follows: `spec.yaml`, the journal or the database. Until
they have, the study is found by both. Artifacts outside of the folder stay where they are.
"""

from dataclasses import replace

import pydantic

from hpo import files
from hpo import spec as specs
from hpo.errors import InputError, StudyError
from hpo.spec import SearchSpec, is_study_name
from hpo.study import optuna_study
from hpo.study.folder import SPEC
from hpo.study.locations import vouch
from hpo.study.storage import journal
from hpo.study.study import Study


def check_name(name: str) -> None:
    """Holds a text to be a name that a study can have.

    Raises:
        InputError: it is none.
    """
    if not is_study_name(name):
        rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit, 80 at most"
        raise InputError(f"a study's name must be {rule}, got {name!r:.200}")
    try:
        SearchSpec.model_validate({"study": name})
    except pydantic.ValidationError as error:
        raise InputError(f"a study's name {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def rename(study: Study, new: str) -> Study:
    """Gives a study that nobody searches another name.

    Args:
        study: on disk; it is of no use afterwards.
        new: its name.

    Returns:
        The study under its new name.

    Raises:
        InputError: no study can have this name.
        StudyError: it is being searched, another study has the name, or its artifacts are in a place that is not known
            to be its own.
        OSError: it cannot be written.
    """
    check_name(new)
    old, storage = study.folder.name, study.folder.parent
    if (storage / new).exists():
        raise StudyError(f"there is a study '{new}' in '{storage}' already; choose another name")
    database = study.locations.database
    if database is not None and optuna_study.has_record(database.storage(), new):
        raise StudyError(f"database '{database.url}' has a study '{new}' already; choose another name")
    study.hold.claim()
    with study.hold.held():
        study = follow(study)  # an earlier renaming may have been killed
        if study.locations.artifacts is not None:
            vouch(study.locations.artifacts, new, study.id, storage / new)
        names = tuple(dict.fromkeys((*(name for name in study.locations.names if name != new), old, new)))
        study.locations = replace(study.locations, names=names)
        study.locations.write(study.folder, new)
        try:
            files.rename(storage, old, new)
        except OSError as error:
            raise StudyError(f"'{study.folder}' cannot be renamed to '{new}': {error.strerror or error}") from None
        return follow(Study(storage / new, study.spec.model_copy(update={"study": new}), places=study.locations))


def follow(study: Study) -> Study:
    """Gives the name of a study's folder to all that has another one; it may be called again and again.

    Args:
        study: that this process holds. Its record, which may have been replaced, is not to be used any more.

    Returns:
        The study, read anew.
    """
    known = study.record.study_name
    if known != study.name:
        if study.locations.database is not None:
            study.locations.database.give_name(known, study.name)
        else:
            journal.give_name(study.folder, known, study.name)
    stored = specs.load_stored(study.folder / SPEC)
    if stored.study != study.name:
        files.write(study.folder, SPEC, specs.dump(stored.model_copy(update={"study": study.name})).encode())
    return Study(study.folder, study.spec, places=study.locations)
