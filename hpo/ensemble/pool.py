"""The pool: trials whose predictions are stored, as one array."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hpo.artifacts import Split
from hpo.ensemble.calibration import fit_temperature, temper
from hpo.errors import StudyError
from hpo.study import State, Study, TrialRecord


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates for an ensemble, the best trial first.

    `validation` is float32 `(trials, rows, classes)`, calibrated by each trial's own of the `temperatures`; `labels` is
    int64 `(rows,)`; `skipped` says which trials were left out and why.
    """

    study: Study = field(repr=False)
    trials: tuple[TrialRecord, ...]
    validation: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    temperatures: tuple[float, ...]
    skipped: tuple[str, ...]

    @classmethod
    def load(cls, study: Study, size: int) -> "Pool":
        """The best `size` trials of a study that have stored predictions.

        Raises:
            StudyError: there are fewer than two.
        """
        trials: list[TrialRecord] = []
        arrays: list[NDArray[np.float32]] = []
        skipped: list[str] = []
        for trial in study.leaderboard():
            if len(trials) == size:
                break
            if trial.state is State.RUNNING:  # its artifacts may change under our hands
                continue
            array = _read(study, trial, "validation")
            if isinstance(array, str):
                skipped.append(array)
            else:
                trials.append(trial)
                arrays.append(array)
        if len(trials) < 2:
            reasons = f" Skipped: {'; '.join(skipped)}." if skipped else ""
            raise StudyError(
                f"study '{study.name}' has {len(trials)} trials with stored predictions;"
                f" an ensemble needs two.{reasons} Run `hpo search` for more trials"
            )
        labels = study.facts.targets["validation"]
        temperatures = tuple(fit_temperature(array, labels) for array in arrays)
        calibrated = np.stack([temper(*pair) for pair in zip(arrays, temperatures, strict=True)])
        return cls(study, tuple(trials), calibrated, labels, temperatures, tuple(skipped))

    @property
    def best(self) -> int:
        """The place of the study's incumbent, or of the best candidate where its predictions are not stored."""
        incumbent = self.study.best()
        numbers = [trial.number for trial in self.trials]
        return numbers.index(incumbent.number) if incumbent is not None and incumbent.number in numbers else 0

    def test_predictions(self, members: Sequence[int]) -> NDArray[np.float32]:
        """The members' calibrated probabilities of the test rows, `(members, rows, classes)`.

        Read once, after everything is chosen.

        Raises:
            StudyError: a file is missing or corrupt.
        """
        arrays = []
        for member in members:
            array = _read(self.study, self.trials[member], "test")
            if isinstance(array, str):
                raise StudyError(array)
            arrays.append(temper(array, self.temperatures[member]))
        return np.stack(arrays)


def stored_predictions(study: Study, trial: TrialRecord) -> NDArray[np.float32] | None:
    """A trial's probabilities of the validation rows `(rows, classes)`, not calibrated; None without usable ones."""
    array = _read(study, trial, "validation")
    return None if isinstance(array, str) else array


def _read(study: Study, trial: TrialRecord, split: Split) -> NDArray[np.float32] | str:
    """A trial's predictions, or why they cannot be used."""
    stored = study.artifacts.read(trial.number)
    if stored is None:
        return f"trial {trial.number} has no stored predictions"
    try:
        array = stored.predictions(split)
    except (OSError, ValueError, EOFError) as error:
        return f"trial {trial.number}: its {split} predictions cannot be read: {error}"
    expected = (len(study.facts.targets[split]), len(study.facts.outputs))
    if array.shape != expected:
        return f"trial {trial.number}: its {split} predictions are {array.shape}, the study's are {expected}"
    if not np.isfinite(array).all():
        return f"trial {trial.number}: its {split} predictions are not all finite"
    return array
