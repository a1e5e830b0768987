"""Several trainings of one config as one trial: a copy for each fold of the data and for each seed.

The copies are trained side by side, an epoch of each before the next one, as `xgboost.cv` does it. So each report is
of all folds: a trial is paused or stopped by the mean of its copies, its best epoch is the same for all of them, and
their out-of-fold predictions are whole at any epoch.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.folds import folded, folds_of
from hpo.errors import TrainingError
from hpo.spec import StudySpec
from hpo.study.artifacts import Split
from hpo.tasks import COSTS
from hpo.training import randomness
from hpo.training.function import Context, Report, Snapshot, TrainingState, taken

_SUMMED = (*COSTS, "train_seconds")
"""What a trial takes in all; of other metrics it has the mean of its copies."""
_COPIES = "copies"
Arrays = Mapping[Split, NDArray[Any]]


def side_by_side(begin: Callable[[Context], Iterator[Report]], context: Context) -> Iterator[Report]:
    """Trains the copies of a config; each report is of all of them.

    Metrics are the means of the copies', with the sample standard deviation of what is searched for as `<metric>_std`.
    Seconds, milliseconds and parameters are sums. Validation predictions are out-of-fold, in the order of the rows, and
    means over seeds.

    Args:
        begin: trains one copy; the order of its random draws does not depend on the others.
        context: of the trial; the first copy has its seed.

    Raises:
        TrainingError: the copies report different epochs or predict different rows, or the state to go on from does not
            fit.
    """
    with ExitStack() as stack:
        copies = [_Copy(begin(one), one.fold) for one in _contexts(context)]
        for copy in copies:
            stack.callback(copy.close)
        diverged = False
        while True:
            reports = [copy.next() for copy in copies]
            ended = [report is None for report in reports]
            if any(ended):
                if not diverged:
                    _check_ended(ended)
                return
            joined = _joined([report for report in reports if report is not None], copies, context)
            diverged = math.isnan(joined.metrics[context.spec.objective.metric])
            yield joined


@dataclass(eq=False)
class _Copy:
    """One training of the config, with random numbers of its own."""

    reports: Iterator[Report]
    fold: int | None
    drawn: Mapping[str, Any] | None = field(default=None, repr=False)
    """The states of the global random generators where it stands; None where it has not begun, and seeds them."""

    def next(self) -> Report | None:
        with self.drawing():
            return next(self.reports, None)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """While it lasts, the global random generators are this copy's."""
        if self.drawn is not None:
            randomness.restore(self.drawn)
        yield
        self.drawn = randomness.states()

    def close(self) -> None:
        if (close := getattr(self.reports, "close", None)) is not None:
            close()


def _contexts(context: Context) -> Iterator[Context]:
    """What each copy is given: fold by fold, and in each seed by seed."""
    training, dataset = context.spec.training, context.dataset
    states = _states(context.resume, training.copies)
    for place in range(training.copies):
        fold = None if training.folds is None else place // training.seeds
        own = dataset
        if dataset is not None and training.folds is not None and fold is not None:
            own = folded(dataset, training.folds, context.spec.seed)[fold]
        yield replace(context, seed=_seed(context.seed, place), dataset=own, resume=states[place], fold=fold)


def _seed(trial: int, place: int) -> int:
    """The seed of a copy: of the first one the trial's own."""
    return trial if place == 0 else int(np.random.SeedSequence([trial, place]).generate_state(1)[0])


def _states(resume: TrainingState | None, copies: int) -> Sequence[TrainingState | None]:
    if resume is None:
        return [None] * copies
    states = resume.get(_COPIES)
    if not isinstance(states, list) or len(states) != copies or not all(isinstance(one, Mapping) for one in states):
        raise TrainingError(f"the stored state does not fit what is trained: it is not that of {copies} copies")
    return states


def _check_ended(ended: Sequence[bool]) -> None:
    if not all(ended):
        raise TrainingError(
            f"copy {ended.index(True)} of the config has ended before copy {ended.index(False)}: with training.folds or"
            " training.seeds all must report the same epochs"
        )


