"""What MLflow is to be told of a trial."""

from dataclasses import dataclass, field

from hpo.study import Metrics, TrialRecord


@dataclass
class News:
    """What has happened to a trial since MLflow was last told; times `at` are milliseconds since 1970."""

    number: int
    started: tuple[TrialRecord, int] | None = None
    """The trial, and at."""
    reports: list[tuple[int, Metrics, int]] = field(default_factory=list)
    """Epoch, metrics, and at."""
    ended: tuple[TrialRecord, int] | None = None
    """The trial, and at."""

    @property
    def records(self) -> int:
        """How many things have happened."""
        return (self.started is not None) + len(self.reports) + (self.ended is not None)
