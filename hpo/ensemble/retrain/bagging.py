"""Bagging (Breiman 1996, "Bagging Predictors"): members trained on bootstraps of the training rows, and averaged."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.engine.ray.member_training import Job
from hpo.ensemble.retrain.retrained import Retrained, join, measure, survivors, uniform
from hpo.ensemble.retrain.trainer import Trainer
from hpo.ensemble.score import Predictions
from hpo.errors import InputError
from hpo.tasks.features import history

METHOD = "bagging"


def bagging(trainer: Trainer, bags: int = 8, top: int = 5) -> Retrained:
    """Trains the best configs on bootstraps of the training rows; bag i gets config i modulo `top`.

    A bag that fails is left out. The estimate is out-of-bag (Breiman 1996, "Out-of-bag Estimation"): each training row
    is predicted by the mean of the bags that did not draw it.

    Args:
        trainer: of the study.
        bags: how many members.
        top: how many configs at most.

    Raises:
        InputError: there are fewer than two bags.
        StudyError: the study has no trial.
        HpoError: all bags failed.
    """
    if bags < 2:
        raise InputError(f"--bags must be at least 2, got {bags}; one bag is no ensemble")
    trained = trainer.train(METHOD, bag_jobs(trainer, bags, top))
    spec = trainer.spec
    members, failed = survivors(trained, spec, trainer.dataset)
    held_out = [one.job.held_out for one in trained if one.stored is not None and one.job.held_out is not None]
    known, rows = mean_of_others([member.predictions("held_out") for member in members], held_out, trainer.rows)
    targets = trainer.dataset.train.targets[rows]
    dataset = trainer.dataset
    apart = history(dataset.encoding.layout) is None  # windows that are left out overlap with others
    estimate = measure("out-of-bag", spec, dataset, known, targets, trainer.rows) if len(rows) and apart else None
    combiner = uniform(len(members), spec.base)
    return join(METHOD, members, combiner, dataset, estimate, failed)


def bag_jobs(trainer: Trainer, bags: int, top: int) -> list[Job]:
    """A job a bag: as many rows as there are, drawn with replacement; those never drawn are held out."""
    trials = trainer.top(top)
    jobs = []
    for bag in range(bags):
        rows = bootstrap(trainer.rows, trainer.seed("bootstrap", bag))
        trial, seed = trials[bag % len(trials)], trainer.seed(METHOD, bag)
        others = out_of_bag(rows, trainer.rows)
        jobs.append(Job(bag, f"bag {bag}", trial.config, seed, trial.number, rows=rows, held_out=others))
    return jobs


def bootstrap(rows: int, seed: int) -> NDArray[np.intp]:
    """A bootstrap sample: `rows` sorted row numbers, drawn with replacement; about 63 % of the rows are among them."""
    return np.sort(np.random.default_rng(seed).integers(0, rows, rows))


def out_of_bag(drawn: NDArray[np.intp], rows: int) -> NDArray[np.intp]:
    """The row numbers below `rows` that were never drawn."""
    return np.setdiff1d(np.arange(rows), drawn)


def mean_of_others(
    predictions: Sequence[Predictions], held_out: Sequence[NDArray[np.intp]], rows: int
) -> tuple[Predictions, NDArray[np.intp]]:
    """Each row's mean prediction by the members that held it out.

    Args:
        predictions: of each member, for the rows that it held out, `(held out, outputs)`.
        held_out: these rows of each member.
        rows: how many there are.

    Returns:
        `(known rows, outputs)`, and which rows these are; a row that no member held out is not known.
    """
    total = np.zeros((rows, predictions[0].shape[1]))
    count = np.zeros(rows, np.int64)
    for own, places in zip(predictions, held_out, strict=True):
        total[places] += own
        count[places] += 1
    known = np.flatnonzero(count)
    return (total[known] / count[known, None]).astype(np.float32), known
