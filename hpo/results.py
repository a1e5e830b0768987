"""What the public functions return."""

import csv
import os
import re
import stat
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from signal import Signals
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpo.errors import InputError
from hpo.study import Study
from hpo.trial import LIVE, State, TrialRecord, count_states

if TYPE_CHECKING:
    from hpo.ensemble.calibration import Calibration, Interval
    from hpo.ensemble.cost import Cost
    from hpo.ensemble.diversity import Diversity
    from hpo.ensemble.selection import Gain

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What begins a formula in a spreadsheet, or is left out before one."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found."""

    study: Study
    seconds: float
    interrupted: Signals | None = None
    """The signal that has ended it early, such as `signal.SIGINT` for Ctrl-C; None where none has."""
    tracking_problem: str | None = None
    ensemble: "EnsembleResult | None" = None

    @property
    def best(self) -> TrialRecord | None:
        """The incumbent."""
        return self.study.best()

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

    `validation` and `test` map metric -> value; `compared` maps a method to its cross-validated score on validation
    rows, `gain` says what the choice gains there over the best single trial, `note` says it in a sentence.
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
    gain: "Gain | None" = None
    note: str | None = None
    calibration: "Calibration | None" = None
    interval: "Interval | None" = None
    estimate: Mapping[str, Any] | None = None
    """Metrics of training rows by members that were not trained on them; of methods that train."""
    diversity: "Diversity | None" = None
    cost: "Cost | None" = None
    member_cost: "Cost | None" = None
    """Cost of the first member alone."""
    report: Path | None = None
    """An HTML page with tables and figures."""
    student: "EnsembleResult | None" = None
    skipped: Sequence[str] = field(default=())
    own_models: Sequence[str] = ()
    """The import paths of members' models that are the user's own: who loads the ensemble must trust them."""
    run_id: str | None = None
    registered: str | None = None
    """The model in MLflow's registry, `models:/<name>@<alias>`."""
    tracking_problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo ensemble --format json` prints."""
        known = {"calibration": self.calibration, "interval": self.interval}
        costs = {"ensemble": self.cost, "member": self.member_cost}
        return {
            "ensemble": self.name,
            "study": self.study.name,
            "method": self.method,
            "members": list(self.members),
            "validation": dict(self.validation),
            "test": dict(self.test),
            "best_single": {"trial": self.best_single, "test": dict(self.best_single_test)},
            "compared": dict(self.compared),
            "gain": None if self.gain is None else asdict(self.gain),
            "note": self.note,
            **{name: None if value is None else value.to_json() for name, value in known.items()},
            "estimate": self.estimate,
            "diversity": {} if self.diversity is None else self.diversity.means,
            "skipped": list(self.skipped),
            "cost": {name: cost.to_json() for name, cost in costs.items() if cost is not None},
            "report": None if self.report is None else str(self.report),
            "student": None if self.student is None else self.student.to_json(),
            "run_id": self.run_id,
            "registered": self.registered,
            "tracking_problem": self.tracking_problem,
        }


@dataclass(frozen=True, eq=False)
class Predictions:
    """An ensemble's predictions `values` `(n, outputs)` float32 for inputs, which are file names or row numbers.

    Values are probabilities of classes or labels, or regression values; `half_widths` say how far these may be off.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    values: NDArray[np.float32]
    task: str = "classification"
    half_widths: Sequence[float] = ()

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Probabilities of classes or labels `(n, outputs)`.

        Raises:
            InputError: the task is regression.
        """
        if self.task == "regression":
            raise InputError("an ensemble for regression has no probabilities; its values are in `values`")
        return self.values

    def write_csv(self, path: str | Path) -> None:
        """One row an input, as `write_csv` writes them."""
        write_csv(path, [self])


class Writable(Protocol):
    """Takes text."""

    def write(self, content: str, /) -> int:
        """Writes all of it."""


def write_csv(path: str | Path | Writable, batches: Iterable[Predictions]) -> int:
    """Writes predictions as they come, one row an input; the file appears whole or not at all.

    Columns are `input`, and then of classes `prediction` and the probability of each (`p_<class>`); of labels
    `prediction`, those with a probability of one half or more with ";" between them, and the probability of each; of
    regression each target, and where there is an interval `<target>_low` and `<target>_high`. A name that a spreadsheet
    would run as a formula has a `'` before it.

    Args:
        path: of the file; a link is replaced, not followed. A pipe or a device is written to, and so is a stream.
        batches: of one ensemble, at least one.

    Returns:
        How many inputs there were.

    Raises:
        InputError: the file cannot be written.
    """
    if not isinstance(path, str | Path):
        return _write_rows(path, batches)
    try:
        whole = Path(path)
        if (stream := _stream(whole)) is not None:
            with _text(stream) as file:
                return _write_rows(file, batches)
        draft = whole.with_name(f".{whole.name}.{uuid.uuid4().hex}")
        try:
            rows = _write_file(draft, batches)
            draft.replace(whole)  # a link too: what it points to is left alone
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return rows


def _stream(path: Path) -> int | None:
    """The descriptor of a pipe or a device, opened to write; None of a file, and where nothing is."""
    if not path.exists() or path.is_file():
        return None
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):  # it has become one meanwhile
        os.close(descriptor)
        return None
    return descriptor


def _write_file(path: Path, batches: Iterable[Predictions]) -> int:
    with _text(path) as file:
        return _write_rows(file, batches)


def _text(file: Path | int) -> IO[str]:
    if isinstance(file, Path):
        return file.open("w", encoding="utf-8", newline="", errors="backslashreplace")  # bytes of a name, no text
    return os.fdopen(file, "w", encoding="utf-8", newline="", errors="backslashreplace")


def _write_rows(file: Writable, batches: Iterable[Predictions]) -> int:
    rows = 0
    writer = csv.writer(file)
    for number, batch in enumerate(batches):
        outputs = [_unrunnable(name) for name in batch.outputs]
        if number == 0:
            writer.writerow(["input", *_columns(batch, outputs)])
        for name, values in zip(batch.inputs, batch.values, strict=True):
            writer.writerow([_unrunnable(name), *_cells(batch, outputs, values)])
        rows += len(batch.inputs)
    return rows


def _unrunnable(name: str) -> str:
    """A name in a cell that no spreadsheet takes for a formula; one that is a number stays."""
    return f"'{name}" if name.startswith(_FORMULA) and not _NUMBER.fullmatch(name) else name


def _columns(batch: Predictions, outputs: Sequence[str]) -> list[str]:
    if batch.task != "regression":
        return ["prediction", *(f"p_{name}" for name in batch.outputs)]
    ends = [f"{name}_{end}" for name in outputs for end in ("low", "high")]
    return [*outputs, *(ends if batch.half_widths else ())]


def _cells(batch: Predictions, outputs: Sequence[str], values: NDArray[np.float32]) -> list[str]:
    numbers = [f"{value:.9g}" for value in values]
    if batch.task == "classification":
        return [outputs[int(values.argmax())], *numbers]
    if batch.task == "multilabel":
        return [";".join(name for name, value in zip(outputs, values, strict=True) if value >= 0.5), *numbers]
    pairs = zip(values.astype(float), batch.half_widths, strict=False)  # without an interval there are none
    return [*numbers, *(f"{end:.9g}" for value, width in pairs for end in (value - width, value + width))]
