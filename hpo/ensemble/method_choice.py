"""The methods by name, and the choice between them by nested cross-validation on validation rows.

The rule of `auto`: whole folds of rows are held out; on the others a method is chosen by cross-validation, fitted and
calibrated; then it is compared on the held-out rows with the best single trial, row by row. So what is measured is the
whole procedure, the choice included (Varma & Simon 2006; Cawley & Talbot 2010). Only an ensemble that gains more than
noise may have made is taken: the mean gain must be above `MARGIN` standard errors, and no fewer rows may be right than
one standard error allows. Otherwise the single trial is the answer.

The single trial of this comparison is chosen anew without each fold, as the ensemble is: the best of all trials on the
validation rows looks better on these rows than it is. So its score here is that of choosing one trial, and not that of
the one that is the answer.

Between methods the plainest is chosen that is within one standard error of the best (Breiman et al. 1984): on few rows
a stack may look best by chance, and the plain mean is seldom far behind.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hpo.datasets.folds import fold_numbers
from hpo.ensemble.calibration import (
    LEVEL,
    Calibration,
    Interval,
    calibration,
    conformal,
    fit_temperature,
    reliability,
    temper,
)
from hpo.ensemble.combiner import Average, Calibrated, Combiner
from hpo.ensemble.member_choice import SELECTIONS, best_members
from hpo.ensemble.methods import METHODS, Method
from hpo.ensemble.methods.stacking import STACKS, operations
from hpo.ensemble.score import SCORES, Predictions, Targets, costs, hits
from hpo.errors import InputError
from hpo.plugins import did_you_mean

SINGLE = "single"
"""The best single trial, as a method."""

MARGIN = 1.0
"""Standard errors by which `auto` wants an ensemble to gain."""

_NOT_FOR = {
    "hard_voting": ("regression",),
    "median": ("classification", "multilabel"),
    "stacking_ridge": ("regression",),
}
"""Method -> tasks of which it is not a candidate; ridge regression is what `stacking` is for regression."""
CHOOSE_THEMSELVES = ("greedy", "bagged_greedy")
_NEAR = 20
"""Rows a gap row: on either side of a fold, at most one row in so many is left out, since it overlaps with the fold."""
_FEWEST = 10
"""Validation rows that a choice needs."""
_MANY = 3000
"""Rows from which on three folds tell as much as five."""
_WORTH = 3e12
"""Operations that `auto` spends on one method at most, one to two minutes: it gains less than other trials would."""
_LONG = 3e11
"""Operations from which on a comparison says how far it is, ten seconds."""


@dataclass(frozen=True)
class Gain:
    """What an ensemble gains over the best single trial on rows that neither was fitted to, or chosen by.

    `score` is the name of the costs; `gain` is how much lower the ensemble's is, with its standard `error` over rows;
    `hits` is by how much the share of right classes or labels is higher, with `hits_error`; None for regression.
    """

    score: str
    single: float
    ensemble: float
    gain: float
    error: float
    hits: float | None
    hits_error: float = 0.0

    @property
    def certain(self) -> bool:
        """Whether the ensemble may be taken in place of the single trial."""
        no_fewer_right = self.hits is None or self.hits >= -self.hits_error
        return self.gain > 0 and self.gain >= MARGIN * self.error and no_fewer_right

    def __str__(self) -> str:
        return f"{self.score} {self.ensemble:.4f} against {self.single:.4f}, gain {self.gain:.4f} ± {self.error:.4f}"


@dataclass(frozen=True, eq=False)
class Choice:
    """A method's name and its combiner, calibrated.

    `costs` has each compared method's cross-validated score, `single` among them; `gain` compares what was chosen, or
    with `auto` the whole procedure, with the best single trial; `interval` is for regression, None with too few rows;
    `note` is a sentence for whoever reads the output.
    """

    method: str
    combiner: Combiner
    costs: Mapping[str, float]
    calibration: Calibration
    gain: Gain
    interval: Interval | None
    note: str


def check_method(method: str, task: str | None = None) -> None:
    """Holds a method's name to the known ones, and to those of a task where one is named.

    Raises:
        InputError: it is not one of them.
    """
    if method not in ("auto", SINGLE) and method not in METHODS:
        raise InputError(f"unknown method '{method}'.{did_you_mean(method, ['auto', SINGLE, *METHODS])}")
    if method in ("hard_voting", "median") and task in _NOT_FOR[method]:
        raise InputError(f"--method {method} is not for task {task}; use auto, voting or greedy")


def check_selection(select: str) -> None:
    """Holds the name of a selection of members to the known ones.

    Raises:
        InputError: it is not one of them.
    """
    if select not in SELECTIONS:
        raise InputError(f"unknown selection '{select}'.{did_you_mean(select, SELECTIONS)}")


def candidates(task: str) -> list[str]:
    """The methods that `auto` compares for a task."""
    return [name for name in METHODS if task not in _NOT_FOR.get(name, ())]


def choose(
    method: str,
    predictions: Predictions,
    targets: Targets,
    top: int,
    *,
    task: str = "classification",
    best: int = 0,
    select: str = "score",
    level: float = LEVEL,
    overlap: int = 0,
    spreads: NDArray[np.floating[Any]] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Choice:
    """Fits one method, or with `auto` the one whose cross-validated score is best, if that is better than one trial.

    A named method is used as asked; `gain` and `note` say how it stands beside the single trial.

    Args:
        method: `auto`, `single` or a key of METHODS.
        predictions: of the candidates, `(candidates, rows, outputs)`, calibrated, for validation rows.
        targets: of the same rows.
        top: how many members at most.
        task: what is predicted.
        best: the place of the best single trial.
        select: by what the members are chosen of methods that do not choose theirs: `score`, `gain` or `diversity`.
        level: of the intervals, for regression.
        overlap: how many rows before and after a row say something of it, where rows are in the order of time: windows
            over series share steps. Then folds are spans of time, what lies so near to a fold is not fitted on (a
            twentieth of all rows at most), and standard errors are those of means over spans.
        spreads: by how much predictions of each row may be off `(rows,)`, for intervals in units of these.
        say: is told what `auto` leaves out because it would take too long, and how far a long comparison is.

    Raises:
        InputError: there is no such method or selection, or too few rows.
    """
    check_method(method, task)
    check_selection(select)
    if len(targets) < _FEWEST:
        raise InputError(
            f"an ensemble needs at least {_FEWEST} validation rows to be chosen by, there are {len(targets)};"
            " raise data.validation"
        )
    with threadpool_limits(1, user_api="blas"):  # many small products: a second thread makes them several times slower
        trials = _CrossValidation(predictions, targets, top, task, best, select, overlap, say)
        return _choice(method, trials, level, spreads)


def _choice(method: str, trials: "_CrossValidation", level: float, spreads: NDArray[np.floating[Any]] | None) -> Choice:
    left_out = ""
    if method == "auto":
        names, left_out = trials.worth(candidates(trials.task))
        trials.run(names, nested=True)
        gain, name = trials.gain_of_choice(), trials.favourite()
        chosen = name if gain.certain and trials.costs[name] < trials.costs[SINGLE] else SINGLE
    else:
        trials.run([method] if method != SINGLE else [], nested=False)
        gain, chosen = trials.gain_of(method), method
    note = _note(method, chosen, gain)
    return Choice(
        chosen,
        trials.fitted(chosen),
        trials.costs,
        trials.last_calibration(chosen),
        gain,
        trials.interval(chosen, level, spreads),
        f"{note}; {left_out}" if left_out else note,
    )


def fit(name: str, predictions: Predictions, targets: Targets, top: int, task: str, select: str = "score") -> Combiner:
    """A method's combiner of candidates `(candidates, rows, outputs)`, members selected as told; not calibrated."""
    method = METHODS[name]
    if select == "score" or name in CHOOSE_THEMSELVES:
        return method(predictions, targets, top, task)
    return _fit_selected(method, predictions, targets, SELECTIONS[select](predictions, targets, top, task), task)


