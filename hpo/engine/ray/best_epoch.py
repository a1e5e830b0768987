"""The best epoch of a trial so far: in memory while it trains, in the artifacts once it leaves its worker."""

from hpo.spec import SearchSpec
from hpo.study.artifacts import Artifacts
from hpo.study.ranking import Fitness, measure
from hpo.training import Report
from hpo.training.function import Snapshot, taken


class BestEpoch:
    """Keeps the snapshot of a trial's best epoch.

    Files are written when it is stored, and not at each epoch that is better than the last.

    Args:
        spec: says what is better.
        artifacts: where it is stored.
        number: of the trial.
        worth: of the best epoch that is stored already.
    """

    def __init__(self, spec: SearchSpec, artifacts: Artifacts, number: int, worth: Fitness | None = None) -> None:
        self._spec, self._artifacts, self._number = spec, artifacts, number
        self.worth = worth
        self.report: Report | None = None
        """The report of the best epoch, if that was seen here."""
        self._snapshot: Snapshot | None = None

    def see(self, report: Report) -> None:
        """Takes a snapshot if the report is the best so far, and finite."""
        worth = measure(self._spec, report.metrics)
        if worth.finite and (self.worth is None or worth < self.worth):
            self.worth, self.report = worth, report
            snapshot = taken(report)
            self._snapshot = None if snapshot.empty else snapshot

    def forget(self) -> None:
        """Lets the next report be the best so far, if it is finite."""
        self.worth = None

    def store(self, others: bool = False) -> None:
        """Writes what is not yet written, while the function is open; with `others`, all that it can predict."""
        if self._snapshot is None or self.report is None:
            return
        snapshot, self._snapshot = self._snapshot, None
        predictions = snapshot.all_predictions() if others else snapshot.predictions
        self._artifacts.write(
            self._number, self.report.epoch, snapshot.weights, predictions, snapshot.targets, snapshot.state
        )
