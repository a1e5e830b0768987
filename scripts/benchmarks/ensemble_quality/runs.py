"""A run is a method on the pool of one data set and seed. Finished ones lie in a JSON-lines file."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hpo.ensemble.calibration import reliability
from hpo.ensemble.score import Predictions, Targets, costs, hits


@dataclass(frozen=True, order=True)
class Key:
    """What a run is of."""

    data: str
    seed: int
    method: str


@dataclass(frozen=True)
class Run:
    """A finished run, scored on test rows.

    `score` is the NLL in nats, of regression the RMSE; `accuracy`, `ece` and `brier` are None of regression. `seconds`
    is the wall time of choosing, or of training members; `members` how many there are; `note` what `auto` chose.
    """

    key: Key
    rows: int
    score: float
    accuracy: float | None
    ece: float | None
    brier: float | None
    seconds: float
    members: int
    note: str = ""


def scored(
    key: Key, predictions: Predictions, targets: Targets, task: str, seconds: float, members: int, note: str = ""
) -> Run:
    """A run from its predictions of the test rows `(rows, outputs)`."""
    cost = float(costs(predictions, targets, task))
    if task == "regression":
        return Run(key, len(targets), float(np.sqrt(cost)), None, None, None, seconds, members, note)
    trust = reliability(predictions, targets, task)
    accuracy = float(hits(predictions, targets, task).mean())
    return Run(key, len(targets), cost, accuracy, trust["ece"], trust["brier"], seconds, members, note)


def read(journal: Path) -> list[Run]:
    """The finished runs of a journal; a last line that a kill has torn is cut off the file."""
    if not journal.exists():
        return []
    text = journal.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        journal.write_text(whole)
    rows = map(json.loads, whole.splitlines())
    return [Run(Key(**row.pop("key")), **row) for row in rows]


def append(journal: Path, finished: Iterable[Run]) -> None:
    """Adds finished runs to a journal."""
    with journal.open("a") as file:
        for run in finished:
            file.write(json.dumps(asdict(run)) + "\n")
            file.flush()


def forget(journal: Path, methods: Sequence[str]) -> None:
    """Drops the runs of these methods, so that they are made anew."""
    kept = [run for run in read(journal) if run.key.method not in methods]
    journal.write_text("".join(json.dumps(asdict(run)) + "\n" for run in kept))
