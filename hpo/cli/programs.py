"""Commands about programs of the user's own: run (search over one) and log (what one has printed)."""

from typing import Any

import click

from hpo.cli.options import (
    Whole,
    artifacts_option,
    format_option,
    seed_option,
    set_option,
    storage_option,
    study_name_option,
    study_option,
    takes,
)
from hpo.cli.output import quiet_stdout, say_json, say_plain
from hpo.cli.search import say_search
from hpo.searching.options import RunOptions, SearchOptions

_EXAMPLES = """\b
Examples:
  hpo run --param lr=log:1e-4..1 --param depth=int:1..4 --param opt=adam,sgd --minimize loss --trials 20 \\
      -- python train.py --lr {lr} --depth {depth} --opt {opt}
  hpo run --param x=0..1 --minimize loss --metrics 'loss=(?P<loss>[\\d.]+)' -- ./train.sh {x}
  hpo run --space search.yaml -- python train.py --lr {lr}
"""


@click.command(
    short_help="Search over a program.", epilog=_EXAMPLES, context_settings={"allow_interspersed_args": False}
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- PROGRAM [ARGUMENT]...")
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=RANGE",
    help="What is searched: log:1e-4..1 or 0..1 (a range), int:1..4 or int:8..64/8 (whole numbers, in steps),"
    " adam,sgd (a list). May be repeated.",
)
@click.option("--minimize", multiple=True, metavar="METRIC", help="The metric that is to be small.")
@click.option("--maximize", multiple=True, metavar="METRIC", help="The metric that is to be large.")
@click.option(
    "--metrics",
    metavar="REGEX",
    help="Finds metrics in lines of its output: 'loss=(?P<loss>[\\d.]+)' is one named loss.",
)
@click.option("--resumes", is_flag=True, help="The program goes on from what it keeps in the folder HPO_CHECKPOINT.")
@click.option("--space", metavar="FILE", help="A search file that has what is not said here.")
@click.option("--dry-run", is_flag=True, help="Print the search file that this makes, and run nothing.")
@study_name_option
@seed_option
@artifacts_option
@set_option
@takes(RunOptions)
@format_option
@quiet_stdout
def run(words: tuple[str, ...], space: str | None, dry_run: bool, storage: str, output: str, **options: Any) -> None:
    """Searches over a program in any language: {lr} among its words stands for the value of parameter lr.

    The program says what it has reached by printing a line of JSON such as {"epoch": 3, "loss": 0.1}, by calling
    hpo.report(epoch=3, loss=0.1) in Python, or in words of its own that --metrics finds. One that reports once is
    trained in full then; --set training.epochs=20 says how many epochs there are. Parameters are also in its
    environment, as HPO_PARAM_LR.

    A search file is made of all this and shown, so that it can be kept and run by `hpo search --space FILE`. The same
    command goes on where an earlier one stopped.
    """
    from hpo import api
    from hpo import spec as specs
    from hpo.searching.program import searched
    from hpo.terminal import progress_console, saying

    named = {name: options.pop(name) for name in ("parameters", "minimize", "maximize", "metrics", "resumes")}
    said = searched(words, new=space is None, study=options["study"], **named)
    document: Any = said
    if space is not None:
        document, options["overrides"] = space, {**said, **options["overrides"]}
    fixed = {name: value for name, value in SearchOptions(document, **options).settings.items() if not _more(value)}
    text = specs.dump(specs.read(document, fixed).checked())
    if dry_run:
        say_plain(text)
        return
    console = progress_console()
    saying(console, "dim")(f"The search file of this:\n\n{text}")
    say_search(api.search(document, storage=storage, console=console, **options), storage, output, console)


def _more(value: Any) -> bool:
    """Whether a setting is a limit such as `+20`, which only the study can tell."""
    return isinstance(value, str) and value.startswith("+")


@click.command(short_help="Show what a trial has printed, and its traceback.")
@click.argument("trial", type=Whole(min=0))
@click.option(
    "--stream",
    type=click.Choice(["stdout", "stderr", "traceback", "all"]),
    default="all",
    show_default=True,
    help="Which part of it.",
)
@study_option
@storage_option
@format_option
@quiet_stdout
def log(trial: int, stream: str, study: str | None, storage: str, output: str) -> None:
    """Shows what TRIAL has printed, the first and the last half MiB of each stream, and the traceback if it has failed.

    Training functions of your own and programs have a log, the built-in loop prints nothing. `hpo gc` removes what was
    printed by all but the best trials.
    """
    from hpo import api
    from hpo.study.log import log_of

    texts = log_of(api.open_study(study, storage), trial)
    wanted = {name: text for name, text in texts.items() if stream in (name, "all")}
    if output == "json":
        say_json({"trial": trial, **wanted})
        return
    for name, text in wanted.items():
        if text:
            say_plain(f"--- {name} of trial {trial}\n{text}" if len(wanted) > 1 else text)


COMMANDS = (run, log)
