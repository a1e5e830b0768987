"""The user's own code that an ensemble runs: models, and functions that predict."""

from collections.abc import Sequence

from hpo import models, plugins
from hpo.ensemble.model import Part
from hpo.ensemble.own_members import path_of
from hpo.spec import SearchSpec, StudySpec
from hpo.study.study import Study
from hpo.tasks.kinds import activates
from hpo.tasks.measuring import Meter
from hpo.training.own_function import is_importable, own_function


def import_own_code(study: Study) -> None:
    """Imports what the members of a study need to predict, before anything is done.

    A function that predicts and stands beside a training function that was imported needs no trust of its own.

    Raises:
        InputError: it cannot be imported, or is not trusted.
        StudyError: the study was simulated, told its results, or has trained programs.
    """
    spec = study.spec
    Meter(spec, ())  # the task and metrics of the user's own
    if isinstance(spec, StudySpec):
        for family in spec.families:
            models.MODELS.load(family)
        return
    if spec.train is None:
        _ = study.study_spec  # which says why there are no models
        return
    if is_importable(spec.train):
        own_function(spec)
        if spec.predict is None and (path := predict_path(spec)) is not None:
            plugins.trust([path])


def predict_path(spec: SearchSpec) -> str | None:
    """The import path of the function that predicts with what a training function has kept; None where none does."""
    return path_of(spec.train, spec.predict)


def paths_of(spec: SearchSpec, parts: Sequence[Part]) -> list[str]:
    """The import paths of the user's own code that members need to predict."""
    models_ = {part.model.name for part in parts if part.model is not None and ":" in part.model.name}
    path = predict_path(spec) if any(part.model is None for part in parts) else None
    task = spec.task if len(parts) > sum(part.model is None for part in parts) and activates(spec.task) else None
    return sorted(models_ | {one for one in (path, task) if one is not None and ":" in one})
