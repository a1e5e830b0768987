"""What a study has used of its budget, and what is left of it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hpo.spec import Budget
from hpo.study import ranking

if TYPE_CHECKING:
    from hpo.study.study import Study
    from hpo.study.trial import TrialRecord

SPENT_EPOCHS, SPENT_TIME = "stopped by the budget of epochs", "stopped by the time limit"
SPENT_GPU, ON_PLATEAU = "stopped by the budget of GPU hours", "stopped on a plateau"
"""Why a search stops its trials, and ends."""

_ENDED = "ended"
"""The study's attribute with the limit that has ended its last search."""


@dataclass(frozen=True)
class Spent:
    """How much of its budget a study has used: trials that ended, epochs and GPU hours of all trials.

    GPU hours are counted only where they are limited.
    """

    trials: int
    epochs: int
    gpu_hours: float = 0.0

    def left(self, budget: Budget) -> "Left":
        """What a budget leaves."""
        return Left(
            None if budget.trials is None else max(0, budget.trials - self.trials),
            None if budget.epochs is None else max(0, budget.epochs - self.epochs),
            None if budget.gpu_hours is None else max(0.0, budget.gpu_hours - self.gpu_hours),
            budget.by_trials,
            budget,
        )


@dataclass(frozen=True)
class Left:
    """How many trials, epochs and GPU hours a search may still use; None is no limit."""

    trials: int | None = None
    epochs: int | None = None
    gpu_hours: float | None = None
    by_trials: bool = False
    """Whether the number of trials is all that ends the search."""
    budget: Budget = field(default_factory=Budget)
    """Has what else ends the search: a target, a plateau."""

    @property
    def nothing(self) -> bool:
        """Whether a limit has been reached."""
        return 0 in (self.trials, self.epochs, self.gpu_hours)


def reached(study: "Study", target: float | None) -> "TrialRecord | None":
    """The first trial of a study with a report as good as a target; None where there is none, or no target.

    Trials of other studies that were taken over do not count: what they left is there.
    """
    if target is None:
        return None
    own = (trial for trial in study.trials() if not trial.taken_over)
    return next((it for it in own if any(ranking.reaches(study.spec, m, target) for m in it.reports.values())), None)


def note_end(study: "Study", reason: str | None) -> None:
    """Records which limit has ended a search of a study; None when a search begins."""
    if ended_by(study) != reason:
        study.record.set_user_attr(_ENDED, reason)


def ended_by(study: "Study") -> str | None:
    """The limit that has ended the last search of a study; None where none has, or that was not recorded."""
    ended = study.record.user_attrs.get(_ENDED)
    return ended if isinstance(ended, str) else None
