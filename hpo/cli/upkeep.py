"""Commands that change what there is: rm, rename, completion."""

import sys

import click

from hpo.cli import completion
from hpo.cli.options import storage_option
from hpo.cli.output import quiet_stdout, say, say_note
from hpo.errors import InputError


@click.command(short_help="Remove a study or an ensemble.")
@click.argument("study", required=False, shell_complete=completion.studies)
@click.option(
    *("-e", "--ensemble"),
    metavar="NAME",
    help="Removes this ensemble alone, and no study.",
    shell_complete=completion.ensembles,
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--artifacts",
    metavar="URI",
    help="The place outside of the study's folder that the search was given, where it does not say whose it is.",
)
@storage_option
@quiet_stdout
def rm(study: str | None, ensemble: str | None, yes: bool, artifacts: str | None, storage: str) -> None:
    """Removes STUDY, after it has said what goes with it and has asked: its folder with all ensembles, artifacts
    outside of it, and its record in a database. A study that is being searched is refused.

    Its runs are deleted in MLflow's sense: they are hidden, `mlflow runs restore` brings each back, and `mlflow gc`
    ends them. Versions of ensembles in MLflow's registry stay.
    """
    from hpo import api

    if (study is None) == (ensemble is None):
        raise InputError("name what is to be removed: a study, or an ensemble by --ensemble NAME")
    if ensemble is not None:
        if artifacts is not None:
            raise InputError("--artifacts is of a study; leave it out of --ensemble")
        folder = api.remove_ensemble(ensemble, storage=storage, dry_run=True)
        _ask(yes, f"ensemble '{ensemble}', folder '{folder}'; and its run in MLflow, which can be restored")
        say(f"Removed '{api.remove_ensemble(ensemble, storage=storage, tell=say_note)}'.")
    elif study is not None:
        planned = api.remove(study, storage=storage, artifacts=artifacts, dry_run=True)
        _ask(yes, f"{planned}; and its runs in MLflow, which can be restored")
        api.remove(study, storage=storage, artifacts=artifacts, tell=say_note)
        say(f"Removed study '{study}'.")


def _ask(yes: bool, what: str) -> None:
    """Says what will be removed, and asks unless that is said already.

    Raises:
        InputError: nobody can be asked.
        click.Abort: the answer is no.
    """
    from hpo.terminal import plain

    click.echo(plain(f"To be removed: {what}."), err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("stdin is no terminal, so nobody can be asked; --yes removes it without a question")
    click.confirm("Remove it?", abort=True, err=True)


@click.command(short_help="Give a study another name.")
@click.argument("study", shell_complete=completion.studies)
@click.argument("new")
@storage_option
@quiet_stdout
def rename(study: str, new: str, storage: str) -> None:
    """Gives STUDY the name NEW: its folder, its record and its runs in MLflow.

    Killed at any moment, it leaves the study whole under one of both names, and the same command does the rest.
    Ensembles keep their names, and artifacts outside of the study's folder stay where they are. A study that is being
    searched is refused.
    """
    from hpo import api

    renamed = api.rename(study, new, storage=storage, tell=say_note)
    say(f"Study '{study}' is '{renamed.name}' now; `{renamed.command('resume')}` goes on with it.")


@click.command("completion", short_help="Let the shell complete commands and names.")
@click.option("--install", is_flag=True, help="Writes it to where the shell looks for it, in your home.")
@click.option("--shell", type=click.Choice(completion.SHELLS), help="The shell; by default the one that SHELL names.")
@click.pass_context
def complete(context: click.Context, install: bool, shell: str | None) -> None:
    """Prints what makes a shell complete commands, options, studies, ensembles, trials and methods; --install installs
    it, for shells that start from then on.
    """
    group = context.find_root().command
    shell = shell or completion.this_shell()
    if not install:
        click.echo(completion.script(group, shell))
        return
    file = completion.install(group, shell)
    click.echo(f"{file} is written. {completion.hint(shell, file)} Then start a new {shell}.")


COMMANDS = (rm, rename, complete)