def _joined(reports: Sequence[Report], copies: Sequence[_Copy], context: Context) -> Report:
    """The report of a trial, of those of its copies."""
    epochs = [report.epoch for report in reports]
    if len(set(epochs)) > 1:
        raise TrainingError(
            f"the copies of the config report epochs {sorted(set(epochs))} together: with training.folds or"
            " training.seeds all must report the same"
        )
    goes_on = all(report.state is not None for report in reports)
    snapshot = partial(_snapshot, reports, copies, context)
    return Report(
        epochs[0], _metrics(reports, context), snapshot, partial(_state, reports, copies) if goes_on else None
    )


def _metrics(reports: Sequence[Report], context: Context) -> dict[str, float]:
    """What the copies have measured, as one."""
    names = [name for name in reports[0].metrics if all(name in report.metrics for report in reports)]
    values = {name: np.array([report.metrics[name] for report in reports]) for name in names}
    costs = _SUMMED if isinstance(context.spec, StudySpec) else ()
    joined = {name: float(each.sum() if name in costs else each.mean()) for name, each in values.items()}
    spread = {
        f"{objective.metric}_std": float(values[objective.metric].std(ddof=1))
        for objective in context.spec.objectives
        if objective.metric not in costs
    }
    return joined | {name: value for name, value in spread.items() if name not in joined}


def _state(reports: Sequence[Report], copies: Sequence[_Copy]) -> TrainingState:
    """All that the copies need to go on."""
    states = []
    for report, copy in zip(reports, copies, strict=True):
        assert report.state is not None, "each copy has one"
        with copy.drawing():
            states.append(report.state())
    return {_COPIES: states}


def _snapshot(reports: Sequence[Report], copies: Sequence[_Copy], context: Context) -> Snapshot:
    """What a trial leaves of an epoch: the weights of all copies, and what they predict together."""
    snapshots = []
    for report, copy in zip(reports, copies, strict=True):
        with copy.drawing():
            snapshots.append(taken(report))
    weights = {
        f"{_COPIES}.{place}.{name}": array
        for place, snapshot in enumerate(snapshots)
        for name, array in snapshot.weights.items()
    }
    kept = [snapshot.state for snapshot in snapshots]
    state = None if any(one is None for one in kept) else {_COPIES: kept}
    folds = [copy.fold for copy in copies]
    predictions = _whole([snapshot.predictions for snapshot in snapshots], folds, context)
    targets = _whole([snapshot.targets for snapshot in snapshots], folds, context, equal=True)
    return Snapshot(weights, predictions, targets=targets, state=state)


def _whole(parts: Sequence[Arrays], folds: Sequence[int | None], context: Context, equal: bool = False) -> Arrays:
    """The arrays of all copies as those of one training: of validation rows fold by fold, else their mean.

    Args:
        parts: of each copy.
        folds: of which fold each copy is; None where there are none.
        context: of the trial.
        equal: whether copies must say the same of the same rows, as of their targets.
    """
    splits = [split for split in parts[0] if all(split in part for part in parts)]
    whole: dict[Split, NDArray[Any]] = {}
    for split in splits:
        each = [(fold if split == "validation" else None, part[split]) for fold, part in zip(folds, parts, strict=True)]
        means = [
            _mean([array for _, array in group], split, equal) for _, group in groupby(each, key=lambda pair: pair[0])
        ]
        whole[split] = means[0] if len(means) == 1 else _in_order(np.concatenate(means), context)
    return whole


def _mean(arrays: Sequence[NDArray[Any]], split: Split, equal: bool) -> NDArray[Any]:
    first = arrays[0]
    if any(array.shape != first.shape or (equal and not np.array_equal(array, first)) for array in arrays):
        raise TrainingError(
            f"context.predictions: the copies of the config predict other {split} rows each: with training.seeds all"
            " must predict the same ones"
        )
    return first if equal or len(arrays) == 1 else np.mean(arrays, axis=0, dtype=np.float32).astype(first.dtype)


def _in_order(rows: NDArray[Any], context: Context) -> NDArray[Any]:
    """Rows that come fold by fold, in the order of the data set, if the study has one."""
    folds, dataset = context.spec.training.folds, context.dataset
    if dataset is None or folds is None:
        return rows
    held_out = [own for _, own in folds_of(dataset.train.targets, folds, context.spec.seed, dataset.train.groups)]
    ordered: NDArray[Any] = rows[np.argsort(np.concatenate(held_out))]
    return ordered