class _CrossValidation:
    """Predictions of every method for rows that it was not fitted to.

    Nested cross-validation with the same folds inside and outside: every fit leaves out one fold or two. What leaves
    out i and j predicts i for the choice made without j, and j for the choice made without i.
    """

    def __init__(
        self,
        predictions: Predictions,
        targets: Targets,
        top: int,
        task: str,
        best: int,
        select: str,
        overlap: int,
        say: Callable[[str], None],
    ) -> None:
        self._predictions, self._targets, self._top = predictions, targets, top
        self._task, self._best, self._select, self._say = task, best, select, say
        self._folds = _fold_count(len(targets))
        count, rows, outputs = predictions.shape
        self._sizes = min(top, count), rows, outputs, task
        self._overlap = overlap
        self._numbers = spans(len(targets), self._folds) if overlap else fold_numbers(targets, self._folds)
        self._inner: dict[str, list[Predictions]] = {}
        self.held_out: dict[str, Predictions] = {SINGLE: self._single_anew()}
        self.costs: dict[str, float] = {}
        self.calibrations: dict[str, Calibration] = {}
        self.names: list[str] = []

    @property
    def task(self) -> str:
        """What is predicted."""
        return self._task

    def worth(self, names: Sequence[str]) -> tuple[list[str], str]:
        """Those of the methods whose comparison is worth its time, and what is to be said of the others."""
        too_long = [name for name in names if comparison_operations(name, *self._sizes) > _WORTH]
        if not too_long:
            return list(names), ""
        members, rows, outputs, _ = self._sizes
        said = (
            f"auto left out {', '.join(too_long)}, which would take minutes to compare with {outputs:,} outputs of"
            f" {members} members and {rows:,} rows; --method takes one all the same"
        )
        self._say(said)
        return [name for name in names if name not in too_long], said

    def _single_anew(self) -> Predictions:
        """Each fold as the candidate predicts it that is best on the other folds.

        `best` itself was chosen from all candidates by these very rows: its score here is better than it is.
        """
        combined: Predictions = np.empty_like(self._predictions[0])
        for fold in range(self._folds):
            inside, outside = self._apart({fold}), np.flatnonzero(self._numbers == fold)
            (place,) = best_members(self._predictions[:, inside], self._targets[inside], 1, self._task)
            combined[outside] = self._predictions[place][outside]
        return combined

    def run(self, names: Iterable[str], nested: bool) -> None:
        """Predicts every row by these methods, and with `nested` also for choices without each one of the folds."""
        self.names = list(names)
        for name in self.names:
            self.held_out[name] = np.empty_like(self._predictions[0])
            self._inner[name] = [np.empty_like(self._predictions[0]) for _ in range(self._folds if nested else 0)]
        pairs = list(combinations(range(self._folds), 2)) if nested else []
        long = sum(comparison_operations(name, *self._sizes, nested) for name in self.names) > _LONG
        told = self._say if long else lambda line: None
        for place, left_out in enumerate([*((fold,) for fold in range(self._folds)), *pairs], start=1):
            told(f"{', '.join(self.names)}: fit {place} of {self._folds + len(pairs)}")
            if len(left_out) == 1:
                self._predict({left_out[0]: self.held_out})
            else:
                without = [{name: self._inner[name][fold] for name in self.names} for fold in left_out]
                self._predict({left_out[0]: without[1], left_out[1]: without[0]})
        for name in [*self.names, SINGLE]:
            self.calibrations[name] = calibration(self.held_out[name], self._targets, self._task)
            after = temper(self.held_out[name], self.calibrations[name].temperature, self._task)
            self.costs[name] = float(costs(after, self._targets, self._task))

    def last_calibration(self, name: str) -> Calibration:
        """What the last temperature does; the single trial, which is calibrated as every candidate is, gets none.

        In comparisons it has one all the same: an ensemble must not win by a temperature that the trial was denied.
        """
        if name != SINGLE:
            return self.calibrations[name]
        measured = reliability(self._predictions[self._best], self._targets, self._task)
        return Calibration(1.0, measured, measured)

    def favourite(self) -> str:
        """The plainest method whose cross-validated score is as good as the best."""
        return plainest({name: self._losses(self._tempered(name)) for name in self.names}, self._overlap + 1)

    def fitted(self, name: str) -> Combiner:
        """The method's combiner, fitted to all rows, with its last temperature."""
        if name == SINGLE:
            return Average((self._best,), (1.0,), self._task)
        combiner = fit(name, self._predictions, self._targets, self._top, self._task, self._select)
        temperature = self.calibrations[name].temperature
        return combiner if temperature == 1.0 else Calibrated(combiner, temperature, self._task)

    def interval(self, name: str, level: float, spreads: NDArray[np.floating[Any]] | None) -> Interval | None:
        """The interval of a regression method, from rows that it was not fitted to; None for other tasks."""
        held_out = self._predictions[self._best] if name == SINGLE else self.held_out[name]
        if self._task != "regression" or (len(self._targets) + 1) * level > len(self._targets):
            return None
        return conformal(held_out - self._targets, level, spreads)

    def gain_of(self, name: str) -> Gain:
        """What one method gains over the single trial, both cross-validated and calibrated."""
        return self._gain(self._tempered(name))

    def gain_of_choice(self) -> Gain:
        """What the choice between the methods gains, on folds that it was made without."""
        combined = np.empty_like(self._predictions[0])
        for fold in range(self._folds):
            inside, outside = self._apart({fold}), np.flatnonzero(self._numbers == fold)
            name, temperature = self._choice_without(fold, inside)
            combined[outside] = temper(self.held_out[name][outside], temperature, self._task)
        return self._gain(combined)

    def _choice_without(self, fold: int, rows: NDArray[np.intp]) -> tuple[str, float]:
        """The favourite by what was predicted without this fold, and its temperature."""
        targets, temperatures, losses = self._targets[rows], {}, {}
        for name in self.names:
            inner = self._inner[name][fold][rows]
            temperatures[name] = fit_temperature(inner, targets, self._task)
            losses[name] = _row_losses(temper(inner, temperatures[name], self._task), targets, self._task)
        name = plainest(losses, self._overlap + 1)
        return name, temperatures[name]

    def _apart(self, folds: Collection[int]) -> NDArray[np.intp]:
        """The rows that are in none of these folds, and not so near to one that they say something of it."""
        inside = np.isin(self._numbers, list(folds))
        near = min(self._overlap, len(inside) // _NEAR)
        if near:
            inside = np.convolve(inside, np.ones(2 * near + 1), mode="same") > 0.5
        return np.flatnonzero(~inside)

    def _predict(self, goals: Mapping[int, Mapping[str, Predictions]]) -> None:
        """Fits all methods without these folds, and puts each one's predictions of a fold where its goal is."""
        fitted = self._apart(goals.keys())
        known, targets = self._predictions[:, fitted], self._targets[fitted]
        places = SELECTIONS[self._select](known, targets, self._top, self._task)
        for name in self.names:
            if name in CHOOSE_THEMSELVES:
                combiner = METHODS[name](known, targets, self._top, self._task)
            else:
                combiner = _fit_selected(METHODS[name], known, targets, places, self._task)
            for fold, goal in goals.items():
                rows = np.flatnonzero(self._numbers == fold)
                goal[name][rows] = _combined(combiner, self._predictions, rows)

    def _tempered(self, name: str) -> Predictions:
        return temper(self.held_out[name], self.calibrations[name].temperature, self._task)

    def _losses(self, predictions: Predictions) -> NDArray[np.float64]:
        return _row_losses(predictions, self._targets, self._task)

    def _gain(self, combined: Predictions) -> Gain:
        single = self._tempered(SINGLE)
        before, after = self._losses(single), self._losses(combined)
        gain, error = _mean(before - after, self._overlap + 1)
        more, more_error = None, 0.0
        if self._task != "regression":
            right = [hits(predictions, self._targets, self._task) for predictions in (single, combined)]
            more, more_error = _mean(right[1] - right[0], self._overlap + 1)
        name = SCORES[self._task].name
        return Gain(name, float(before.mean()), float(after.mean()), gain, error, more, more_error)


def _row_losses(predictions: Predictions, targets: Targets, task: str) -> NDArray[np.float64]:
    """What each row costs, `(rows,)`; their mean is the score."""
    score = SCORES[task]
    losses: NDArray[np.float64] = score.losses(score.own(predictions, targets)).mean(axis=1)
    return losses


def spans(rows: int, folds: int) -> NDArray[np.intp]:
    """The number of the fold of each row, `(rows,)`: spans of rows one after another, alike in size."""
    return np.arange(rows) * folds // rows


def plainest(losses: Mapping[str, NDArray[np.float64]], span: int = 1) -> str:
    """The first method whose losses, row by row, exceed the best method's by no more than a standard error.

    Args:
        losses: method -> loss of each row.
        span: how many rows that follow one another are one observation, as `choose` says.
    """
    best = min(losses, key=lambda name: float(losses[name].mean()))
    excesses = {name: _mean(rows - losses[best], span) for name, rows in losses.items()}
    return next((name for name, (excess, error) in excesses.items() if excess <= error), best)


def _mean(rows: NDArray[np.float64], span: int = 1) -> tuple[float, float]:
    """The mean and its standard error: by means over spans of so many rows, which are observations; infinite of one."""
    parts = len(rows) // span
    if parts < 2:
        return float(rows.mean()), math.inf
    means = rows if span == 1 else np.array([part.mean() for part in np.array_split(rows, parts)])
    return float(rows.mean()), float(means.std(ddof=1) / np.sqrt(parts))


def _fit_selected(
    method: Method, predictions: Predictions, targets: Targets, places: tuple[int, ...], task: str
) -> Combiner:
    combiner = method(predictions[list(places)], targets, len(places), task)
    members = tuple(places[member] for member in combiner.members)
    return replace(combiner, members=members)  # type: ignore[type-var]  # every combiner is a dataclass


def _combined(combiner: Combiner, predictions: Predictions, rows: NDArray[np.intp]) -> Predictions:
    return combiner.combine(predictions[np.asarray(combiner.members)[:, None], rows])


def comparison_operations(
    name: str, members: int, rows: int, outputs: int, task: str = "classification", nested: bool = True
) -> float:
    """About how many operations it takes to cross-validate a method; one that does not stack takes next to none."""
    if name not in STACKS:
        return 0.0
    folds = _fold_count(rows)
    fitted = [rows * (folds - 1) // folds] * folds + [rows]
    fitted += [rows * (folds - 2) // folds] * (folds * (folds - 1) // 2) if nested else []
    return sum(operations(name, members, each, outputs, task) for each in fitted)


def _fold_count(rows: int) -> int:
    return 5 if rows < _MANY else 3


def _note(method: str, chosen: str, gain: Gain) -> str:
    """What the output says of the choice."""
    if method == SINGLE:
        return "the best single trial, as asked"
    if chosen == SINGLE:
        return f"no ensemble is surely better than the best single trial, which is the answer: {gain}"
    if gain.certain:
        return f"better than the best single trial on held-out rows: {gain}"
    return f"not surely better than the best single trial on held-out rows: {gain}; auto would take the single trial"
