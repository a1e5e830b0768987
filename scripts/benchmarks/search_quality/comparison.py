"""What the runs say: a summary of each method, and one method against each other, run by run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from lcbench import HELD_OUT, TASKS, TUNING, Floats
from runs import FRACTIONS, Run

_RESAMPLES = 10_000


@dataclass(frozen=True)
class Summary:
    """A method over tasks and seeds; a list has one value for each of FRACTIONS."""

    runs: int
    tasks: int
    mean: list[float]
    standard_error: list[float] | None
    """Of the mean, from the spread of the tasks' means, as runs of one task are not independent; None of one task."""
    median: float
    """Regret at the end."""
    own_seconds: float
    """A run's CPU time without the surrogate's, mean."""


@dataclass(frozen=True)
class Difference:
    """The subject's regret less a peer's, over the (task, seed) pairs that both have; a list is as in Summary."""

    pairs: int
    mean: list[float]
    low: list[float]
    high: list[float]
    """The 95 % bootstrap interval of the mean; whole tasks are drawn."""
    win_rate: list[float]
    """The part of the pairs in which the subject's regret is lower; a tie is half a win."""


def groups(runs: Sequence[Run]) -> dict[str, tuple[int, ...]]:
    """The tasks of each part of the comparison; those that are not among the 17 are a part of their own."""
    others = tuple(sorted({run.key.task for run in runs} - {*TASKS}))
    return {"all": TASKS, "tuning": TUNING, "held-out": HELD_OUT, "others": others}


def summarize(runs: Sequence[Run], tasks: Sequence[int], clip: bool) -> dict[str, Summary]:
    """Method -> its summary on these tasks; with `clip` a regret below 0 counts as 0."""
    methods = dict.fromkeys(run.key.method for run in runs)
    tables = {method: _regrets(runs, method, tasks, clip) for method in methods}
    return {method: _summary(runs, method, table) for method, table in tables.items() if table}


def compare(runs: Sequence[Run], subject: str, tasks: Sequence[int], clip: bool) -> dict[str, Difference]:
    """Peer -> the subject against it on these tasks."""
    mine = _regrets(runs, subject, tasks, clip)
    differences = {}
    for method in dict.fromkeys(run.key.method for run in runs):
        theirs = _regrets(runs, method, tasks, clip)
        pairs = sorted(mine.keys() & theirs.keys())
        if method != subject and pairs:
            rows = np.array([mine[pair] - theirs[pair] for pair in pairs])
            differences[method] = _difference(rows, np.array([task for task, _ in pairs]))
    return differences


def as_json(runs: Sequence[Run], subject: str) -> dict[str, object]:
    """Summaries and comparisons of every group, raw and clipped."""
    result: dict[str, object] = {}
    for group, tasks in groups(runs).items():
        for name, clip in (("raw", False), ("clipped", True)):
            result[f"{group}, {name}"] = {
                "summary": {method: asdict(value) for method, value in summarize(runs, tasks, clip).items()},
                "comparison": {peer: asdict(value) for peer, value in compare(runs, subject, tasks, clip).items()},
            }
    return result


def as_text(runs: Sequence[Run], subject: str) -> str:
    """The tables for people, in Markdown; regrets below 0 count as 0."""
    parts = []
    for group, tasks in groups(runs).items():
        summaries = summarize(runs, tasks, clip=True)
        if summaries:
            parts += [f"{group} ({len(tasks)} tasks): normalised regret", _summary_table(summaries)]
        differences = compare(runs, subject, tasks, clip=True)
        if differences:
            parts += [f"{group}: {subject} less the peer, 95 % interval, wins", _difference_table(differences)]
    return "\n\n".join(parts)


def _regrets(runs: Sequence[Run], method: str, tasks: Sequence[int], clip: bool) -> dict[tuple[int, int], Floats]:
    table = {
        (run.key.task, run.key.seed): np.array(run.regret)
        for run in runs
        if run.key.method == method and run.key.task in tasks
    }
    return {pair: np.maximum(regret, 0.0) for pair, regret in table.items()} if clip else table


def _summary(runs: Sequence[Run], method: str, table: Mapping[tuple[int, int], Floats]) -> Summary:
    rows, tasks = np.array(list(table.values())), np.array([task for task, _ in table])
    means = np.array([rows[tasks == task].mean(axis=0) for task in np.unique(tasks)])
    error = means.std(axis=0, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else None
    seconds = [run.own_seconds for run in runs if run.key.method == method and (run.key.task, run.key.seed) in table]
    return Summary(
        runs=len(rows),
        tasks=len(means),
        mean=rows.mean(axis=0).tolist(),
        standard_error=None if error is None else error.tolist(),
        median=float(np.median(rows[:, -1])),
        own_seconds=float(np.mean(seconds)),
    )


def _difference(rows: Floats, tasks: Floats) -> Difference:
    ids, rng = np.unique(tasks), np.random.default_rng(0)
    sums = np.array([rows[tasks == task].sum(axis=0) for task in ids])
    counts = np.array([(tasks == task).sum() for task in ids])
    drawn = rng.integers(len(ids), size=(_RESAMPLES, len(ids)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1, keepdims=True)
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    wins = (rows < 0).mean(axis=0) + 0.5 * (rows == 0).mean(axis=0)
    return Difference(len(rows), rows.mean(axis=0).tolist(), low.tolist(), high.tolist(), wins.tolist())


def _summary_table(summaries: Mapping[str, Summary]) -> str:
    header = ["method", *(f"{fraction:.0%}" for fraction in FRACTIONS), "median at the end", "own seconds", "runs"]
    rows = [
        [
            method,
            *_with_error(it),
            f"{it.median:.3f}",
            f"{it.own_seconds:.1f}",
            str(it.runs),
        ]
        for method, it in sorted(summaries.items(), key=lambda pair: pair[1].mean[-1])
    ]
    return _markdown(header, rows)


def _with_error(summary: Summary) -> list[str]:
    if summary.standard_error is None:
        return [f"{mean:.3f}" for mean in summary.mean]
    pairs = zip(summary.mean, summary.standard_error, strict=True)
    return [f"{mean:.3f} ± {error:.3f}" for mean, error in pairs]


def _difference_table(differences: Mapping[str, Difference]) -> str:
    header = ["against", *(f"{fraction:.0%}" for fraction in FRACTIONS), "pairs"]
    rows = []
    for peer, it in differences.items():
        cells = zip(it.mean, it.low, it.high, it.win_rate, strict=True)
        texts = [f"{mean:+.3f} [{low:+.3f}, {high:+.3f}] {wins:.0%}" for mean, low, high, wins in cells]
        rows.append([peer, *texts, str(it.pairs)])
    return _markdown(header, rows)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *rows])
