"""What the public functions return."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.study import State, Study, TrialRecord, count_states


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found."""

    study: Study
    seconds: float
    interrupted: bool
    tracking_problem: str | None = None

    @property
    def best(self) -> TrialRecord | None:
        """The incumbent."""
        return self.study.best()

    def to_json(self) -> dict[str, Any]:
        """As `hpo search --format json` prints it."""
        counts = count_states(self.study.trials())
        best = self.best
        return {
            "study": self.study.name,
            "trials": {state.value: counts[state] for state in (State.COMPLETE, State.PRUNED, State.FAILED)},
            "best": None if best is None else {"trial": best.number, "value": best.value, "config": best.config},
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True, eq=False)
class SimulationResult:
    """What a simulated search found, and how long it would have taken.

    `seconds` are virtual, by the clock; `worked` is the time of all workers' epochs together.
    """

    study: Study
    workers: int
    seconds: float
    worked: float

    @property
    def best(self) -> TrialRecord | None:
        """The incumbent."""
        return self.study.best()

    @property
    def busy(self) -> float:
        """The share of the workers' time in which they trained, 0 to 1."""
        return self.worked / (self.seconds * self.workers) if self.seconds else 0.0


@dataclass(frozen=True, eq=False)
class EnsembleResult:
    """An ensemble that was built: its members, and its scores beside those of the best single trial.

    `validation` and `test` map metric -> value; `compared` maps a method to its cross-validated NLL on validation rows.
    """

    name: str
    study: Study
    folder: Path
    method: str
    members: Sequence[Mapping[str, Any]]
    validation: Mapping[str, float]
    test: Mapping[str, float]
    best_single: int
    best_single_test: Mapping[str, float]
    compared: Mapping[str, float]
    skipped: Sequence[str] = field(default=())
    run_id: str | None = None
    tracking_problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `hpo ensemble --format json` prints it."""
        return {
            "ensemble": self.name,
            "study": self.study.name,
            "method": self.method,
            "members": list(self.members),
            "validation": dict(self.validation),
            "test": dict(self.test),
            "best_single": {"trial": self.best_single, "test": dict(self.best_single_test)},
            "compared": dict(self.compared),
            "run_id": self.run_id,
        }


@dataclass(frozen=True, eq=False)
class Predictions:
    """Probabilities `(n, classes)` float32 for each input; `inputs` are file names or row numbers."""

    inputs: Sequence[str]
    classes: Sequence[str]
    probabilities: NDArray[np.float32]

    def write_csv(self, path: str | Path) -> None:
        """One row an input: its name, the predicted class, each class's probability."""
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["input", "prediction", *(f"p_{name}" for name in self.classes)])
            for name, row in zip(self.inputs, self.probabilities, strict=True):
                writer.writerow([name, self.classes[int(row.argmax())], *(f"{value:.9g}" for value in row)])
