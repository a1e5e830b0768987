"""Stacking on out-of-fold predictions (Wolpert 1992, "Stacked Generalization").

The meta-model learns from predictions of training rows by models that were not trained on them. These are many more
than the validation rows, and what it joins in the end are the study's own trials, trained on all of them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.folds import Fold, folds_of
from hpo.engine.ray.member_training import Job
from hpo.ensemble.methods.stacking import STACKS, fit_stack
from hpo.ensemble.pool import stored_predictions
from hpo.ensemble.retrain.retrained import Retrained, calibrated, calibrated_member, failures, join, measure
from hpo.ensemble.retrain.trainer import Trainer
from hpo.ensemble.score import Predictions, Targets
from hpo.errors import HpoError, InputError, StudyError
from hpo.study.artifacts import Stored
from hpo.study.trial import TrialRecord

METHOD = "folds"


def out_of_fold(trainer: Trainer, folds: int = 5, top: int = 5, method: str = "stacking") -> Retrained:
    """Retrains the best configs on all but one of the folds of the training rows, each in turn, and fits a meta-model.

    The members are the trials themselves, as the study has stored them; the meta-model is fitted on the out-of-fold
    predictions of their configs for all training rows. A fold's model is trained for as many epochs as the trial was,
    which may have been pruned. A trial whose stored validation predictions cannot be used is left out before anything
    is trained, and a config of which a fold fails after. The estimate is out-of-fold too: the rows of a fold are
    predicted by a meta-model that was fitted on the others.

    Args:
        trainer: of the study.
        folds: how many.
        top: how many configs at most.
        method: the meta-model: `stacking`, `stacking_ridge` or `stacking_boosting`.

    Raises:
        InputError: there are fewer than two folds, or more than rows, or there is no such meta-model.
        StudyError: no trial has stored predictions.
        HpoError: no config was trained on all folds.
    """
    if not 2 <= folds <= trainer.rows:
        raise InputError(f"--folds must be 2 to {trainer.rows}, the number of training rows, got {folds}")
    if method not in STACKS:
        raise InputError(f"--folds is of the methods {', '.join(STACKS)}, got '{method}'; leave --folds out")
    spec, dataset, targets = trainer.study.study_spec, trainer.dataset, trainer.dataset.train.targets
    stored = _stored(trainer, top)
    split = folds_of(targets, folds)
    trials = [trial for trial, _ in stored]
    predicted, failed = held_out_predictions(trainer, trials, split)
    kept = [(trial, left) for trial, left in stored if trial.number in predicted]
    members = [
        calibrated_member(f"trial {one.number}", one.number, one.config, left, spec, dataset) for one, left in kept
    ]
    predictions = np.stack([predicted[trial.number] for trial, _ in kept])
    combined = _cross_fitted(predictions, targets, split, spec.base, method)
    estimate = measure("out-of-fold", spec, dataset, combined, targets, len(targets))
    combiner = fit_stack(predictions, targets, spec.base, method)
    return join(method, members, combiner, dataset, estimate, failed)


def _stored(trainer: Trainer, top: int) -> list[tuple[TrialRecord, Stored]]:
    """The best trials whose stored validation predictions can be used, at most `top`."""
    study = trainer.study
    stored: list[tuple[TrialRecord, Stored]] = []
    for trial in trainer.top(len(study.trials())):
        if len(stored) < top and stored_predictions(study, trial) is not None:
            left = study.artifacts.read(trial.number)
            if left is not None:  # a search that runs may have evicted it just now
                stored.append((trial, left))
    if not stored:
        raise StudyError(f"no trial of study '{study.name}' has stored predictions of use; run `hpo search` first")
    return stored


def held_out_predictions(
    trainer: Trainer, trials: Sequence[TrialRecord], split: Sequence[Fold]
) -> tuple[Mapping[int, Predictions], tuple[str, ...]]:
    """Retrains the trials' configs on each fold, and has them predict the rows that were held out.

    Each is trained for as many epochs as its trial was.

    Args:
        trainer: of the study.
        trials: whose configs.
        split: (rows to train on, rows held out) of each fold; together the latter are all training rows.

    Returns:
        Number of the trial -> calibrated predictions of all training rows `(rows, outputs)`, in their order, of the
        trials that were trained on every fold; and a line for each failure.

    Raises:
        HpoError: no trial was trained on every fold.
    """
    jobs = []
    for place, trial in enumerate(trials):
        for fold, (rows, held_out) in enumerate(split):
            number = place * len(split) + fold
            name, seed = f"trial {trial.number} without fold {fold}", trainer.seed(METHOD, number)
            job = Job(number, name, trial.config, seed, trial.number, rows, held_out=held_out, last_epoch=trial.epoch)
            jobs.append(job)
    trained = trainer.train(METHOD, jobs)
    order: NDArray[np.intp] = np.argsort(np.concatenate([held_out for _, held_out in split]))
    predicted, failed = {}, failures(trained)
    for place, trial in enumerate(trials):
        own = trained[place * len(split) : (place + 1) * len(split)]
        members = calibrated(own, trainer.spec, trainer.dataset)
        if len(members) == len(split):
            predicted[trial.number] = np.concatenate([member.predictions("held_out") for member in members])[order]
    if not predicted:
        raise HpoError(f"no config was trained on all {len(split)} folds. {failed[0]}")
    return predicted, failed


def _cross_fitted(
    predictions: Predictions, targets: Targets, split: Sequence[Fold], task: str, method: str
) -> Predictions:
    """What a combiner says of each row that was fitted without the row's fold."""
    combined = np.empty(predictions.shape[1:], np.float32)
    for rows, held_out in split:
        combiner = fit_stack(predictions[:, rows], targets[rows], task, method)
        combined[held_out] = combiner.combine(predictions[:, held_out])
    return combined
