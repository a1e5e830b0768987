"""A trial as the study knows it: its config, reports and outcome, and who is told of them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, NamedTuple, Protocol

from hpo.spec import Config, SearchSpec
from hpo.study import ranking
from hpo.study.ranking import Fitness

Metrics = Mapping[str, float]


class State(Enum):
    """Where a trial stands."""

    RUNNING = "running"
    PAUSED = "paused"
    """Waits at a rung, to go on from its checkpoint if the scheduler promotes it."""
    COMPLETE = "complete"
    """Trained to the full resource."""
    PRUNED = "pruned"
    """Stopped before; `reason` says by whom."""
    FAILED = "failed"
    """Raised an error, or its worker died; `reason` says why."""


class Moment(NamedTuple):
    """When something was recorded: its place among all that was, and the study's clock."""

    order: int
    at: float
    """Seconds since 1970; of a simulated search, virtual ones since its beginning."""


NEVER = Moment(-1, 0.0)
"""Before everything."""
_SHOWN = 160
"""Letters of a config that a trial is shown with, where it is shown as one line."""


@dataclass(frozen=True)
class TrialRecord:
    """What the study knows of one trial; `reports` maps epoch -> metrics."""

    number: int
    state: State
    config: Config
    reports: Mapping[int, Metrics]
    spec: SearchSpec = field(repr=False)
    reason: str | None = None
    lineage: Mapping[str, Any] | None = None
    """The origin of a config that was bred: strategy, parents and operator; by evolution also the step size."""
    inherited: int = 0
    """Epochs that another trial was trained, and whose state this one began with."""
    replaces: int | None = None
    """The member whose place this trial has, where it is a child of `pbt`."""
    taken_over: bool = False
    """Whether the trial is another study's: its epochs were paid for there, and its artifacts are there."""
    failure: str | None = None
    """The kind of failure, a value of `Failure`; None where the trial has not failed."""
    retries: int = 0
    """How often it has begun again after it had failed."""
    settled: int | None = None
    """The epoch up to which its value stands, where its patience has ended it before; it is complete then."""
    retry_of: int | None = None
    """The failed trial that this one begins again, with the same config."""
    machine: str | None = None
    """The process that has trained it last, and where; None before its first report, or where it was not recorded."""
    began: Moment | None = None
    """When it was proposed, or went on after its last pause."""
    reported: Mapping[int, Moment] = field(default_factory=dict, repr=False)
    """Epoch -> when."""
    ended: float | None = None
    """Seconds since 1970."""

    def __repr__(self) -> str:
        value = "" if self.value is None else f", {self.metric} {self.value:.6g} at epoch {self.best_epoch}"
        config = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        shown = config if len(config) <= _SHOWN else f"{config[:_SHOWN]} ..."
        return f"<Trial {self.number}, {self.state.value}, epoch {self.epoch}{value}: {shown}>"

    @property
    def params(self) -> Config:
        """The config, under the name that Optuna has for it."""
        return self.config

    @property
    def metric(self) -> str:
        """The first objective."""
        return self.spec.objective.metric

    @property
    def epoch(self) -> int:
        """The last epoch reported; 0 before the first."""
        return max(self.reports, default=0)

    @property
    def began_at(self) -> float:
        """The study's clock when the trial began; 0 where its record does not say."""
        return 0.0 if self.began is None else self.began.at

    @property
    def is_paid(self) -> bool:
        """Whether it costs a trial of the budget: a child goes on for another one, and a retry is paid for already."""
        return not self.inherited and self.retry_of is None

    @property
    def last(self) -> Moment:
        """When it was last heard of."""
        return max(self.reported.values(), default=NEVER, key=lambda moment: moment.order)

    @cached_property
    def best_epoch(self) -> int | None:
        """The earliest epoch with the best finite objective that keeps to the constraints, or breaks them least.

        What the trial's artifacts come from.
        """
        measured = ((ranking.measure(self.spec, metrics), epoch) for epoch, metrics in self.reports.items())
        return min(((worth, epoch) for worth, epoch in measured if worth.finite), default=(None, None))[1]

    @property
    def fitness(self) -> Fitness | None:
        """The fitness at the best epoch; None without a finite report."""
        return None if self.best_epoch is None else ranking.measure(self.spec, self.reports[self.best_epoch])

    @property
    def value(self) -> float | None:
        """The first objective at the best epoch; None without a finite report."""
        return None if self.best_epoch is None else self.reports[self.best_epoch][self.metric]

    @property
    def values(self) -> dict[str, float]:
        """All objectives at the best epoch; empty without a finite report."""
        if self.best_epoch is None:
            return {}
        report = self.reports[self.best_epoch]
        return {objective.metric: report[objective.metric] for objective in self.spec.objectives}

    @property
    def feasible(self) -> bool:
        """Whether the trial keeps to the constraints at its best epoch."""
        return self.fitness is not None and self.fitness.violation == 0

    @property
    def has_traceback(self) -> bool:
        """Whether the reason is a traceback, not a sentence."""
        return self.reason is not None and self.reason.startswith("Traceback")

    @property
    def cause(self) -> str | None:
        """The last line of the reason, which names a traceback's error, and the place in the user's code."""
        if not self.reason or not self.reason.strip():
            return None
        last = self.reason.strip().splitlines()[-1]
        own = [frame for frame in _FRAME.finditer(self.reason) if not _is_foreign(frame["file"])]
        if not own:
            return last
        name = "" if own[-1]["name"] == "<module>" else f", in {own[-1]['name']}"
        return f"{last} ({PurePath(own[-1]['file']).name}:{own[-1]['line']}{name})"

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo trials --format json` prints; JSON has no NaN, so a NaN is None."""
        document = {
            "trial": self.number,
            "state": self.state.value,
            "value": self.value,
            "epochs": self.epoch,
            "best_epoch": self.best_epoch,
            "config": self.config,
            "reports": {
                str(epoch): {name: value if math.isfinite(value) else None for name, value in metrics.items()}
                for epoch, metrics in self.reports.items()
            },
            "reason": self.reason,
        }
        if self.failure:
            document["failure"] = self.failure
        if self.retries:
            document["retries"] = self.retries
        if self.retry_of is not None:
            document["retry_of"] = self.retry_of
        if self.machine is not None:
            document["machine"] = self.machine
        if self.lineage:
            document["lineage"] = dict(self.lineage)
        if self.inherited:
            document["inherited"] = self.inherited
        if self.spec.objective.others:
            document["values"] = self.values
        if self.spec.constraints:
            document["feasible"] = self.feasible
        return document


_FRAME = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<name>\S+)$', re.MULTILINE)
"""A call in a traceback."""
_PACKAGE = Path(__file__).parents[1]


def _is_foreign(file: str) -> bool:
    """Whether a file of a traceback is of a library, of Python, or of this package, wherever it is installed."""
    parts = PurePath(file).parts
    if {"site-packages", "dist-packages"} & set(parts) or file.startswith("<"):
        return True
    if any(re.fullmatch(r"python3\.\d+", part) for part in parts):
        return True
    places = [place for place, part in enumerate(parts) if part == _PACKAGE.name]
    if not places:
        return False
    try:
        return _PACKAGE.joinpath(*parts[places[-1] + 1 :]).is_file()
    except OSError:  # a name that no file system takes
        return False


LIVE = (State.RUNNING, State.PAUSED)
"""The states of trials that have not ended. Where nobody searches the study, the next search goes on with them."""


class Failure(Enum):
    """Why a trial failed."""

    ERROR = "error"
    """The objective raised."""
    MEMORY = "out of memory"
    HANG = "hang"
    """No report came for longer than `failures.trial_timeout`."""
    DEATH = "death"
    """The worker process of the trial died."""
    MACHINE = "machine lost"
    """The machine of the trial was lost more than three times."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: State
    reason: str | None = None
    failure: Failure | None = None
    settled: int | None = None
    """The epoch up to which its value stands, where it is complete before."""


class Observer(Protocol):
    """Somebody who is told what has been recorded: the tracker, the progress display."""

    def trial_started(self, trial: TrialRecord) -> None:
        """A config was proposed and its trial is about to run, or an earlier search has left a trial as it is."""

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """A report is in the study."""

    def trial_paused(self, number: int) -> None:
        """The trial waits at its rung."""

    def trial_resumed(self, number: int) -> None:
        """The trial goes on."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """The trial's outcome is in the study."""


def count_states(trials: Sequence[TrialRecord]) -> dict[State, int]:
    """How many trials stand where."""
    counts = dict.fromkeys(State, 0)
    for trial in trials:
        counts[trial.state] += 1
    return counts
