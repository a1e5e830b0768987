"""The pool: trials whose predictions are stored, as one array."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.score import Predictions, Targets, costs, hits
from hpo.ensemble.truth import other_targets, truth_of
from hpo.errors import StudyError
from hpo.study.artifacts import Split
from hpo.study.study import Study
from hpo.study.trial import LIVE, TrialRecord
from hpo.study.truth import Truth

_UNLIKE = 0.1
"""So far may the accuracy of stored predictions be below the reported one, or the RMSE above it as a share of it."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates for an ensemble, the best trial first.

    `validation` is float32 `(trials, rows, outputs)`, calibrated by each trial's own of the `temperatures`; `truth` has
    the targets of the same rows; `skipped` says which trials were left out and why.
    """

    study: Study = field(repr=False)
    trials: tuple[TrialRecord, ...]
    validation: Predictions = field(repr=False)
    truth: Truth = field(repr=False)
    temperatures: tuple[float, ...]
    skipped: tuple[str, ...]

    @classmethod
    def load(cls, study: Study, size: int, least: int = 2) -> "Pool":
        """The best `size` trials of a study that have stored predictions; those that were pruned too.

        Raises:
            StudyError: there are fewer than `least`.
        """
        trials: list[TrialRecord] = []
        arrays: list[Predictions] = []
        ranked = study.leaderboard()
        skipped: list[str] = []
        evicted, searched = study.artifacts.evicted(), study.hold.searcher is not None
        truth = truth_of(study, (trial for trial in ranked if not _no_candidate(trial, evicted, searched)))
        for trial in ranked:
            if len(trials) == size:
                break
            array = _no_candidate(trial, evicted, searched) or _read(study, trial, "validation", truth)
            problem = array if isinstance(array, str) else _unlike_report(study, trial, array, truth)
            if isinstance(array, str) or problem:
                skipped.append(f"trial {trial.number}{problem}")
            else:
                trials.append(trial)
                arrays.append(array)
        skipped += _without_value(study, ranked)
        _check_enough(study, len(trials), least, skipped)
        task, targets = study.spec.task, truth.targets["validation"]
        temperatures = tuple(fit_temperature(array, targets, task) for array in arrays)
        calibrated = np.stack([temper(*pair, task) for pair in zip(arrays, temperatures, strict=True)])
        return cls(study, tuple(trials), calibrated, truth, temperatures, tuple(skipped))

    @property
    def task(self) -> str:
        """What the trials predict."""
        return self.study.spec.task

    @property
    def targets(self) -> Targets:
        """The truth of the validation rows."""
        return self.truth.targets["validation"]

    def only(self, places: Sequence[int]) -> "Pool":
        """These of the candidates, in the pool's order."""
        kept = sorted(places)
        return replace(
            self,
            trials=tuple(self.trials[place] for place in kept),
            validation=self.validation[kept],
            temperatures=tuple(self.temperatures[place] for place in kept),
        )

    def without(self, problems: Mapping[int, str], least: int = 2) -> "Pool":
        """The others, where some candidates turned out to be none: place -> why, after the trial's number.

        Raises:
            StudyError: there are fewer than `least`.
        """
        others = [place for place in range(len(self.trials)) if place not in problems]
        skipped = (*self.skipped, *(f"trial {self.trials[place].number}{why}" for place, why in problems.items()))
        _check_enough(self.study, len(others), least, skipped)
        return replace(self.only(others), skipped=skipped)

    @property
    def best(self) -> int:
        """The place of the study's incumbent, or of the best candidate where its predictions are not stored."""
        incumbent = self.study.best()
        numbers = [trial.number for trial in self.trials]
        return numbers.index(incumbent.number) if incumbent is not None and incumbent.number in numbers else 0

    def test_predictions(self, members: Sequence[int]) -> Predictions:
        """The members' calibrated predictions of the test rows, `(members, rows, outputs)`.

        Read once, after everything is chosen.

        Raises:
            StudyError: a file is missing or corrupt.
        """
        arrays = []
        for member in members:
            array = _read(self.study, self.trials[member], "test", self.truth)
            if isinstance(array, str):
                raise StudyError(f"trial {self.trials[member].number}{array}")
            arrays.append(temper(array, self.temperatures[member], self.task))
        return np.stack(arrays)


