"""What a study is doing now: who searches it, which trials run and where, what is spent, and the best so far."""

import time
from dataclasses import dataclass
from typing import Any

from hpo.spec import Budget
from hpo.study.budget import Spent
from hpo.study.study import Study
from hpo.study.trial import LIVE, State, TrialRecord, count_states


@dataclass(frozen=True)
class RunningTrial:
    """A trial that is being trained."""

    number: int
    epoch: int
    """The last one reported; 0 before the first."""
    epochs: int
    """The full resource."""
    seconds: float
    """Seconds since it began, or went on after its last pause."""
    machine: str | None
    """The process that has trained its last epoch, and where; None before its first report."""
    value: float | None
    """The trial's objective so far."""

    def to_json(self) -> dict[str, Any]:
        """The trial in the document that `hpo status --format json` prints."""
        return {
            "trial": self.number,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 1),
            "machine": self.machine,
            "value": self.value,
        }


@dataclass(frozen=True, eq=False)
class Status:
    """What a study is doing at one moment."""

    study: str
    searcher: str | None
    """The process that searches it, and where; None where none does."""
    since: float | None
    """Seconds since its search began; None where none does, or has not noted it."""
    budget: Budget
    """The budget of that search; of the study where nobody searches it."""
    spent: Spent
    running: tuple[RunningTrial, ...]
    """The trials that are being trained; where nobody searches, those that were when the last search ended."""
    counts: dict[State, int]
    """How many trials stand where."""
    waiting: int
    """Wishes that no search has fulfilled yet: configs to try, trials to stop or to begin again."""
    best: TrialRecord | None
    metric: str

    @property
    def is_running(self) -> bool:
        """Whether a process searches the study now."""
        return self.searcher is not None

    @property
    def is_finished(self) -> bool:
        """Whether nobody searches it and no trial is left to go on with."""
        return not self.is_running and not any(self.counts[state] for state in LIVE)

    @property
    def left(self) -> dict[str, float]:
        """What the budget leaves, by its keys; limits that it has not are missing."""
        left = self.spent.left(self.budget)
        named = {"trials": left.trials, "epochs": left.epochs, "gpu_hours": left.gpu_hours}
        if self.budget.time_limit is not None and self.since is not None:
            named["time_limit"] = max(0.0, self.budget.time_limit - self.since)
        return {name: value for name, value in named.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo status --format json` prints."""
        best = self.best
        return {
            "study": self.study,
            "searching": self.is_running,
            "finished": self.is_finished,
            "searcher": self.searcher,
            "seconds": None if self.since is None else round(self.since, 1),
            "running": [trial.to_json() for trial in self.running],
            "trials": {state.value: count for state, count in self.counts.items()},
            "budget": self.budget.model_dump(exclude_none=True),
            "spent": {"trials": self.spent.trials, "epochs": self.spent.epochs, "gpu_hours": self.spent.gpu_hours},
            "left": self.left,
            "waiting": self.waiting,
            "best": None
            if best is None
            else {"trial": best.number, self.metric: best.value, "epoch": best.best_epoch, "config": best.config},
        }


def status(study: Study) -> Status:
    """What a study is doing now, from its record and its lock: nothing is asked of the search itself.

    Raises:
        StudyError: its record cannot be read.
    """
    searcher, search, now = study.hold.searcher, study.hold.search, time.time()
    trials = study.trials()
    running = (trial for trial in trials if trial.state is State.RUNNING)
    return Status(
        study=study.name,
        searcher=None if searcher is None else searcher[0] or "another process",
        since=None if search is None or searcher is None else max(0.0, now - search.since),
        budget=study.spec.budget if search is None else search.budget,
        spent=study.spent(),
        running=tuple(_running(trial, now) for trial in running),
        counts=count_states(trials),
        waiting=len(study.wishes.waiting()),
        best=study.best(),
        metric=study.spec.objective.metric,
    )


def _running(trial: TrialRecord, now: float) -> RunningTrial:
    return RunningTrial(
        number=trial.number,
        epoch=trial.epoch,
        epochs=trial.spec.training.epochs,
        seconds=max(0.0, now - trial.began_at) if trial.began is not None else 0.0,
        machine=trial.machine,
        value=trial.value,
    )
