"""The runs as tables: each peer's means, and the script against each of the others, seed by seed."""

import statistics
from collections.abc import Callable, Sequence

from runs import HAND, Run


def as_text(runs: Sequence[Run]) -> str:
    """Two Markdown tables."""
    peers = list(dict.fromkeys(run.peer for run in runs))
    summary = [_line(peer, [run for run in runs if run.peer == peer]) for peer in peers]
    header = ["", "seeds", "seconds", "epochs", "s an epoch", "best validation accuracy", "its test accuracy"]
    tables = [_table(header, summary)]
    others = [peer for peer in peers if peer != HAND]
    if HAND in peers and others:
        header = ["script / peer", "times as fast", "times as fast an epoch", "validation accuracy", "test accuracy"]
        tables.append(_table(header, [_compared(runs, peer) for peer in others]))
    return "\n\n".join(tables)


def pairs(runs: Sequence[Run], peer: str, value: Callable[[Run], float]) -> list[tuple[float, float]]:
    """(script's, peer's) for each seed that both have."""
    theirs, own = ({run.seed: value(run) for run in runs if run.peer == name} for name in (HAND, peer))
    return [(theirs[seed], own[seed]) for seed in sorted(theirs.keys() & own.keys())]


def _line(peer: str, runs: Sequence[Run]) -> list[str]:
    means = [
        f"{statistics.mean(run.seconds for run in runs):.1f}",
        f"{statistics.mean(run.epochs for run in runs):.0f}",
        f"{statistics.mean(run.seconds / run.epochs for run in runs):.2f}",
        _spread([run.validation for run in runs]),
        _spread([run.test for run in runs]),
    ]
    return [peer, str(len(runs)), *means]


def _compared(runs: Sequence[Run], peer: str) -> list[str]:
    ratios = [script / own for script, own in pairs(runs, peer, lambda run: run.seconds)]
    by_epoch = [script / own for script, own in pairs(runs, peer, lambda run: run.seconds / run.epochs)]
    better = [
        [own - script for script, own in pairs(runs, peer, value)]
        for value in (lambda run: run.validation, lambda run: run.test)
    ]
    ranges = [_range(ratios, ".2f"), _range(by_epoch, ".2f")]
    return [peer, *ranges, *(_range(differences, "+.4f") for differences in better)]


def _range(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    middle = format(statistics.mean(values), form)
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}})"


def _spread(values: Sequence[float]) -> str:
    middle = f"{statistics.mean(values):.4f}"
    return middle if len(values) == 1 else f"{middle} ± {statistics.stdev(values) / len(values) ** 0.5:.4f}"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))