def _check_enough(study: Study, count: int, least: int, skipped: Sequence[str]) -> None:
    if count < least:
        reasons = f" Skipped: {'; '.join(skipped)}." if skipped else ""
        trials = "1 trial" if count == 1 else f"{count} trials"
        raise StudyError(
            f"study '{study.name}' has {trials} with stored predictions;"
            f" an ensemble needs {'two' if least > 1 else 'one'}.{reasons} Run `hpo search` for more trials"
            f"{', or take --method single' if count else ''}"
        )


def stored_predictions(study: Study, trial: TrialRecord) -> NDArray[np.float32] | None:
    """A trial's predictions of the validation rows `(rows, outputs)`, not calibrated; None without usable ones."""
    array = _read(study, trial, "validation", study.data_summary)
    return None if isinstance(array, str) else array


def _without_value(study: Study, ranked: Sequence[TrialRecord]) -> list[str]:
    """The trials that are no candidates since they never reported a finite value."""
    known = {trial.number for trial in ranked}
    others = [trial for trial in study.trials() if trial.number not in known]
    return [f"trial {trial.number} has no finite {trial.metric} ({trial.state.value})" for trial in others]


def _no_candidate(trial: TrialRecord, evicted: Collection[int], searched: bool) -> str | None:
    """Why nothing of a trial is read: its artifacts may change under our hands, or are gone."""
    if trial.state in LIVE and searched:
        return f" is {trial.state.value}; it may be a member when it has ended"
    return ": its artifacts were evicted" if trial.number in evicted else None


def _read(study: Study, trial: TrialRecord, split: Split, truth: Truth) -> Predictions | str:
    """A trial's predictions, or why they cannot be used, as it goes on after the trial's number."""
    try:
        stored = study.artifacts.read(trial.number)
    except OSError as error:
        return f": its artifacts cannot be read: {error}"
    if stored is None:
        where = ": it was taken over from another study, where they are" if trial.taken_over else ""
        return f" has no stored predictions{where}"
    expected = truth.shape(split)
    try:
        array = stored.predictions(split, expected)
        others = other_targets(stored, truth) if stored.own else None
    except (OSError, ValueError, EOFError) as error:
        return f": its {split} predictions cannot be read: {error}"
    if others is not None:
        return others
    if array.shape != expected:
        return f": its {split} predictions are {array.shape}, the study's are {expected}"
    if not np.isfinite(array).all():
        return f": its {split} predictions are not all finite"
    return array


def _unlike_report(study: Study, trial: TrialRecord, array: Predictions, truth: Truth) -> str | None:
    """Why stored predictions cannot be of the study's own split: they are far worse than the trial reported.

    What a metric of a training function of the user's own means, nobody knows.
    """
    if study.spec.train is not None:
        return None
    reported = trial.reports[trial.best_epoch] if trial.best_epoch is not None else {}
    task, targets = study.spec.task, truth.targets["validation"]
    if task == "regression":
        name, value = "rmse", float(np.sqrt(costs(array, targets, task)))
        unlike = name in reported and value > reported[name] * (1 + _UNLIKE) + 1e-6 and targets.shape[1] == 1
    else:
        name, value = "accuracy", float(hits(array, targets, task).mean())
        unlike = name in reported and value < reported[name] - _UNLIKE
    if not unlike:
        return None
    return (
        f": its validation predictions have {name} {value:.3g} on the study's rows, and it reported"
        f" {reported[name]:.3g}: they are of another split or seed"
    )
