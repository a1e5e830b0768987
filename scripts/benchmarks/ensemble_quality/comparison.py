"""What the runs say: each method against the best single trial, run by run, and what `auto` promises."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from runs import Run

from hpo.ensemble.method_choice import SINGLE

_RESAMPLES = 10_000
SUBJECT = "auto"
ALLOWED = 0.002
"""By how much a method may be less accurate."""
_SAME = 1e-6
"""Scores that differ by less, as a share, are equal: a mean of one member is rounded too."""

Floats = NDArray[np.float64]
Pair = tuple[str, int]
"""A data set and a seed."""


@dataclass(frozen=True)
class Estimate:
    """The mean of paired differences with a 95 % bootstrap interval.

    Whole data sets are drawn, then seeds within each: the runs of one data set are not independent.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A method less the best single trial, over runs that both have; below 0 is better but for accuracy.

    `relative` is of the score, NLL or RMSE, as a share of the single's; the others are of classification alone.
    """

    method: str
    runs: int
    data: int
    relative: Estimate
    nll: Estimate | None
    accuracy: Estimate | None
    ece: Estimate | None
    as_good: int
    """Runs with a score at least as good."""
    equal: int
    """Those of them that have the same score."""
    worst: float
    """The largest relative loss of a run."""
    accurate_runs: int | None
    """Classification runs."""
    worse_runs: int | None
    """Runs that are less accurate by more than ALLOWED; one row of a small test split is more than that."""
    worse_beyond_a_row: int | None
    """Those of them that are less accurate by more than one row too."""
    worse_data: list[str] | None
    """Data sets that are less accurate by more than ALLOWED on average over seeds."""
    least_accuracy: float | None
    """The worst difference of accuracy."""
    seconds: float


def compare(finished: Sequence[Run]) -> list[Difference]:
    """Every method against the single trial."""
    methods = dict.fromkeys(run.key.method for run in finished)
    single = _of(finished, SINGLE)
    return [_difference(method, _of(finished, method), single) for method in methods if method != SINGLE]


def as_json(finished: Sequence[Run]) -> dict[str, object]:
    """The differences, the means and the promises."""
    return {
        "differences": [asdict(difference) for difference in compare(finished)],
        "means": {metric: _means(finished, metric) for metric in ("score", "accuracy", "ece", "brier")},
        "promises": promises(finished),
    }


def promises(finished: Sequence[Run]) -> dict[str, object]:
    """What the subject promises, and the runs that break it."""
    mine, single = _of(finished, SUBJECT), _of(finished, SINGLE)
    pairs = sorted(mine.keys() & single.keys())
    if not pairs:
        return {}
    found = _difference(SUBJECT, mine, single)
    return {
        "runs": found.runs,
        "at least as good": found.as_good / found.runs,
        "accuracy": None if found.accuracy is None else asdict(found.accuracy),
        "took the single trial": sum(mine[pair].note == SINGLE for pair in pairs),
        "chose": {pair[0] + f"-{pair[1]}": mine[pair].note for pair in pairs},
        "worse": [
            f"{data}-{seed}: {single[data, seed].score:.4f} -> {mine[data, seed].score:.4f}"
            for data, seed in pairs
            if mine[data, seed].score > single[data, seed].score * (1 + _SAME)
        ],
        "less accurate": [
            f"{data}-{seed}: {_rows_lost(mine[data, seed], single[data, seed])} of {mine[data, seed].rows} rows"
            for data, seed in pairs
            if _rows_lost(mine[data, seed], single[data, seed]) > ALLOWED * mine[data, seed].rows
        ],
        "data sets less accurate": found.worse_data,
    }


def as_text(finished: Sequence[Run]) -> str:
    """The tables for people, in Markdown."""
    parts = []
    for title, metric, scale in (
        ("Test NLL in nats; diabetes: RMSE (mean over seeds)", "score", 1.0),
        ("Test accuracy in % (mean over seeds)", "accuracy", 100.0),
        ("Test ECE in % (mean over seeds)", "ece", 100.0),
    ):
        parts += [title, _means_table(finished, metric, scale)]
    parts += [
        f"Against the best single trial, calibrated: mean difference [95 % interval]; accuracy and ECE in points; a run"
        f" or data set is worse if it loses more than {100 * ALLOWED:g} points of accuracy",
        _difference_table(compare(finished)),
    ]
    lines = [f"- {name}: {_plain(value)}" for name, value in promises(finished).items()]
    return "\n\n".join([*parts, f"What `{SUBJECT}` promises", "\n".join(lines)])


def _of(finished: Sequence[Run], method: str) -> dict[Pair, Run]:
    return {(run.key.data, run.key.seed): run for run in finished if run.key.method == method}


def _difference(method: str, mine: dict[Pair, Run], single: dict[Pair, Run]) -> Difference:
    pairs = sorted(mine.keys() & single.keys())
    names = np.array([data for data, _ in pairs])
    scores = np.array([(mine[pair].score, single[pair].score) for pair in pairs])
    relative = scores[:, 0] / scores[:, 1] - 1
    judged = [pair for pair in pairs if single[pair].accuracy is not None]
    places = np.array([data for data, _ in judged])
    changes = {
        metric: np.array([getattr(mine[pair], metric) - getattr(single[pair], metric) for pair in judged])
        for metric in ("score", "accuracy", "ece")
    }
    accuracy, lost = changes["accuracy"], [_rows_lost(mine[pair], single[pair]) for pair in judged]
    worse = [row > ALLOWED * mine[pair].rows for row, pair in zip(lost, judged, strict=True)]
    means = {str(name): float(accuracy[places == name].mean()) for name in np.unique(places)} if judged else {}
    return Difference(
        method=method,
        runs=len(pairs),
        data=len(np.unique(names)),
        relative=_estimate(relative, names),
        nll=_estimate(changes["score"], places) if judged else None,
        accuracy=_estimate(accuracy, places) if judged else None,
        ece=_estimate(changes["ece"], places) if judged else None,
        as_good=int((relative <= _SAME).sum()),
        equal=int((np.abs(relative) <= _SAME).sum()),
        worst=float(relative.max()),
        accurate_runs=len(judged) if judged else None,
        worse_runs=sum(worse) if judged else None,
        worse_beyond_a_row=sum(bad and row > 1 for bad, row in zip(worse, lost, strict=True)) if judged else None,
        worse_data=[name for name, mean in means.items() if mean < -ALLOWED - 1e-9] if judged else None,
        least_accuracy=float(accuracy.min()) if judged else None,
        seconds=float(np.mean([mine[pair].seconds for pair in pairs])),
    )


def _estimate(differences: Floats, names: NDArray[np.str_]) -> Estimate:
    """The mean over data sets of their means over seeds."""
    groups = [differences[names == name] for name in np.unique(names)]
    random = np.random.default_rng(0)
    drawn = np.stack([random.choice(group, (_RESAMPLES, len(groups), len(group))).mean(axis=2) for group in groups])
    # drawn[g, r, k]: the mean of group g as the k-th data set of resample r
    chosen = random.integers(len(groups), size=(_RESAMPLES, len(groups)))
    rows, slots = np.indices(chosen.shape)
    means = drawn[chosen, rows, slots].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(np.mean([group.mean() for group in groups])), float(low), float(high))


def _rows_lost(mine: Run, single: Run) -> int:
    if mine.accuracy is None or single.accuracy is None:
        return 0
    return round((single.accuracy - mine.accuracy) * mine.rows)


def _means(finished: Sequence[Run], metric: str) -> dict[str, dict[str, float]]:
    """Method -> data set -> mean over seeds."""
    table: dict[str, dict[str, list[float]]] = {}
    for run in finished:
        value = getattr(run, metric)
        if value is not None:
            table.setdefault(run.key.method, {}).setdefault(run.key.data, []).append(value)
    return {method: {data: float(np.mean(values)) for data, values in row.items()} for method, row in table.items()}


def _means_table(finished: Sequence[Run], metric: str, scale: float) -> str:
    table = _means(finished, metric)
    data = list(dict.fromkeys(name for row in table.values() for name in row))
    digits = 4 if scale == 1.0 else 2
    rows = [
        [method, *(f"{scale * row[name]:.{digits}f}" if name in row else "" for name in data)]
        for method, row in table.items()
    ]
    return _markdown(["method", *data], rows)


def _difference_table(differences: Sequence[Difference]) -> str:
    header = [
        "method", "NLL or RMSE, relative", "NLL", "accuracy", "ECE", "as good", "worst run", "worse accuracy: runs",
        "of these by more than a row", "data sets", "seconds",
    ]  # fmt: skip
    rows = [
        [
            it.method,
            _interval(it.relative, 100, 1, " %"),
            _interval(it.nll, 1, 4),
            _interval(it.accuracy, 100, 2),
            _interval(it.ece, 100, 2),
            f"{it.as_good} of {it.runs}" + (f" ({it.equal} equal)" if it.equal else ""),
            f"{100 * it.worst:+.1f} %",
            "" if it.worse_runs is None else f"{it.worse_runs} of {it.accurate_runs}",
            "" if it.worse_beyond_a_row is None else str(it.worse_beyond_a_row),
            "" if it.worse_data is None else ", ".join(it.worse_data) or "none",
            f"{it.seconds:.2f}",
        ]
        for it in differences
    ]
    return _markdown(header, rows)


def _interval(estimate: Estimate | None, scale: float, digits: int, unit: str = "") -> str:
    if estimate is None:
        return ""
    mean, low, high = (f"{scale * value:+.{digits}f}" for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean}{unit} [{low}, {high}]"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *rows])
