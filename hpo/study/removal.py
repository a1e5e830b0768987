"""A study is removed: what that takes along, and how."""

import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hpo import files
from hpo.study import optuna_study
from hpo.study.artifacts import Place
from hpo.study.folder import ENSEMBLES
from hpo.study.garbage import shown
from hpo.study.locations import MARKER
from hpo.study.storage.lock import LOCK, hold
from hpo.study.study import Study


@dataclass(frozen=True)
class Removal:
    """All that goes with a study."""

    study: str
    folder: Path
    trials: int | None
    """Number of trials; None where the record has gone before, with a removal that was killed."""
    bytes: int
    """Bytes of the folder, and of artifacts outside of it."""
    ensembles: tuple[str, ...]
    artifacts: str | None = None
    """The place of its artifacts, where that is outside of its folder."""
    database: str | None = None
    """The database that has its record, without a password; None where that is in the folder."""

    def __str__(self) -> str:
        parts = [f"folder '{self.folder}'", f"{'no' if self.trials is None else self.trials} trials"]
        if self.artifacts is not None:
            parts.append(f"all artifacts in '{self.artifacts}'")
        if self.database is not None:
            parts.append(f"its record in database '{self.database}'")
        if self.ensembles:
            parts.append(f"{'ensemble' if len(self.ensembles) == 1 else 'ensembles'} {', '.join(self.ensembles)}")
        return f"study '{self.study}', {shown(self.bytes)}: {', '.join(parts)}"


def planned(study: Study, artifacts: str | None = None) -> Removal:
    """What would be removed with a study.

    Args:
        study: on disk.
        artifacts: the place of its artifacts, as `remove` takes it.

    Raises:
        StudyError: it is being searched or damaged, or its artifacts are in a place that is not known to be its own.
    """
    study.hold.check_free()
    storage, name = study.folder.parent, study.folder.name
    outside = study.locations.artifacts
    has_record = optuna_study.is_there(study)
    size = sum(files.sizes(storage, name).values())
    if outside is not None and has_record:
        if artifacts is not None:
            study.hold.claim(artifacts)
        size += sum(outside.files().values())
    return Removal(
        study=name,
        folder=study.folder,
        trials=len(study.trials) if has_record else None,
        bytes=size,
        ensembles=tuple(files.folders(study.folder, ENSEMBLES)),
        artifacts=None if outside is None or not has_record else str(outside),
        database=None if study.locations.database is None or not has_record else study.locations.database.url,
    )


def remove(study: Study, artifacts: str | None = None) -> None:
    """Removes a study that nobody searches: artifacts outside first, then the record, then the folder.

    A removal that was killed is gone on with by another; from the moment on that the folder has a hidden name, the
    study is gone, and `hpo gc` removes what is left.

    Args:
        study: on disk; it is of no use afterwards.
        artifacts: the place of its artifacts, where that is outside of its folder and does not say whose it is.

    Raises:
        StudyError: it is being searched, or its artifacts are in a place that is not known to be its own.
        OSError: something cannot be removed.
    """
    with ExitStack() as held:
        if optuna_study.is_there(study):
            outside = study.locations.artifacts
            if outside is not None and outside.is_empty:  # a removal before has cleared it
                outside = None
            if outside is not None:
                study.hold.claim(artifacts)
            held.enter_context(study.hold.held())
            if outside is not None:
                _clear_place(outside)
            optuna_study.forget(study)
        else:
            held.enter_context(hold(study.folder / LOCK, study.name))
        clear(study.folder.parent, study.folder.name)


def _clear_place(place: Place) -> None:
    """Removes everything of a place, what says whose it is last."""
    found = place.files()
    for name in sorted({file.partition("/")[0] for file in found} - {MARKER}):
        if name in found:
            place.remove(name)
        else:
            (place / name).clear()
    place.clear()


def clear(base: Path, name: str) -> None:
    """Removes a folder that is there as a whole or not at all: it gets a hidden name first.

    Args:
        base: a folder.
        name: of the folder below it, with slashes.
    """
    folder, slash, own = name.rpartition("/")
    draft = f"{folder}{slash}.{own}.{uuid.uuid4().hex}"
    files.rename(base, name, draft)
    files.clear(base, draft)
