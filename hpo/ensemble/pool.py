"""The pool: trials whose predictions are stored, as one array."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.score import Predictions, Targets, costs, hits
from hpo.ensemble.truth import other_targets, truth_of
from hpo.errors import StudyError
from hpo.spec import StudySpec
from hpo.study.artifacts import Split
from hpo.study.data_summary import DataSummary
from hpo.study.study import Study
from hpo.study.trial import LIVE, TrialRecord
from hpo.study.truth import Truth
from hpo.tasks.features import Feature, history

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
    owners: tuple[Study, ...] = field(default=(), repr=False)
    """The study of each candidate, where there are several; `study` is the first, whose ensemble it will be."""

    @classmethod
    def of_studies(cls, studies: Sequence[Study], size: int) -> "Pool":
        """The best `size` trials of several studies of the same data, by their score on validation rows.

        Raises:
            StudyError: two studies have other data, another split or another task, or one has no usable trial.
        """
        for other in studies[1:]:
            _check_alike(studies[0], other)
        pools = [cls.load(study, size, least=1) for study in studies]
        for pool in pools[1:]:
            _check_same_rows(pools[0], pool)
        trials = [trial for pool in pools for trial in pool.trials]
        owners = [pool.study for pool in pools for _ in pool.trials]
        temperatures = [temperature for pool in pools for temperature in pool.temperatures]
        validation = np.concatenate([pool.validation for pool in pools])
        truth, task = pools[0].truth, pools[0].task
        skipped = [f"{pool.study.name}: {why}" for pool in pools for why in pool.skipped]
        order = np.argsort(costs(validation, truth.targets["validation"], task), kind="stable")[:size].tolist()
        return cls(
            studies[0],
            tuple(trials[place] for place in order),
            validation[order],
            truth,
            tuple(temperatures[place] for place in order),
            tuple(skipped),
            tuple(owners[place] for place in order),
        )

    @classmethod
    def load(cls, study: Study, size: int, least: int = 2, wanted: int | None = None) -> "Pool":
        """The best `size` trials of a study that have stored predictions; those that were pruned too.

        Args:
            study: whose trials.
            size: how many at most.
            least: how many at least.
            wanted: the number of a trial that is a candidate however good it is.

        Raises:
            StudyError: there are fewer than `least`, or the wanted trial is none.
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
            array = _predicted(study, trial, evicted, searched, truth)
            if isinstance(array, str):
                skipped.append(f"trial {trial.number}{array}")
            else:
                trials.append(trial)
                arrays.append(array)
        if wanted is not None and wanted not in [trial.number for trial in trials]:
            trials.append(study.trial(wanted))
            arrays.append(_wanted(study, trials[-1], evicted, searched, truth))
        skipped += _without_value(study, ranked)
        _check_enough(study, len(trials), least, skipped)
        task, targets = study.spec.base, truth.targets["validation"]
        temperatures = tuple(fit_temperature(array, targets, task) for array in arrays)
        calibrated = np.stack([temper(*pair, task) for pair in zip(arrays, temperatures, strict=True)])
        return cls(study, tuple(trials), calibrated, truth, temperatures, tuple(skipped))

    @property
    def task(self) -> str:
        """What the trials predict."""
        return self.study.spec.base

    @property
    def layout(self) -> Sequence[Feature]:
        """What the inputs are, where a summary of the data says so."""
        return self.truth.encoding.layout if isinstance(self.truth, DataSummary) else ()

    @property
    def spreads(self) -> NDArray[np.floating[Any]] | None:
        """How far off forecasts of each validation row may be, where the summary of the data says so."""
        return self.truth.spreads.get("validation") if isinstance(self.truth, DataSummary) else None

    @property
    def overlap(self) -> int:
        """How many validation rows before and after a row say something of it, as `hpo.ensemble.method_choice` says."""
        past = history(self.layout)
        return 0 if past is None else past.overlap

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
            owners=tuple(self.owners[place] for place in kept) if self.owners else (),
        )

    def without(self, problems: Mapping[int, str], least: int = 2) -> "Pool":
        """The others, where some candidates turned out to be none: place -> why, after the trial's number.

        Raises:
            StudyError: there are fewer than `least`.
        """
        others = [place for place in range(len(self.trials)) if place not in problems]
        skipped = (*self.skipped, *(f"{self.name(place)}{why}" for place, why in problems.items()))
        _check_enough(self.study, len(others), least, skipped)
        return replace(self.only(others), skipped=skipped)

    @property
    def best(self) -> int:
        """The place of the study's incumbent, or of the best candidate where its predictions are not stored.

        Of several studies, whose objectives may differ, the best candidate by the score that ensembles are chosen by.
        """
        if self.owners:
            return 0
        incumbent = self.study.best()
        numbers = [trial.number for trial in self.trials]
        return numbers.index(incumbent.number) if incumbent is not None and incumbent.number in numbers else 0

    def owner(self, place: int) -> Study:
        """The study of a candidate."""
        return self.owners[place] if self.owners else self.study

    @property
    def others(self) -> tuple[Study, ...]:
        """The studies beside the first one."""
        return tuple({owner.name: owner for owner in self.owners if owner is not self.study}.values())

    def name(self, place: int) -> str:
        """The name of a candidate, such as `trial 12`; of another study `wide: trial 12`."""
        owner, own = self.owner(place), f"trial {self.trials[place].number}"
        return own if owner is self.study else f"{owner.name}: {own}"

    def place(self, number: int) -> int:
        """The place of the trial with this number, which is a candidate."""
        return [trial.number for trial in self.trials].index(number)

    def test_predictions(self, members: Sequence[int]) -> Predictions:
        """The members' calibrated predictions of the test rows, `(members, rows, outputs)`.

        Read once, after everything is chosen.

        Raises:
            StudyError: a file is missing or corrupt.
        """
        arrays = []
        for member in members:
            array = _read(self.owner(member), self.trials[member], "test", self.truth)
            if isinstance(array, str):
                raise StudyError(f"{self.name(member)}{array}")
            arrays.append(temper(array, self.temperatures[member], self.task))
        return np.stack(arrays)


