"""What each trial adds to a greedy ensemble of all of them: the reward of a search whose product is an ensemble.

A trial that is good but says what the others say adds little; a lesser one that errs elsewhere may add more. So quality
and diversity are one number, in units of the task's score on validation rows: nats of classes and labels, squared error
of regression.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.methods.greedy import greedy_weights
from hpo.ensemble.score import SCORES, Predictions, Score, Targets
from hpo.errors import InputError
from hpo.study.study import Study
from hpo.study.trial import TrialRecord

_ROUNDS = 10
"""The size of the ensemble that a trial is added to."""

Source = Callable[[TrialRecord], Predictions | None]
"""A trial -> its predictions of the validation rows at its best epoch `(rows, outputs)`, None without any."""


class Contributions:
    """The contributions of a study's trials, as they stand now.

    Args:
        study: whose trials.
        targets: of the validation rows.
        source: where predictions come from. They are read once for each trial and best epoch.
        task: what is predicted.
    """

    def __init__(self, study: Study, targets: Targets, source: Source, task: str) -> None:
        self._study, self._targets, self._source, self._task = study, targets, source, task
        self._known: dict[tuple[int, int], NDArray[np.float64] | None] = {}
        """Own parts `(rows, parts)`."""

    def __call__(self) -> dict[int, float]:
        """Number -> contribution, of the trials that have predictions.

        Raises:
            InputError: predictions do not fit the targets.
        """
        own = {}
        for trial in self._study.trials():
            if trial.best_epoch is not None and (row := self._own(trial, trial.best_epoch)) is not None:
                own[trial.number] = row
        if not own:
            return {}
        values = contributions(np.stack(list(own.values())), SCORES[self._task])
        return {number: float(value) for number, value in zip(own, values, strict=True)}

    def _own(self, trial: TrialRecord, epoch: int) -> NDArray[np.float64] | None:
        key = (trial.number, epoch)
        if key not in self._known:
            predictions = self._source(trial)
            if predictions is not None and (predictions.ndim != 2 or len(predictions) != len(self._targets)):
                raise InputError(
                    f"predictions of trial {trial.number} must be ({len(self._targets)} rows, outputs), since there are"
                    f" so many targets, got {predictions.shape}"
                )
            if predictions is None or not np.isfinite(predictions).all():
                self._known[key] = None
            else:
                temperature = fit_temperature(predictions, self._targets, self._task)
                tempered = temper(predictions, temperature, self._task)
                self._known[key] = SCORES[self._task].own(tempered, self._targets)
        return self._known[key]


def contributions(own: NDArray[np.float64], score: Score, rounds: int = _ROUNDS) -> NDArray[np.float64]:
    """How much each candidate lowers the score of a greedy ensemble, when it is added to it once.

    The ensemble is selected on one half of the rows and the gain is measured on the other, both ways, so that what fits
    the selection by chance gains nothing. A candidate that is in the ensemble is added to one selected without it.

    Args:
        own: own parts of `score`, `(candidates, rows, parts)`: of classes the probability of each row's own.
        score: what is minimized.
        rounds: the size of the ensemble's bag.

    Returns:
        `(candidates,)`, in units of the score, the mean of both halves; below 0 where it harms.
    """
    first, second = (own[:, half::2].reshape(len(own), -1) for half in (0, 1))
    return (_gains(first, second, rounds, score) + _gains(second, first, rounds, score)) / 2


def _gains(
    selecting: NDArray[np.float64], measuring: NDArray[np.float64], rounds: int, score: Score
) -> NDArray[np.float64]:
    weights = greedy_weights(selecting, rounds, score=score)
    gains = _gain(weights, measuring, measuring, score)
    for member in np.flatnonzero(weights):
        others = np.arange(len(weights)) != member
        if others.any():
            without = np.zeros_like(weights)
            without[others] = greedy_weights(selecting[others], rounds, score=score)
            gains[member] = _gain(without, measuring, measuring[member], score)
    return gains


def _gain(
    weights: NDArray[np.int64], measuring: NDArray[np.float64], added: NDArray[np.float64], score: Score
) -> NDArray[np.float64]:
    """How much lower the score gets by adding one to the bag."""
    total, size = weights @ measuring, weights.sum()
    return np.asarray(score.mean(total / size) - score.mean((total + added) / (size + 1)))
