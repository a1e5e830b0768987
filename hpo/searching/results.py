"""What a search returns, real or simulated."""

from dataclasses import dataclass
from signal import Signals
from typing import TYPE_CHECKING, Any

from hpo.display.tables import duration
from hpo.spec import Config
from hpo.study.results import Trials
from hpo.study.study import Study
from hpo.study.trial import LIVE, State, TrialRecord, count_states

if TYPE_CHECKING:
    from hpo.ensemble.build.result import EnsembleResult


@dataclass(frozen=True, eq=False)
class _Result:
    """A study that was searched, and its results by the names that a study of Optuna's has for them."""

    study: Study

    @property
    def best(self) -> TrialRecord | None:
        """The incumbent; None where no trial has a value."""
        return self.study.best()

    @property
    def best_trial(self) -> TrialRecord:
        """The incumbent; as of `best_params` and `best_value`, a StudyError where no trial has a value."""
        return self.study.best_trial

    @property
    def best_params(self) -> Config:
        """The config of the best trial."""
        return self.study.best_params

    @property
    def best_value(self) -> float:
        """The objective of the best trial at its best epoch."""
        return self.study.best_value

    @property
    def trials(self) -> Trials:
        """All trials of the study, those of earlier searches too."""
        return self.study.trials

    def _shown(self, seconds: float) -> str:
        """The result in one line."""
        return f"<{type(self).__name__} of study '{self.study.name}': {self.study.found()}, {duration(seconds)}>"


@dataclass(frozen=True, eq=False)
class SearchResult(_Result):
    """What a search found."""

    seconds: float
    interrupted: Signals | None = None
    """The signal that has ended it early, such as `signal.SIGINT` for Ctrl-C; None where none has."""
    tracking_problem: str | None = None
    ensemble: "EnsembleResult | None" = None

    def __repr__(self) -> str:
        return self._shown(self.seconds)

    @property
    def combines(self) -> bool:
        """Whether an ensemble can be built: the best trial has stored what it says of the validation rows."""
        if self.best is None:
            return False
        try:
            stored = self.study.artifacts.read(self.best.number)
        except OSError:
            return False
        return stored is not None and "validation" in stored.splits

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo search --format json` prints."""
        counts = count_states(self.study.trials())
        best = self.best
        return {
            "study": self.study.name,
            "trials": {
                **{state.value: counts[state] for state in (State.COMPLETE, State.PRUNED, State.FAILED)},
                "unfinished": sum(counts[state] for state in LIVE),
            },
            "best": None
            if best is None
            else {"trial": best.number, "value": best.value, "epoch": best.best_epoch, "config": best.config},
            "seconds": round(self.seconds, 1),
            **({} if self.ensemble is None else {"ensemble": self.ensemble.to_json()}),
        }


@dataclass(frozen=True, eq=False)
class SimulationResult(_Result):
    """What a simulated search found, and how long it would have taken.

    `seconds` are virtual, by the clock; `worked` is the time of all workers' epochs together.
    """

    workers: int
    seconds: float
    worked: float

    def __repr__(self) -> str:
        return self._shown(self.seconds)

    @property
    def busy(self) -> float:
        """The share of the workers' time in which they trained, 0 to 1."""
        return self.worked / (self.seconds * self.workers) if self.seconds else 0.0
