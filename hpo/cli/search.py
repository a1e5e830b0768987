"""Commands that search, and what leads to a search: init, search, resume, reproduce, validate, schema, plan."""

import sys
from typing import TYPE_CHECKING, Any

import click

from hpo.cli import completion
from hpo.cli.ensemble import say_ensemble, warn_of
from hpo.cli.options import (
    Number,
    Whole,
    accept_code_option,
    data_dir_option,
    data_path_option,
    format_option,
    set_option,
    space_option,
    storage_option,
    study_option,
    takes,
    trust_option,
)
from hpo.cli.output import quiet_stdout, say, say_json, say_note, where
from hpo.searching.options import ResumeOptions, SearchOptions
from hpo.signals import exit_code

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.searching.results import SearchResult
    from hpo.spec import Budget, TrainingSettings

_MOST_SHOWN = 10
"""Trials of the table at the end of a search."""


@click.command(short_help="Run a search.")
@takes(SearchOptions)
@format_option
@quiet_stdout
def search(storage: str, output: str, **options: Any) -> None:
    """Runs a search: proposes configs, trains them, stops the poor ones early, records everything.

    The same command goes on where an earlier one of the same study stopped, however that ended. Ctrl-C, SIGTERM and
    SIGHUP stop cleanly and keep what is done; a second one stops at once.
    """
    from hpo import api
    from hpo.terminal import progress_console

    console = progress_console()
    say_search(api.search(storage=storage, console=console, **options), storage, output, console)


@click.command(short_help="Go on with a search.")
@takes(ResumeOptions)
@format_option
@quiet_stdout
def resume(storage: str, output: str, **options: Any) -> None:
    """Goes on with a search where it stopped, however that was: by Ctrl-C, a crash, or a budget that is raised now.

    Trials that have ended are not trained again, those that ran go on from their last stored state, and the same
    configs are proposed as if nothing had happened. The search is the one that the study was started with.
    """
    from hpo import api
    from hpo.terminal import progress_console

    console = progress_console()
    say_search(api.resume(storage=storage, console=console, **options), storage, output, console)


def say_search(result: "SearchResult", storage: str, output: str, console: "Console") -> None:
    """What a search found, and what comes next; exit code 130, 143 or 129 where a signal has ended it."""
    from hpo.display.tables import trials_table
    from hpo.terminal import warn

    name = result.study.name
    if result.tracking_problem:
        warn(console, "Warning", result.tracking_problem)
    if result.ensemble is not None:
        warn_of(result.ensemble, console)
    if output == "json":
        say_json(result.to_json())
    else:
        counts = result.to_json()["trials"]
        shown = (f"{count} {state}" for state, count in counts.items() if count or state != "unfinished")
        ranked = result.study.leaderboard()
        title = f"{name}: {', '.join(shown)}{f'; the best {_MOST_SHOWN}' if len(ranked) > _MOST_SHOWN else ''}"
        say(trials_table(result.study, ranked[:_MOST_SHOWN], title))
        if result.interrupted:
            say(f"Interrupted: `{result.study.command('resume')}` goes on with it.")
        if result.ensemble is None:
            say(f"Next: {_next(result)}`hpo ui{where(storage)}` compares them.")
        else:
            say_ensemble(result.ensemble, storage)
    if result.interrupted is not None:
        sys.exit(exit_code(result.interrupted))


def _next(result: "SearchResult") -> str:
    """What can be made of the trials; of those that have given no predictions, how to change that."""
    if result.combines:
        return f"`{result.study.command('ensemble')}` combines the best trials, "
    if result.study.spec.command is not None:
        return f"`{result.study.command('log')} N` shows what a trial has printed, "
    if result.study.spec.train is not None:
        return "context.predictions(...) in the training function would make ensembles of the trials, "
    return ""


@click.command(short_help="Train one trial again and compare.")
@click.argument("trial", type=Whole(min=0), shell_complete=completion.trials)
@study_option
@storage_option
@data_dir_option
@data_path_option
@accept_code_option
@trust_option
@format_option
@quiet_stdout
def reproduce(trial: int, study: str | None, storage: str, output: str, **options: Any) -> None:
    """Trains TRIAL again, from its study alone, and compares: every metric of every epoch, weights and predictions.

    On a CPU the same bits are wanted. On a GPU metrics may differ by 2 %, unless training.deterministic is true. Where
    they differ more, exit code 1, and what has changed since: packages, code, machine.
    """
    from hpo import api
    from hpo.display.tables import reproduction_table

    again = api.reproduce(trial, study, storage=storage, **options)
    if output == "json":
        say_json(again.to_json())
    else:
        say(reproduction_table(again.reports, f"Trial {trial}, then and now"))
        how = "to the bit" if again.exact and again.reproduced else f"largest difference {again.largest:.2g}"
        say(f"Trial {trial} is {'reproduced' if again.reproduced else 'NOT reproduced'} on {again.device}: {how}.")
        for line in again.changed:
            say(f"changed since: {line}")
    if not again.reproduced:
        sys.exit(1)