_SAME_ROWS = "an ensemble is of trials that predict the same rows"


def _check_same_rows(one: Pool, other: Pool) -> None:
    """Holds the candidates of two studies to have been given the same truth."""
    splits = one.truth.targets.keys() | other.truth.targets.keys()
    given = [[pool.truth.targets.get(split) for split in sorted(splits)] for pool in (one, other)]
    same = all(np.array_equal(mine, theirs) for mine, theirs in zip(*given, strict=True))
    if one.truth.outputs != other.truth.outputs or not same:
        raise StudyError(f"studies '{one.study.name}' and '{other.study.name}' have other targets: {_SAME_ROWS}")


def _check_alike(one: Study, other: Study) -> None:
    """Holds two studies to be of the same rows, in the same split, for the same task."""
    both, way = f"studies '{one.name}' and '{other.name}'", _SAME_ROWS
    if one.spec.task != other.spec.task:
        raise StudyError(f"{both} have other tasks, {one.spec.task} and {other.spec.task}: {way}")
    if not isinstance(one.spec, StudySpec) or not isinstance(other.spec, StudySpec):
        if isinstance(one.spec, StudySpec) or isinstance(other.spec, StudySpec):
            raise StudyError(f"{both}: one has data and a model, the other a training function of its own: {way}")
        return
    mine, theirs = one.data_summary, other.data_summary
    if mine.outputs != theirs.outputs:
        raise StudyError(f"{both} have other outputs, {mine.outputs!r:.200} and {theirs.outputs!r:.200}: {way}")
    splits = [
        (study.spec.seed, study.study_spec.data.validation, study.spec.training.folds is None) for study in (one, other)
    ]
    if mine.fingerprint != theirs.fingerprint:
        why = "other data" if splits[0] == splits[1] else "other splits (data.validation, training.folds, or seed)"
        raise StudyError(f"{both} have {why}: {way}")
    same = all(np.array_equal(rows, theirs.targets[split]) for split, rows in mine.targets.items())
    if not same or mine.example.dtype != theirs.example.dtype or mine.encoding.to_json() != theirs.encoding.to_json():
        raise StudyError(f"{both} have read their data otherwise: {way}")


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


def _predicted(
    study: Study, trial: TrialRecord, evicted: Collection[int], searched: bool, truth: Truth
) -> Predictions | str:
    """A trial's validation predictions, or why it is no candidate, as it goes on after the trial's number."""
    array = _no_candidate(trial, evicted, searched) or _read(study, trial, "validation", truth)
    return array if isinstance(array, str) else _unlike_report(study, trial, array, truth) or array


def _wanted(study: Study, trial: TrialRecord, evicted: Collection[int], searched: bool, truth: Truth) -> Predictions:
    """The validation predictions of a trial that the user has named."""
    array = _predicted(study, trial, evicted, searched, truth)
    if trial.fitness is None:
        array = f" has no finite {trial.metric} ({trial.state.value})"
    if isinstance(array, str):
        raise StudyError(f"study '{study.name}': trial {trial.number}{array}")
    return array


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
    task, targets = study.spec.base, truth.targets["validation"]
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
