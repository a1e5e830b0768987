"""Trials whose stored weights are of no use to the model as it is now: they are left out by name."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hpo.datasets import Dataset, Examples
from hpo.ensemble.build.prediction import predict_out_of_fold, predict_rows
from hpo.ensemble.pool import Pool
from hpo.errors import HpoError, first_line
from hpo.spec import StudySpec
from hpo.study import data as study_data
from hpo.study.code import TrainingCode
from hpo.study.study import Study
from hpo.study.trial import TrialRecord

_UNLIKE = 0.1
"""The mean difference over rows that predictions may have from the stored ones, as a probability or as a share of the
targets' standard deviation; precision and device change less."""


def misfits(pool: Pool, places: Iterable[int], data_dir: Path) -> dict[int, str]:
    """The candidates that cannot be members: place -> why, as a text to follow the trial's number.

    Weights must fit the model, and it must take an example. Where the study knows that its model's code has changed,
    the validation rows are predicted again, and must come out as they are stored.

    Args:
        pool: of candidates.
        places: of those that are to be used.
        data_dir: the folder of downloaded data sets.

    Raises:
        InputError: the model cannot be imported, or the validation rows are needed and cannot be read.
    """
    if not isinstance(pool.study.spec, StudySpec):
        return {}  # what its training function has kept, only its own code can judge
    changed = [study.name for study in (pool.study, *pool.others) if _changed(study)]
    dataset = study_data.load(pool.study, data_dir) if changed else None
    asked = ((place, pool.owner(place)) for place in sorted(places))
    told = (
        (place, _problem(study, pool.trials[place], dataset if study.name in changed else None))
        for place, study in asked
    )
    return {place: problem for place, problem in told if problem is not None}


def _changed(study: Study) -> bool:
    """Whether the model's code is known to be other than that of the study's trials."""
    now = TrainingCode.of(None, *study.spec.own_code("model")).model
    known = [code.model for code in study.code if code.model is not None]
    return now is not None and any(code.changes(now) for code in known)


def _problem(study: Study, trial: TrialRecord, dataset: Dataset | None) -> str | None:
    spec, data_summary = study.study_spec, study.data_summary
    rows = (
        Examples(data_summary.example, data_summary.targets["validation"][:1])
        if dataset is None
        else dataset.validation
    )
    try:
        stored = study.artifacts.read(trial.number)
        if stored is None:
            return " has no stored checkpoint"
        if stored.own:
            return None
        model = spec.apply(trial.config).model
        predicted = (
            predict_rows(study, model, stored, rows, spec.training.copies)
            if dataset is None or spec.training.folds is None
            else predict_out_of_fold(study, model, stored, dataset)
        )
        known = stored.predictions("validation", data_summary.shape("validation"))[: len(predicted)]
    except HpoError:
        raise
    except Exception as error:  # a user's model may raise anything
        return f": its weights cannot be used by the model as it is now: {first_line(error):.200}"
    if dataset is None:
        return None
    apart = np.abs(predicted - known).max(axis=1).mean()
    scale = float(np.std(data_summary.targets["validation"])) if spec.base == "regression" else 1.0
    if not apart <= _UNLIKE * scale:
        return ": its weights predict something else by the model as it is now, whose code has changed since"
    return None
