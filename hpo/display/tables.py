"""Tables for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from rich.table import Table

from hpo.study.comparison import Comparison, Side
from hpo.study.study import Study
from hpo.study.trial import State, TrialRecord, count_states
from hpo.terminal import number, text


class Cost(Protocol):
    """What a model costs to use; `milliseconds` maps a number of examples to the time of a call with so many."""

    @property
    def parameters(self) -> int:
        """Number of weights."""

    @property
    def milliseconds(self) -> Mapping[int, float]:
        """Number of examples -> milliseconds of a call with so many."""


_BESIDE = 6
"""Metrics that fit beside each other in a terminal."""
_COLOURS = {
    State.COMPLETE: "green",
    State.PRUNED: "yellow",
    State.FAILED: "red",
    State.RUNNING: "cyan",
    State.PAUSED: "blue",
}


def trials_table(study: Study, trials: Sequence[TrialRecord], title: str) -> Table:
    """One row a trial: state, epochs, the objectives and the epoch that they are of, constraints, config.

    `hpo trials`, `best` and `search` print it; their JSON is `TrialRecord.to_json`.
    """
    table = Table(title=text(title), title_justify="left")
    table.add_column("trial", justify="right")
    table.add_column("state")
    table.add_column("epochs", justify="right")
    metrics = [objective.metric for objective in study.spec.objectives]
    for metric in metrics:
        table.add_column(text(metric), justify="right")
    table.add_column("of epoch", justify="right")
    if study.spec.constraints:
        table.add_column(text(", ".join(map(str, study.spec.constraints))))
    table.add_column("config", overflow="fold")
    for trial in trials:
        values = [_objective(trial, metric) for metric in metrics]
        values.append("-" if trial.best_epoch is None else str(trial.best_epoch))
        if study.spec.constraints:
            values.append("kept" if trial.feasible else "broken")
        state = text(trial.state.value, _COLOURS[trial.state])
        table.add_row(str(trial.number), state, str(trial.epoch), *values, text(config_text(trial.config)))
    return table


def _objective(trial: TrialRecord, metric: str) -> str:
    """An objective at the best epoch, with its deviation over folds and seeds."""
    if trial.best_epoch is None:
        return "-"
    found = trial.reports[trial.best_epoch]
    spread = found.get(f"{metric}_std") if trial.spec.training.copies > 1 else None
    return number(found[metric]) if spread is None else f"{number(found[metric])} ± {number(spread)}"


def studies_table(studies: Sequence[Study]) -> Table:
    """One row a study: trials by state, and its best."""
    table = Table()
    for name in ("study", "complete", "pruned", "failed", "objective", "best"):
        table.add_column(name, justify="left" if name in ("study", "objective") else "right")
    for study in studies:
        counts = count_states(study.trials())
        best = study.best()
        value = "-" if best is None or best.value is None else at_epoch(best.value, best.best_epoch, best.number)
        row = (str(counts[state]) for state in (State.COMPLETE, State.PRUNED, State.FAILED))
        table.add_row(text(study.name), *row, text(f"{study.goal} {study.spec.objective.metric}"), value)
    return table


def ensembles_table(ensembles: Sequence[Mapping[str, Any]]) -> Table:
    """One row an ensemble: its study, method, members, scores and when it was built.

    Args:
        ensembles: the documents that `hpo ensembles --format json` prints.
    """
    table = Table()
    for name in ("ensemble", "study", "method", "members", "validation", "test", "built"):
        table.add_column(name, overflow="fold")
    for one in ensembles:
        members = f"{len(one['members'])}: {', '.join(name.removeprefix('trial ') for name in one['members'])}"
        scores = [config_text(one[split]) for split in ("validation", "test")]
        built = f"{one['built'][:16].replace('T', ' ')} UTC"
        table.add_row(*map(text, (one["ensemble"], one["study"], one["method"], members, *scores, built)))
    return table


def comparison_table(comparison: Comparison) -> Table:
    """One column a study: what it was searched for, its trials, and its best values for the same price."""
    one, other = comparison.sides
    table = Table(title_justify="left")
    table.add_column("")
    for side in (one, other):
        table.add_column(text(side.study), justify="right")

    def row(name: str, value: Callable[[Side], object]) -> None:
        table.add_row(text(name), *(text(value(side)) for side in comparison.sides))

    row("objective", lambda side: side.objective)
    row("trials", lambda side: ", ".join(f"{count} {state}" for state, count in side.trials.items() if count) or "none")
    row("failures", lambda side: ", ".join(f"{count} {kind}" for kind, count in side.failures.items()) or "none")
    row("epochs", lambda side: side.epochs)
    row("best", lambda side: _value(side.best))
    row(f"best of the first {comparison.trials} trials", lambda side: _value(side.at_equal_trials))
    row(f"best of the first {comparison.epochs} epochs", lambda side: _value(side.at_equal_epochs))
    return table


def differences_table(comparison: Comparison) -> Table:
    """One row a setting in which two studies differ."""
    table = Table(title="Settings that differ", title_justify="left")
    table.add_column("setting", overflow="fold")
    for side in comparison.sides:
        table.add_column(text(side.study), overflow="fold")
    for name, pair in comparison.differences.items():
        table.add_row(text(name), *(text("-" if value is None else value) for value in pair))
    return table


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def reproduction_table(reports: Mapping[int, Mapping[str, tuple[float, float]]], title: str) -> Table:
    """One row an epoch; a metric then, and now where that is another value."""
    table = Table(title=text(title), title_justify="left")
    table.add_column("epoch", justify="right")
    metrics = list(dict.fromkeys(name for pairs in reports.values() for name in pairs))
    for metric in metrics:
        table.add_column(text(metric), justify="right")
    for epoch, pairs in reports.items():
        row = [f"{then:.5g}" if then == now else f"{then:.5g} -> {now:.5g}" for then, now in pairs.values()]
        table.add_row(str(epoch), *row)
    return table


def scores_table(rows: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """One row a model, one column a metric; of more metrics than fit beside each other one row a metric."""
    table = Table(title=text(title), title_justify="left")
    table.add_column("")
    metrics = list(dict.fromkeys(metric for scores in rows.values() for metric in scores))
    if len(metrics) > _BESIDE:
        for name in rows:
            table.add_column(text(name), justify="right")
        for metric in metrics:
            found = (scores.get(metric) for scores in rows.values())
            table.add_row(text(metric), *("-" if value is None else number(value) for value in found))
        return table
    for metric in metrics:
        table.add_column(text(metric), justify="right")
    for name, scores in rows.items():
        table.add_row(text(name), *(number(scores[metric]) if metric in scores else "-" for metric in metrics))
    return table


def members_table(members: Sequence[Mapping[str, Any]]) -> Table:
    """One row a member of an ensemble: its name, weight and config."""
    table = Table(title="Members", title_justify="left")
    table.add_column("member")
    table.add_column("weight", justify="right")
    table.add_column("config", overflow="fold")
    for member in members:
        table.add_row(text(member["name"]), f"{member['weight']:.3f}", text(config_text(member["config"])))
    return table


def compared_table(costs: Mapping[str, float], chosen: str, score: str) -> Table:
    """One row a method, the best first: its cross-validated score on validation rows, and which was chosen."""
    table = Table(title="Methods, cross-validated on validation rows", title_justify="left")
    table.add_column("method")
    table.add_column(text(score), justify="right")
    table.add_column("")
    for name, value in sorted(costs.items(), key=lambda item: item[1]):
        table.add_row(text(name), number(value), "chosen" if name == chosen else "")
    return table


def diversity_table(means: Mapping[str, float]) -> Table:
    """How differently the members err, each measure as the mean over all pairs of members."""
    table = Table(title="Diversity of the members, mean over pairs", title_justify="left")
    for name in means:
        table.add_column(text(name.replace("_", " ")), justify="right")
    table.add_row(*(f"{value:.3f}" for value in means.values()))
    return table


def costs_table(costs: Mapping[str, Cost]) -> Table:
    """One row a model: its parameters, and milliseconds of a call, by how many examples it has."""
    table = Table(title="Cost on this machine", title_justify="left")
    table.add_column("")
    table.add_column("parameters", justify="right")
    rows = next(iter(costs.values())).milliseconds
    for count in rows:
        table.add_column(f"ms for {count}", justify="right")
    for name, cost in costs.items():
        table.add_row(text(name), f"{cost.parameters:,}", *(f"{value:.2f}" for value in cost.milliseconds.values()))
    return table


def at_epoch(value: float, epoch: int | None, trial: int | None = None) -> str:
    """A value with the epoch that it is of, and the number of its trial where that is not said beside it."""
    return f"{number(value)} ({'' if trial is None else f'trial {trial}, '}epoch {epoch})"


def config_text(config: Mapping[str, Any]) -> str:
    """A config on one line."""
    return " ".join(f"{name}={_short(value)}" for name, value in sorted(config.items()))


def duration(seconds: float) -> str:
    """Seconds as `45s`, `12m30s` or `3h05m`."""
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    return f"{total // 3600}h{total % 3600 // 60:02d}m"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
