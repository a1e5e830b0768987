"""What MLflow is to be told of a trial."""

from dataclasses import dataclass, field
from typing import Self

from hpo.study.trial import LIVE, Metrics, Moment, TrialRecord


@dataclass
class Update:
    """What has happened to a trial since MLflow was last told.

    Times are the study's: what is told twice is told once.
    """

    number: int
    started: TrialRecord | None = None
    reports: dict[int, tuple[Metrics, Moment]] = field(default_factory=dict)
    """Epoch -> metrics, and when."""
    ended: TrialRecord | None = None

    @classmethod
    def all_of(cls, trial: TrialRecord) -> Self:
        """Everything that has happened to a trial."""
        reports = {epoch: (metrics, trial.reported[epoch]) for epoch, metrics in trial.reports.items()}
        return cls(trial.number, trial, reports, None if trial.state in LIVE else trial)

    @property
    def records(self) -> int:
        """How many things have happened."""
        return (self.started is not None) + len(self.reports) + (self.ended is not None)

    def add(self, later: "Update") -> None:
        """What has happened after that."""
        self.started = later.started or self.started
        self.reports |= later.reports
        self.ended = later.ended or self.ended


def milliseconds(at: float) -> int:
    """Seconds since 1970 as MLflow wants them."""
    return int(at * 1000)
