"""Why a search has ended, in words, and who is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from signal import Signals

from hpo.errors import on_one_line
from hpo.spec import Budget
from hpo.study.budget import ON_PLATEAU, SPENT_TIME, ended_by, reached
from hpo.study.callbacks import Callbacks
from hpo.study.study import Study


class Ending:
    """The end of one search, which its callbacks hear of.

    Args:
        study: that is searched.
        budget: of this search.
        callbacks: hear of it.
    """

    def __init__(self, study: Study, budget: Budget, callbacks: Callbacks) -> None:
        self._study, self._budget, self._callbacks = study, budget, callbacks
        self.interrupted: Signals | None = None
        """The signal that has ended it; None where none has."""
        self.stopped = False
        """Whether somebody wished it to end."""
        self.reason: str | None = None
        """What else has ended it, such as a full disk; None where the budget has."""

    @contextmanager
    def told(self) -> Iterator["Ending"]:
        """Tells the callbacks at the end of what is done within, also where that raises."""
        try:
            yield self
        except BaseException as error:
            self._callbacks.search_ended(on_one_line(error) if isinstance(error, Exception) else "interrupted")
            raise
        if self.stopped:
            self._callbacks.search_ended("stopped by the user")
        elif self.interrupted is not None:
            self._callbacks.search_ended(f"interrupted by {self.interrupted.name}")
        else:
            self._callbacks.search_ended(self.reason or why_ended(self._study, self._budget))


def why_ended(study: Study, budget: Budget) -> str:
    """The limit that has ended the search of a study, in words."""
    left = study.spent().left(budget)
    if (trial := reached(study, budget.target)) is not None:
        return f"trial {trial.number} has reached the target of {budget.target:g}"
    if study.writer.used_up is not None and not left.nothing:
        return f"all {study.writer.used_up} configs of the space have been tried"
    if left.trials == 0:
        return f"the budget of {budget.trials} trials is spent"
    if left.epochs == 0:
        return f"the budget of {budget.epochs} epochs is spent"
    if left.gpu_hours == 0:
        return f"the budget of {budget.gpu_hours:g} GPU hours is spent"
    if ended_by(study) == ON_PLATEAU:
        return f"nothing better by {budget.plateau:g} is to be expected"
    return "the time limit is over" if ended_by(study) == SPENT_TIME else "nothing is left to train"