@click.command(short_help="Write a search file for a table.")
@click.option("--data", required=True, metavar="FILE", help="A table: .csv, .tsv, .parquet, .jsonl or .ndjson.")
@click.option("--target", required=True, metavar="COLUMN", help="The column that is to be predicted.")
@click.option(
    "--output", "-o", default="search.yaml", show_default=True, metavar="FILE", help="The search file; - is stdout."
)
@click.option("--no-header", is_flag=True, help="The first line names no columns: they are column_1, column_2, ...")
def init(data: str, target: str, output: str, no_header: bool) -> None:
    """Writes a search file to start from, with comments: what the columns of a table are, and a search that suits it.

    \b
    hpo init --data train.csv --target survived
    hpo search -f search.yaml
    """
    from hpo import api

    made = api.init(data, target, output=None if output == "-" else output, header=not no_header)
    say(made.rstrip("\n") if output == "-" else f"Wrote {output}. Next: `hpo search -f {output}`.")


@click.command(short_help="Check a search without running it.")
@space_option
@set_option
@format_option
@quiet_stdout
def validate(space: str, overrides: dict[str, Any], output: str) -> None:
    """Checks a search file: keys, values, conditions, and that what it names exists. Prints every problem at once."""
    from hpo import api

    spec = api.validate(space, overrides, tell=say_note)
    if output == "json":
        say_json(spec.model_dump(mode="json"))
    else:
        say(
            f"{space} is valid: {len(spec.parameters)} parameters, {_limits(spec.budget)}, each of up to"
            f" {spec.training.epochs} epochs{_copies(spec.training)}."
        )


@click.command(short_help="Print the JSON schema of a search file.")
@quiet_stdout
def schema() -> None:
    """Prints the JSON schema of a search file, by which an editor completes keys, explains them and marks mistakes.

    \b
    hpo schema > hpo.schema.json
    # yaml-language-server: $schema=hpo.schema.json

    The second line, at the top of a search file, is for editors with the YAML language server, such as VS Code with its
    YAML extension. `hpo validate` knows more: data, settings of models and samplers, and rules between keys.
    """
    from hpo import api

    say_json(api.schema())


def _copies(training: "TrainingSettings") -> str:
    """What is said of the copies that a trial trains."""
    if training.copies == 1:
        return ""
    parts = [f"{training.folds} folds"] if training.folds is not None else []
    parts += [f"{training.seeds} seeds"] if training.seeds > 1 else []
    return f" of {training.copies} trainings ({' x '.join(parts)})"


def _limits(budget: "Budget") -> str:
    """The limits of a budget in words."""
    limits = [f"{count} {name}" for name, count in (("trials", budget.trials), ("epochs", budget.epochs)) if count]
    if budget.gpu_hours is not None:
        limits.append(f"{budget.gpu_hours:g} GPU hours")
    if budget.time_limit is not None:
        limits.append(f"{budget.time_limit:g} s")
    target = "" if budget.target is None else f", until one has reached {budget.target:g}"
    plateau = "" if not budget.plateau else f", or nothing better by {budget.plateau:g} is to be expected"
    return f"at most {' or '.join(limits)}{target}{plateau}" if limits else f"all of its configs{target}{plateau}"


@click.command(short_help="Say how long a search would take.")
@space_option
@click.option(
    "--workers",
    type=Whole(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Trials at once; shown are the powers of two up to N, and N.",
)
@click.option(
    "--curve",
    metavar="MODULE:FUNCTION",
    help="(config, epoch) -> (metrics, seconds of the epoch); by default a synthetic one.",
)
@click.option(
    "--seconds-per-epoch",
    type=Number(),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Of the synthetic curve, on average.",
)
@set_option
@format_option
@quiet_stdout
def plan(
    space: str, workers: int, curve: str | None, seconds_per_epoch: float, overrides: dict[str, Any], output: str
) -> None:
    """Says how long a search would take with more and more workers. It runs in virtual time: nothing is trained."""
    from rich.table import Table

    from hpo import api
    from hpo.searching.plan import worker_counts
    from hpo.terminal import text

    for remark in api.remarks(space, overrides):
        say_note(remark)
    found = api.plan(
        space,
        curve,
        workers=worker_counts(workers),
        seconds_per_epoch=seconds_per_epoch,
        overrides=overrides,
    )
    if output == "json":
        say_json(found.to_json())
        return
    table = Table(title=text(found.study), title_justify="left")
    for name in ("workers", "hours", "trials", "complete", "epochs", "busy", "speed-up"):
        table.add_column(name, justify="right")
    for row in found.forecasts:
        counts = (str(count) for count in (row.trials, row.complete, row.epochs))
        table.add_row(str(row.workers), f"{row.hours:.2f}", *counts, f"{row.busy:.0%}", f"{row.speedup:.2f}")
    say(table)
    say(f"Learning curve: {found.curve}.")


COMMANDS = (init, search, resume, reproduce, validate, schema, plan)
