"""Commands that look at studies, and tidy up: studies, trials, best, compare, gc, ui."""

import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo.cli import completion
from hpo.cli.options import Whole, format_option, storage_option, study_option
from hpo.cli.output import quiet_stdout, say, say_json
from hpo.errors import HpoError, InputError
from hpo.study import POOL

if TYPE_CHECKING:
    from hpo.study.study import Study


@click.command(short_help="List the studies.")
@storage_option
@format_option
@quiet_stdout
def studies(storage: str, output: str) -> None:
    """Lists the studies of a storage folder."""
    from hpo import api
    from hpo.display.tables import studies_table
    from hpo.study.trial import count_states
    from hpo.terminal import plain

    found, problems = api.all_studies(storage)
    for problem in problems.values():
        click.echo(plain(f"Left out: {problem}"), err=True)
    if output == "json":
        say_json(
            [{"study": s.name, "trials": {k.value: v for k, v in count_states(s.trials()).items()}} for s in found]
            + [{"study": name, "problem": problem} for name, problem in problems.items()]
        )
    elif found or not problems:
        say(studies_table(found) if found else f"There are no studies in '{storage}'. Run `hpo search` first.")


@click.command(short_help="List the trials of a study.")
@study_option
@storage_option
@format_option
@quiet_stdout
def trials(study: str | None, storage: str, output: str) -> None:
    """Lists the trials of a study, with the reason where one failed."""
    from hpo import api
    from hpo.display.tables import trials_table
    from hpo.study.trial import LIVE

    opened = api.open_study(study, storage)
    records = opened.trials()
    if output == "json":
        say_json([record.to_json() for record in records])
        return
    say(trials_table(opened, records, opened.name))
    if any(record.state in LIVE for record in records) and opened.hold.searcher is None:
        say(f"Nobody searches it now: `{opened.command('resume')}` goes on with it{_imports(opened)}.")
    failed = [record for record in records if record.state.value == "failed" and record.cause]
    for record in failed:
        say(f"trial {record.number} failed: {record.cause}")
    if (first := next((record.number for record in failed if record.has_traceback), None)) is not None:
        say(f"`{opened.command(f'log {first}')}` shows the traceback, and what the trial has printed.")


def _imports(study: "Study") -> str:
    """The end of a sentence that offers `hpo resume`: what that would run, which a stored file alone may name."""
    own = ", ".join(f"'{path}'" for path in study.own_code("resume"))
    return f", and runs {own}, which '{study.folder / 'spec.yaml'}' names: look there first" if own else ""


@click.command(short_help="Show the best trial.")
@study_option
@storage_option
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json", "yaml", "flags"]),
    default="table",
    show_default=True,
    help="json prints one document to stdout; yaml its config as sections of a search file, where it makes fixed"
    " settings; flags as options of a command: --set of `hpo search`, or --NAME=VALUE where parameters have names of"
    " your own.",
)
@quiet_stdout
def best(study: str | None, storage: str, output: str) -> None:
    """Shows the best trial of a study: the best at full resource, or where there is none yet the best of all.

    With several objectives it shows the Pareto set: the trials that no other one beats in all of them. yaml and flags
    are of one trial always, the first of these.
    """
    from hpo import api
    from hpo.display.tables import at_epoch, trials_table
    from hpo.spec import settings

    opened = api.open_study(study, storage)
    record = opened.best()
    if record is None or record.value is None:
        raise HpoError(f"study '{opened.name}' has no trial with a value yet")
    if output == "yaml":
        value = at_epoch(record.value, record.best_epoch)
        metric = " ".join(record.metric.split())  # a line break would end the comment
        say(f"# trial {record.number} of study {opened.name}: {metric} {value}")
        say(settings.as_yaml(record.config).rstrip("\n"))
    elif output == "flags":
        say(settings.as_options(opened.spec, record.config))
    elif opened.spec.objective.others:
        front = opened.pareto()
        if output == "json":
            say_json([trial.to_json() for trial in front])
        else:
            say(trials_table(opened, front, f"{opened.name}: Pareto set"))
    elif output == "json":
        say_json(record.to_json())
    else:
        say(trials_table(opened, [record], f"{opened.name}: best trial"))


