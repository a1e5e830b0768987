"""What each trial adds to a greedy ensemble of all of them: the reward of a search whose product is an ensemble.

A trial that is good but says what the others say adds little; a lesser one that errs elsewhere may add more. So quality
and diversity are one number, in nats of validation NLL.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.combiner import Probabilities
from hpo.ensemble.greedy import greedy_weights
from hpo.ensemble.score import nll, true_class
from hpo.errors import InputError
from hpo.study import Study, TrialRecord

_ROUNDS = 10
"""The size of the ensemble that a trial is added to."""

Source = Callable[[TrialRecord], Probabilities | None]
"""A trial -> its probabilities of the validation rows at its best epoch `(rows, classes)`, None without any."""


class Contributions:
    """The contributions of a study's trials, as they stand now.

    Args:
        study: whose trials.
        labels: of the validation rows `(rows,)`.
        source: where predictions come from. They are read once for each trial and best epoch.
    """

    def __init__(self, study: Study, labels: NDArray[np.int64], source: Source) -> None:
        self._study, self._labels, self._source = study, labels, source
        self._known: dict[tuple[int, int], NDArray[np.float64] | None] = {}

    def __call__(self) -> dict[int, float]:
        """Number -> contribution, of the trials that have predictions.

        Raises:
            InputError: predictions do not fit the labels.
        """
        own = {}
        for trial in self._study.trials():
            if trial.best_epoch is not None and (row := self._own(trial, trial.best_epoch)) is not None:
                own[trial.number] = row
        if not own:
            return {}
        values = contributions(np.stack(list(own.values())))
        return {number: float(value) for number, value in zip(own, values, strict=True)}

    def _own(self, trial: TrialRecord, epoch: int) -> NDArray[np.float64] | None:
        key = (trial.number, epoch)
        if key not in self._known:
            predictions = self._source(trial)
            if predictions is not None and (predictions.ndim != 2 or len(predictions) != len(self._labels)):
                raise InputError(
                    f"predictions of trial {trial.number} must be ({len(self._labels)} rows, classes), since there are"
                    f" so many labels, got {predictions.shape}"
                )
            if predictions is None or not np.isfinite(predictions).all():
                self._known[key] = None
            else:
                tempered = temper(predictions, fit_temperature(predictions, self._labels))
                self._known[key] = true_class(tempered, self._labels)
        return self._known[key]


def contributions(own: NDArray[np.float64], rounds: int = _ROUNDS) -> NDArray[np.float64]:
    """By how much each candidate lowers the NLL of a greedy ensemble, when it is added to it once.

    The ensemble is selected on one half of the rows and the gain is measured on the other, both ways, so that what fits
    the selection by chance gains nothing. A candidate that is in the ensemble is added to one selected without it.

    Args:
        own: the probability of each row's own class, `(candidates, rows)`.
        rounds: the size of the ensemble's bag.

    Returns:
        `(candidates,)`, in nats, the mean of both halves; below 0 where it harms.
    """
    halves = np.arange(own.shape[1]) % 2
    first, second = own[:, halves == 0], own[:, halves == 1]
    return (_gains(first, second, rounds) + _gains(second, first, rounds)) / 2


def _gains(selecting: NDArray[np.float64], measuring: NDArray[np.float64], rounds: int) -> NDArray[np.float64]:
    weights = greedy_weights(selecting, rounds)
    gains = _gain(weights, measuring, measuring)
    for member in np.flatnonzero(weights):
        others = np.arange(len(weights)) != member
        if others.any():
            without = np.zeros_like(weights)
            without[others] = greedy_weights(selecting[others], rounds)
            gains[member] = _gain(without, measuring, measuring[member])
    return gains


def _gain(
    weights: NDArray[np.int64], measuring: NDArray[np.float64], added: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much lower the NLL gets by adding one to the bag."""
    total, size = weights @ measuring, weights.sum()
    return np.asarray(nll(total / size) - nll((total + added) / (size + 1)))
