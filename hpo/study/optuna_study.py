"""The record of a study: an Optuna study, made with it and held against it whenever it is opened."""

import uuid
from typing import TYPE_CHECKING, Any

import optuna

from hpo import spec as specs
from hpo.errors import StudyError, first_line
from hpo.spec.space import Space
from hpo.study.differences import differences
from hpo.study.format import ATTRIBUTE, FORMAT, SPEC_ATTRIBUTE, format_of
from hpo.study.locations import FILE
from hpo.study.storage import quiet
from hpo.study.storage.journal import journal
from hpo.study.warm_start import taken_over

if TYPE_CHECKING:
    from hpo.study.code import TrainingCode
    from hpo.study.study import Study

CODE = "code"
"""The study's attribute with the code that it began with or has accepted since."""
GPU_SECONDS = "gpu_seconds"
"""The study's attribute with what its trials have used, where that is limited."""
_NO_SAMPLER = optuna.samplers.RandomSampler(seed=0)
"""Optuna would make a TPE sampler for every study that is only read."""


class OptunaStudy(optuna.Study):
    """An Optuna study whose sampler may end a search that is not Optuna's own loop, as grid samplers do."""

    exhausted = False

    def stop(self) -> None:
        """Called by the sampler."""
        self.exhausted = True


def begin(
    study: "Study",
    storage: optuna.storages.BaseStorage,
    earlier: "Study | None" = None,
    code: "TrainingCode | None" = None,
) -> None:
    """Makes the record of a new study, and enqueues the default config as its first trial.

    Args:
        study: the new one.
        storage: has no study of its name.
        earlier: a study whose trials are taken over.
        code: that trains its trials; None for a simulated search.

    Raises:
        StudyError: the database has a study of this name already.
    """
    with quiet():
        try:
            record = optuna.create_study(
                storage=storage, study_name=study.name, directions=study.goals, sampler=_NO_SAMPLER
            )
        except optuna.exceptions.DuplicatedStudyError:
            where = study.locations.database.url if study.locations.database else study.folder
            raise StudyError(
                f"database '{where}' has a study '{study.name}' already, of another folder; give the new search a"
                " name of its own with --study"
            ) from None
    record.set_user_attr(ATTRIBUTE, FORMAT)
    record.set_user_attr("id", study.locations.record or uuid.uuid4().hex)
    if not study.is_in_memory:
        record.set_user_attr(SPEC_ATTRIBUTE, study.spec.model_dump(mode="json", exclude_unset=True))
    if code is not None:
        record.set_user_attr(CODE, [code.to_json()])
    if earlier is not None:
        record.add_trials(taken_over(earlier, study.spec))
    default = Space.of(study.spec).default(study.spec)
    if default:
        record.enqueue_trial(default)


def storage_of(study: "Study", new: bool = False) -> optuna.storages.BaseStorage:
    """The storage of a study on disk: its database, or the journal in its folder."""
    return study.locations.database.storage(new) if study.locations.database else journal(study.folder, new)


def forget(study: "Study") -> None:
    """Takes a study whose folder was not made in the end out of its database."""
    if study.locations.database is not None:
        optuna.delete_study(study_name=study.name, storage=storage_of(study))


def opened(study: "Study", storage: optuna.storages.BaseStorage | None) -> OptunaStudy:
    """The record of a study.

    Args:
        study: that it is of.
        storage: of a study in memory; None of one on disk.

    Raises:
        StudyError: there is none, it is damaged or of a later release, `spec.yaml` is not what the study was made with,
            or the database has the record of another folder's study.
    """
    try:
        record = OptunaStudy(study_name=study.name, storage=storage or storage_of(study), sampler=_NO_SAMPLER)
        record.get_trials(deepcopy=False)  # of a database, what is damaged shows only when it is read
        attributes = record.user_attrs
    except (KeyError, FileNotFoundError):
        where = study.locations.database.url if study.locations.database else study.folder
        raise StudyError(f"'{where}' has no record of study '{study.name}'") from None
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        # Optuna, of what it reads
        raise damaged(study, str(error) or type(error).__name__) from error
    except (OSError, optuna.exceptions.StorageInternalError) as error:
        raise StudyError(f"study '{study.name}': its record cannot be read: {first_line(error)}") from error
    if study.locations.database is not None:
        _check_own(study, attributes.get("id"), study.locations.database.url)
    if storage is None:
        _check_spec(study, attributes.get(SPEC_ATTRIBUTE), format_of(study, attributes))
        if [direction.name.lower() for direction in record.directions] != study.goals:
            raise damaged(study, "it has other objectives than the search")
    return record


def damaged(study: "Study", what: object) -> StudyError:
    """The error that a study's record cannot be read."""
    where = "memory" if study.is_in_memory else f"'{study.folder}'"
    return StudyError(
        f"study '{study.name}': its record in {where} is damaged: {what}; put it back from a copy, or run a new search"
    )


def _check_own(study: "Study", kept: object, database: str) -> None:
    """Holds a record in a database to be this folder's: another database has another study of this name."""
    own, file = study.locations.record, study.folder / FILE
    if own is None:
        raise StudyError(
            f"study '{study.name}': '{file}' does not say which record is its own; if it is the one in database"
            f' \'{database}\', write "record": "{kept}" there'
        )
    if own != kept:
        raise StudyError(
            f"study '{study.name}': '{file}' names another record than database '{database}' has of a study of this"
            " name; put back what that file said"
        )


def _check_spec(study: "Study", kept: Any, format_: int) -> None:
    """Compares the spec with what the record has of it; release 0.1, whose format is 1, kept nothing there."""
    if not (isinstance(kept, dict) or (kept is None and format_ == 1)):
        raise damaged(study, "its spec is no mapping")
    if kept is None or study.spec.model_dump(mode="json", exclude_unset=True) == kept:
        return
    changed = differences(specs.load_stored(kept), study.spec, left=())
    if changed:
        shown = "; ".join(f"{name} was {old}, is {new}" for name, (old, new) in changed.items())
        file = study.folder / "spec.yaml"
        raise StudyError(
            f"study '{study.name}': '{file}' was changed after the study was made: {shown}. Put that back: limits"
            " such as --trials are given on the command line, and for anything else there is a new study (`hpo"
            f" search --study NEW --from {study.name}`)"
        )
