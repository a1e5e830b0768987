"""Boosting by reweighted rows: SAMME (Zhu, Zou, Rosset and Hastie 2009, "Multi-class AdaBoost")."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hpo.engine.ray.cluster import cluster
from hpo.engine.ray.member_training import Job, Trained
from hpo.ensemble.combiner import Average
from hpo.ensemble.retrain.retrained import Retrained, join, survivors
from hpo.ensemble.retrain.trainer import Trainer
from hpo.errors import InputError

METHOD = "boosting"


def boosting(trainer: Trainer, rounds: int = 8, top: int = 5) -> Retrained:
    """Trains one member a round on rows weighted by how often the members before missed them.

    Round i trains config i modulo `top`. It ends early with a member that misses no row, or that is no better than
    chance on the weighted rows; the latter is left out. A round whose training fails changes nothing. The members'
    probabilities are averaged by their alphas, which in SAMME weight their votes. There is no estimate: the members
    have seen all training rows.

    Args:
        trainer: of the study.
        rounds: how many members at most.
        top: how many configs at most.

    Raises:
        InputError: the task is not classification, or there is no round.
        StudyError: the study has no trial.
        HpoError: no round made a member that is better than chance.
    """
    spec = trainer.spec
    if spec.base != "classification":
        raise InputError(f"--method boosting is for task classification, and this study's is {spec.task}; use bagging")
    if rounds < 1:
        raise InputError(f"boosting needs at least 1 round, got {rounds}")
    trained, alphas = _rounds(trainer, rounds, top)
    members, failed = survivors(trained, spec, trainer.dataset)
    weights = tuple(alpha / sum(alphas) for alpha in alphas)
    combiner = Average(tuple(range(len(members))), weights)
    return join(METHOD, members, combiner, trainer.dataset, failed=failed)


def _rounds(trainer: Trainer, rounds: int, top: int) -> tuple[list[Trained], list[float]]:
    """What became of each round, and the alphas of those that made a member."""
    trials, labels = trainer.top(top), trainer.dataset.train.targets
    every = np.arange(trainer.rows)
    weights = np.ones(trainer.rows)
    ended: list[Trained] = []
    alphas: list[float] = []
    with cluster():  # one for all rounds
        for number in range(rounds):
            trial, seed = trials[number % len(trials)], trainer.seed(METHOD, number)
            own = weights.astype(np.float32)
            job = Job(number, f"round {number}", trial.config, seed, trial.number, weights=own, held_out=every)
            (trained,) = trainer.train(METHOD, [job])
            if trained.stored is None:
                ended.append(trained)
                continue
            shape = trainer.rows, len(trainer.dataset.outputs)
            missed = trained.stored.predictions("held_out", shape).argmax(axis=1) != labels
            alpha = vote(missed, weights, len(trainer.dataset.outputs))
            if alpha is None:
                ended.append(replace(trained, stored=None, reason="no better than chance on the weighted rows"))
                break
            ended.append(trained)
            alphas.append(alpha)
            if not missed.any():
                break
            weights = reweighted(weights, missed, alpha)
    return ended, alphas


def vote(missed: NDArray[np.bool_], weights: NDArray[np.float64], classes: int) -> float | None:
    """A member's alpha (Zhu et al. 2009, algorithm 2, step 2c), or None where it is no better than chance.

    An error below that of half a row counts as that, since alpha has no bound without any.

    Args:
        missed: rows whose class the member did not name `(rows,)`.
        weights: of the rows `(rows,)`, at least 0.
        classes: how many there are.
    """
    error = max(float(weights[missed].sum() / weights.sum()), 0.5 / len(missed))
    if error >= 1 - 1 / classes:
        return None
    return math.log((1 - error) / error) + math.log(classes - 1)


def reweighted(weights: NDArray[np.float64], missed: NDArray[np.bool_], alpha: float) -> NDArray[np.float64]:
    """The rows' weights for the next round: those missed count exp(alpha) times as much. Their mean is 1 again."""
    raised = weights * np.exp(alpha * missed)
    normalized: NDArray[np.float64] = raised / raised.mean()
    return normalized