@click.command(short_help="Compare two studies.")
@click.argument("study", shell_complete=completion.studies)
@click.argument("other", shell_complete=completion.studies)
@storage_option
@format_option
@quiet_stdout
def compare(study: str, other: str, storage: str, output: str) -> None:
    """Compares STUDY with OTHER: settings that differ, trials, and the best value for the same price.

    The price is the same where as many trials are looked at of both, the first ones, or as many epochs of all trials
    together. Trials that were taken over from another study are not counted.
    """
    from hpo import api
    from hpo.display.tables import comparison_table, differences_table

    found = api.compare(study, other, storage=storage)
    if output == "json":
        say_json(found.to_json())
        return
    say(comparison_table(found))
    if found.differences:
        say(differences_table(found))
    if not found.same_objective:
        say("Their objectives differ: the values cannot be compared.")
    for change in found.code:
        say(f"Their code differs: {change}.")
    if found.same_data is None:
        say("There are no data to compare: one of them has data of its own code, or is a simulation.")
    else:
        say("They have the same data and split." if found.same_data else "Their data or their splits differ.")


@click.command(short_help="Remove what trials have stored and nobody needs.")
@study_option
@click.option(
    "--keep", type=Whole(min=1), default=POOL, show_default=True, metavar="N", help="The best trials that stay."
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option(
    "--artifacts",
    metavar="URI",
    help="The place outside of the study's folder that the search was given, where it does not say whose it is.",
)
@storage_option
@format_option
@quiet_stdout
def gc(study: str | None, keep: int, dry_run: bool, artifacts: str | None, storage: str, output: str) -> None:
    """Removes the weights and predictions of all but the best trials of a study, and what interrupted writes left.

    The record of all trials stays, and so do ensembles: they have copies of their members.
    """
    from dataclasses import asdict

    from hpo import api

    freed = api.collect(study, keep=keep, dry_run=dry_run, storage=storage, artifacts=artifacts)
    if output == "json":
        say_json(asdict(freed))
    else:
        say(f"{'Would free' if dry_run else 'Freed'} {freed}.")


@click.command(short_help="Open MLflow on the studies.")
@storage_option
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Loopback unless told otherwise.")
@click.option("--port", type=Whole(1, 65535), default=5000, show_default=True, metavar="PORT", help="Where it listens.")
def ui(storage: str, host: str, port: int) -> None:
    """Opens MLflow's web pages on the studies of a storage folder; Ctrl-C ends them.

    Where MLFLOW_TRACKING_URI names a server, its address is printed instead.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(("http:", "https:")):
        click.echo(f"MLflow runs already, at {uri}")
        return
    from hpo.study.folder import check_apart
    from hpo.tracking.problems import Unusable
    from hpo.tracking.store import check_database, check_own_store, tracking_uri

    if not uri:
        check_apart(Path(storage))
        if not (Path(storage) / "mlflow.db").exists():
            raise InputError(
                f"there is nothing to show in '{storage}' yet. Run `hpo search` first, or name the folder with"
                " --storage"
            )
        check_own_store(Path(storage))
        try:
            check_database(Path(storage).resolve() / "mlflow.db")
        except (Unusable, sqlite3.Error) as error:
            raise InputError(f"MLflow cannot show it: {error}") from error
    click.echo(f"MLflow at http://{host}:{port} (Ctrl-C ends it)")
    arguments = [
        "--backend-store-uri",
        tracking_uri(Path(storage)),
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "ui", *arguments], {**os.environ, **_ALONE})


_ALONE = {
    "PYTHONSAFEPATH": "1",  # nothing of the folder where the user stands takes MLflow's place
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # jobs and scorers that the database holds would be run
    "MLFLOW_SERVER_JOB_ENABLE_PERIODIC_TASKS": "false",
    "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "false",
}
"""What MLflow's server is told, so that it shows what is stored and runs none of it."""

COMMANDS = (studies, trials, best, compare, gc, ui)
