"""The runs as a table: medians over repeats, and each peer's time by that of the first."""

import statistics
from collections.abc import Sequence

from runs import Run

_COLUMNS = {
    "trials": (lambda run: run.trials, "{:.0f}"),
    "reports": (lambda run: run.reports, "{:.0f}"),
    "processes": (lambda run: run.processes, "{:.0f}"),
    "start-up s": (lambda run: run.start_up, "{:.1f}"),
    "closing s": (lambda run: run.closing, "{:.1f}"),
    "whole s": (lambda run: run.seconds, "{:.1f}"),
    "s a trial": (lambda run: run.per_trial, "{:.3f}"),
    "after start-up": (lambda run: run.per_trial_started, "{:.3f}"),
    "s a report": (lambda run: run.per_report, "{:.4f}"),
    "driver MB": (lambda run: run.memory_mb, "{:.0f}"),
}


def as_text(runs: Sequence[Run]) -> str:
    """A Markdown table; the last columns say how many times as long as with the first peer a trial takes.

    A share of the whole is compared among peers of as many trials alone.
    """
    peers = list(dict.fromkeys(run.peer for run in runs))
    lines = [["", *_COLUMNS, "x whole", "x after start-up"]]
    for peer in peers:
        own = [run for run in runs if run.peer == peer]
        cells = [text.format(statistics.median(value(run) for run in own)) for value, text in _COLUMNS.values()]
        lines.append(
            [peer, *cells, *(_ratio(runs, peer, peers[0], column) for column in ("s a trial", "after start-up"))]
        )
    lines.insert(1, ["---", *["---:"] * (len(lines[0]) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratios(runs: Sequence[Run], peer: str, subject: str, column: str) -> list[float]:
    """A peer's value by the subject's, repeat by repeat."""
    value = _COLUMNS[column][0]
    theirs, ours = ({run.repeat: run for run in runs if run.peer == name} for name in (peer, subject))
    both = [(theirs[repeat], ours[repeat]) for repeat in sorted(theirs.keys() & ours.keys())]
    if column == "s a trial":
        both = [(their, our) for their, our in both if their.trials == our.trials]
    return [value(their) / value(our) for their, our in both]


def _ratio(runs: Sequence[Run], peer: str, subject: str, column: str) -> str:
    found = ratios(runs, peer, subject, column)
    if not found:
        return ""
    middle = f"{statistics.median(found):.2f}"
    return middle if len(found) == 1 else f"{middle} ({min(found):.2f} to {max(found):.2f})"
