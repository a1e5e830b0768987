"""Rounds of boosting as epochs, whichever library boosts.

The libraries write models as text, and read it without checking it: of 150 models of XGBoost 3.2 in which numbers were
changed, 15 ended the process by a wrong address. A search gives a trial only states that it has proven to be its own
(`hpo.study.artifacts.seal`).
"""

from collections.abc import Mapping
from typing import Any

import hpo.reporting
from hpo.adapters.metrics import Wanted, chosen
from hpo.errors import TrainingError
from hpo.training import TrialContext
from hpo.training.own_training import context as running

_ROUNDS, _MODEL = "rounds", "model"


class Boosting:
    """A trial whose rounds are spread over the epochs of the search file; its state is the model as its library's text.

    Args:
        rounds: of a full training.
        metrics: which are reported, by which names.
        context: of the trial; the one that runs where None.

    Raises:
        TrainingError: there are fewer rounds than epochs, or the stored state is none of these.
    """

    def __init__(self, rounds: int, metrics: Wanted = None, context: TrialContext | None = None) -> None:
        self.context = context or running()
        self._rounds, self._metrics, self._restores = rounds, metrics, False
        if self.context is not None and rounds < self.context.epochs:
            raise TrainingError(f"{rounds} rounds are fewer than the {self.context.epochs} epochs of `training.epochs`")
        self._done = 0
        self._text = None if self.context is None else self._stored(self.context)

    def _stored(self, context: TrialContext) -> str | None:
        """The stored model; None where there is none."""
        state = context.resume
        if state is None:
            return None
        done, text = state.get(_ROUNDS), state.get(_MODEL)
        if type(done) is not int or type(text) is not str or not 0 < done <= self._rounds:
            raise TrainingError("the stored state is not of boosting")
        self._done = done
        return text

    @property
    def left(self) -> int:
        """How many rounds are still to come."""
        return self._rounds - self._done

    def taken_up(self) -> str | None:
        """The model to go on from, as its library's text; None where the trial begins."""
        self._restores = True
        return self._text

    def ends_an_epoch(self, place: int) -> bool:
        """Whether there is something to report after the round at this place, from 0 on, of the rounds left."""
        return self.context is not None and self._epoch(place) > self._epoch(place - 1)

    def report(self, place: int, metrics: Mapping[str, Any], text: str, library: str) -> None:
        """Reports the epoch that a round has ended.

        Args:
            place: of the round, from 0 on, among the rounds left.
            metrics: that the library has measured.
            text: the model.
            library: for messages.
        """
        assert self.context is not None, "only a trial has epochs"
        if not self._restores and self._done:
            raise TrainingError(f"the model to go on from was not given to {library}: see the guide to adapters")
        self.context.save({_ROUNDS: self._rounds_before(place) + 1, _MODEL: text})
        hpo.reporting.report(chosen(metrics, self._metrics, library), epoch=self._epoch(place))

    @property
    def _epochs(self) -> int:
        return 1 if self.context is None else self.context.epochs

    def _rounds_before(self, place: int) -> int:
        return self._done + place

    def _epoch(self, place: int) -> int:
        """How many epochs are done after a round: epoch `e` ends with the first round from `rounds * e / epochs` on."""
        return (self._rounds_before(place) + 1) * self._epochs // self._rounds
