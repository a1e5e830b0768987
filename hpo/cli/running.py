"""Commands about a search that runs, from another shell: status, stop, enqueue."""

from typing import TYPE_CHECKING, Any

import click

from hpo.cli.options import Whole, format_option, storage_option, study_option
from hpo.cli.output import quiet_stdout, say, say_json
from hpo.errors import SpecError

if TYPE_CHECKING:
    from rich.table import Table

    from hpo.searching.status import Status


@click.command(short_help="Say what a study is doing now.")
@study_option
@storage_option
@format_option
@quiet_stdout
def status(study: str | None, storage: str, output: str) -> None:
    """Says what a study is doing now: who searches it and since when, which trials run and where, what is spent and
    left of the budget, and the best so far.

    It reads the study's record and its lock, on any machine that sees the storage, and asks nothing of the search.
    """
    from hpo import api

    found = api.status(study, storage=storage)
    if output == "json":
        say_json(found.to_json())
        return
    for line in _lines(found, api.open_study(found.study, storage).command("resume")):
        say(line)
    if found.running and found.is_running:
        say(_running_table(found))


def _lines(found: "Status", resume: str) -> list[str]:
    from hpo.display.tables import at_epoch, config_text, duration

    counts = ", ".join(f"{count} {state.value}" for state, count in found.counts.items() if count) or "no trials yet"
    if found.is_running:
        since = "" if found.since is None else f", for {duration(found.since)}"
        first = f"Study '{found.study}' is being searched by {found.searcher}{since}: {counts}."
    elif found.is_finished:
        first = f"Study '{found.study}' is not being searched, and all its trials have ended: {counts}."
    else:
        first = f"Study '{found.study}' is not being searched: {counts}. `{resume}` goes on with it."
    lines = [first, f"Budget: {_budget(found)}."]
    if found.waiting:
        lines.append(f"Waiting: {found.waiting} wish{'es' if found.waiting > 1 else ''} (`hpo enqueue`, `hpo stop`).")
    if found.best is not None and found.best.value is not None:
        value = at_epoch(found.best.value, found.best.best_epoch, found.best.number)
        lines.append(f"Best: {found.metric} {value}, {config_text(found.best.config)}")
    return lines


def _budget(found: "Status") -> str:
    """What is spent of each limit."""
    from hpo.display.tables import duration

    budget, spent = found.budget, found.spent
    limits = (("trials", spent.trials, budget.trials), ("epochs", spent.epochs, budget.epochs))
    words = [f"{used} of {limit} {name}" for name, used, limit in limits if limit is not None]
    words += [] if budget.epochs is not None else [f"{spent.epochs} epochs"]
    if budget.gpu_hours is not None:
        words.append(f"{spent.gpu_hours:.2f} of {budget.gpu_hours:g} GPU hours")
    if budget.time_limit is not None:
        elapsed = "" if found.since is None else f"{duration(found.since)} of "
        words.append(f"{elapsed}{duration(budget.time_limit)} a search")
    if budget.target is not None:
        words.append(f"until {found.metric} {budget.target:g}")
    return ", ".join(words)


def _running_table(found: "Status") -> "Table":
    from rich.table import Table

    from hpo.display.tables import duration
    from hpo.terminal import text

    table = Table(title="Running now", title_justify="left")
    for name in ("trial", "epoch", "for", found.metric):
        table.add_column(text(name), justify="right")
    table.add_column("trained by")
    for trial in found.running:
        value = "-" if trial.value is None else f"{trial.value:.4f}"
        where = text("-" if trial.machine is None else trial.machine)
        table.add_row(str(trial.number), f"{trial.epoch}/{trial.epochs}", duration(trial.seconds), value, where)
    return table


@click.command(short_help="End a running search, or one trial of it.")
@click.option(
    "--trial", type=Whole(min=0), metavar="N", help="Ends this trial alone: after its epoch, and keeps what it leaves."
)
@study_option
@storage_option
@quiet_stdout
def stop(study: str | None, trial: int | None, storage: str) -> None:
    """Ends a search that runs in another shell, or on another machine that sees the storage, as Ctrl-C there does.

    Its running trials end their epoch and store their state, and `hpo resume` goes on with them. With --trial one trial
    ends: it is pruned, its weights and predictions stay, and no later search goes on with it.
    """
    from hpo import api

    searcher = api.stop(study, trial=trial, storage=storage)
    what = "The search" if trial is None else f"Trial {trial}"
    if searcher is None:
        say(f"Nobody searches the study now; trial {trial} ends when the next search begins.")
    else:
        say(f"{what} is asked to end, of {searcher or 'another process'}; `hpo status` says when it has.")


@click.command(short_help="Have a config tried next.", no_args_is_help=True)
@click.argument("settings", nargs=-1, required=True, metavar="NAME=VALUE...")
@study_option
@storage_option
@quiet_stdout
def enqueue(settings: tuple[str, ...], study: str | None, storage: str) -> None:
    """Has a config tried next, by the search that runs or by the next one.

    Name as many parameters as you like, such as `optimizer.lr=0.01`; the sampler fills in the others. The trial counts
    in the budget like any other.
    """
    from hpo import api
    from hpo.display.tables import config_text

    config, searcher = api.enqueue(_config(settings), study, storage=storage)
    when = "the next search tries it" if searcher is None else f"{searcher} tries it next"
    say(f"Enqueued: {config_text(config)}; {when}.")


def _config(settings: tuple[str, ...]) -> dict[str, Any]:
    """The config that the arguments name.

    Raises:
        SpecError: one has no `=`, no name, or its value is not YAML.
    """
    from ruamel.yaml.error import YAMLError

    from hpo.errors import first_line
    from hpo.spec import parse_plain

    config: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise SpecError([f"{setting}: write it as name=value, for example optimizer.lr=0.01"])
        try:
            config[name.strip()] = parse_plain(value)
        except (YAMLError, ValueError) as error:
            raise SpecError([f"{setting}: the value is not YAML: {first_line(error)}"]) from None
    return config


COMMANDS = (status, stop, enqueue)
