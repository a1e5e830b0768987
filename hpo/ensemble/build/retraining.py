"""Ensembles for which the data are read: members trained anew, a soup of weights, a student."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hpo import models
from hpo.display.tables import duration
from hpo.engine.ray.member_training import Trained
from hpo.ensemble.build.draft import Draft, Say
from hpo.ensemble.build.options import EnsembleOptions
from hpo.ensemble.calibration import conformal
from hpo.ensemble.method_choice import SINGLE
from hpo.ensemble.methods.soup import greedy_soup, kin
from hpo.ensemble.model import Ensemble, Part
from hpo.ensemble.pool import Pool
from hpo.ensemble.retrain import Student, Trainer, bagging, boosting, deep, distill, out_of_fold, read_student, single
from hpo.ensemble.retrain.retrained import FOLDER, Retrained, calibrated_member, join, uniform
from hpo.ensemble.score import Predictions
from hpo.models import placement
from hpo.models.weights import Weights, set_weights
from hpo.study.artifacts import Artifacts
from hpo.study.study import Study
from hpo.tasks.kinds import kind
from hpo.training import Predictor, TrainingFunction

__all__ = ["draft", "from_retrained", "read_student", "taught", "trainer"]

_SOUP = "soup"
_LEARNED = "it has learned the validation rows too: its scores on them say nothing, and it has no interval"


def trainer(study: Study, data_dir: Path, say: Say, function: TrainingFunction | None = None) -> Trainer:
    """The trainer of a study's members, which says of each how it ended.

    Raises:
        DataError: the data cannot be read.
        StudyError: they have changed since the study began.
    """
    return Trainer.of(study, data_dir, _told(say), function)


def draft(trainer: Trainer, options: EnsembleOptions, pool: Pool) -> Draft:
    """The ensemble of a method that needs the data.

    Raises:
        InputError: the study is nothing for this method.
        HpoError: no member could be trained.
    """
    if options.folds is not None:
        made = out_of_fold(trainer, options.folds, options.top, options.method)
    elif options.method == "bagging":
        made = bagging(trainer, options.count, options.top)
    elif options.method == "boosting":
        made = boosting(trainer, options.count, options.top)
    elif options.method == "deep":
        made = deep(trainer, options.count)
    elif options.method == SINGLE:
        made = single(trainer, options.trial, options.epochs, options.all_data)
        note = _LEARNED if options.all_data else None
        made = made if options.all_data else _at_level(made, trainer, options)
        return dataclasses.replace(from_retrained(made, pool.skipped), note=note)
    else:
        made = _soup(trainer, pool)
    return from_retrained(_at_level(made, trainer, options), pool.skipped)


def _at_level(made: Retrained, trainer: Trainer, options: EnsembleOptions) -> Retrained:
    """The members with the interval that is asked for.

    Raises:
        InputError: there are too few validation rows for it.
    """
    if options.level is None:
        return made
    combined = made.combiner.combine(made.validation[list(made.combiner.members)])
    validation = trainer.dataset.validation
    spreads = trainer.dataset.spreads(validation)
    return dataclasses.replace(made, interval=conformal(combined - validation.targets, options.level, spreads))


def taught(trainer: Trainer, student: Student, teacher: Ensemble) -> Draft:
    """One model that has learned what an ensemble says of the training rows.

    Raises:
        HpoError: its training failed.
    """
    return from_retrained(distill(trainer, student, teacher.combined_predictions(trainer.dataset.train.inputs)))


def from_retrained(retrained: Retrained, skipped: tuple[str, ...] = ()) -> Draft:
    """The ensemble whose members were trained anew."""
    places = list(retrained.combiner.members)
    members = [retrained.members[place] for place in places]
    return Draft(
        retrained.method,
        [
            Part(
                *(member.name, member.trial, member.config, member.model, member.temperature, member.stored),
                copies=member.copies,
            )
            for member in members
        ],
        retrained.combiner,
        retrained.validation[places],
        lambda: np.stack([member.predictions("test") for member in members]),
        calibration=retrained.calibration,
        interval=retrained.interval,
        estimate=retrained.estimate,
        skipped=(*skipped, *retrained.failed),
    )


def _told(say: Say) -> Callable[[Trained], None]:
    def tell(trained: Trained) -> None:
        if trained.found:
            how = "found, trained before"
        elif trained.stored is None:
            how = f"failed: {trained.reason}"
        else:
            how = f"trained in {duration(trained.seconds)}, best at epoch {trained.stored.epoch}"
        say(f"{trained.job.name} {how}")

    return tell


def _soup(trainer: Trainer, pool: Pool) -> Retrained:
    """One member with the mean of the weights of trials that share their beginning."""
    spec, dataset = trainer.study.study_spec, trainer.dataset
    trials = [pool.trials[place] for place in kin(trainer.study, pool.trials)]
    checkpoints = [trainer.study.artifacts.read(trial.number) for trial in trials]
    ingredients: list[Weights] = [stored.weights() for stored in checkpoints if stored is not None]
    applied = spec.apply(trials[0].config).model
    shape, outputs, layout = dataset.input_shape, len(dataset.outputs), dataset.encoding.layout
    network = models.build_copies(applied, shape, outputs, spec.base, spec.training.copies, layout)
    device = torch.device("cpu")
    predictor = Predictor(placement.place(network, device), kind(spec.task), device, None)

    def predict(weights: Weights) -> Predictions:
        set_weights(network, weights)
        return np.asarray(predictor(dataset.validation).numpy(), np.float32)

    soup = greedy_soup(ingredients, predict, dataset.validation.targets, spec.base)
    validation = predict(soup.weights)
    artifacts = Artifacts(trainer.study.place / FOLDER / _SOUP)
    artifacts.place.clear()  # of an earlier soup
    artifacts.write(0, max(trial.epoch for trial in trials), soup.weights, {"validation": validation})
    stored = artifacts.read(0)
    assert stored is not None, "it was written just now"
    first = trials[soup.members[0]]
    names = ", ".join(str(trials[place].number) for place in soup.members)
    member = calibrated_member(f"soup of trials {names}", first.number, first.config, stored, spec, dataset)
    return join(_SOUP, [member], uniform(1, spec.base), dataset)
