"""The commands: parse, call, print. Nothing heavy is imported before a command needs it."""

import contextlib
import errno
import functools
import io
import json
import logging
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import click

from hpo import __version__
from hpo.errors import HpoError, InputError
from hpo.signals import exit_code, raising

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.results import EnsembleResult, SearchResult
    from hpo.spec import Budget
    from hpo.study import Study

_EXAMPLES = """\b
Examples:
  hpo search --space search_spaces/resnet_digits.yaml --trials 20
  hpo ensemble --top 5
  hpo predict --ensemble resnet-digits-1 --input images/ --output preds.csv
  hpo ui
"""


class _Plain(click.ParamType):  # type: ignore[type-arg]  # no type argument before click 8.4
    """A number in plain digits: `int` and `float` would swallow a sign, and take 1_000, nan or other scripts' digits.

    With `more`, `+20` too: so many more than the study has. It stays a text, as `hpo.resume` takes it.
    """

    kind, pattern = "", ""
    more = False

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or the text of so many more."""
        more = self.more and isinstance(value, str) and value.startswith("+")
        digits = value[1:] if more else value
        if isinstance(digits, str) and not re.fullmatch(self.pattern, digits, re.ASCII):
            self.fail(f"{value!r} is not {self.kind}{', nor one with a + before it' if self.more else ''}")
        number = super().convert(digits, param, ctx)
        return value if more else number


class _Whole(_Plain, click.IntRange):
    """A whole number in a range."""

    kind, pattern = "a whole number", r"-?\d+"

    def __init__(self, min: int | None = None, max: int | None = None, *, more: bool = False) -> None:
        super().__init__(min, max)
        self.more = more

    def _describe_range(self) -> str:
        """What `--help` says of the range: nothing where there is none, of which click makes `x<=None`."""
        return "" if self.min is None and self.max is None else super()._describe_range()


class _Number(_Plain, click.FloatRange):
    """A number above 0."""

    kind, pattern = "a number", r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"

    def __init__(self, *, more: bool = False) -> None:
        super().__init__(min=0, min_open=True)
        self.more = more


_storage = click.option(
    "--storage", default="studies", show_default=True, metavar="DIR", help="The folder of all studies."
)
_format = click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json prints one document to stdout; everything else goes to stderr.",
)
_data_dir = click.option(
    "--data-dir", default="data", show_default=True, metavar="DIR", help="Where downloaded data sets are kept."
)
_ensemble = click.option(
    "--ensemble", "name", required=True, metavar="NAME", help="Its name, as `hpo ensemble` printed it."
)
_study = click.option("--study", metavar="NAME", help="The study; by default the one touched last.")
_trust = click.option(
    "--trust",
    is_flag=True,
    help="Lets code of your own be imported that the stored files name (module:function), for this command.",
)
_data_path = click.option(
    "--data-path",
    metavar="PATH",
    help="Where the file or folder of the study's data set is now; by default where it was last.",
)
_accept_code = click.option(
    "--accept-code",
    is_flag=True,
    help="Takes an objective or a model of your own that has changed since the study's trials for the same.",
)
_set = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUE",
    help="Overrides a setting by its dotted name, for example --set training.epochs=5. "
    "A parameter set this way is no longer searched. May be repeated.",
)
_space = click.option("--space", required=True, metavar="FILE", help="The YAML file that says what is searched.")


def main() -> None:
    """Runs the command line; errors of the user's input are one message and exit code 2, never a traceback."""
    _open_standard_streams()
    _show_control_characters()
    try:
        commands(prog_name="hpo", standalone_mode=False)
        code = 0
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        code = _refused(error)
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except HpoError as error:
        code = _failed(error, error.exit_code)
    except Exception as error:
        told = isinstance(error, OSError) and error.errno in _TOLD
        code = _failed(error if told else traceback.format_exc().rstrip(), 1)
    _end_stdout()
    sys.exit(code)


_TOLD = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EAGAIN, errno.EMFILE),
    *(errno.ELOOP, errno.ENAMETOOLONG),
    None,
)
"""Errors of a disk, whose message and file say everything, and those of an object store, which have no number."""


class _Harmless(logging.Formatter):
    """What other packages log, with control characters shown: it may have what a database or a file says."""

    def format(self, record: logging.LogRecord) -> str:
        """The message as text that is safe to print."""
        from hpo.terminal import plain

        return plain(super().format(record))


def _show_control_characters() -> None:
    """Makes log records and warnings of all packages safe to print, where nobody else handles them."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Harmless())
    shown = warnings.formatwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        from hpo.terminal import plain

        with contextlib.suppress(OSError):
            (file or sys.stderr).write(plain(shown(message, category, filename, lineno, line)))

    warnings.showwarning = show


def _open_standard_streams() -> None:
    """Opens those that the process was started without: its first file would take their place, and be printed into."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _refused(error: click.ClickException) -> int:
    from hpo.terminal import plain

    shown = io.StringIO()
    error.show(shown)
    with contextlib.suppress(OSError):
        click.echo(plain(shown.getvalue()), nl=False, err=True)
    return error.exit_code


def _failed(error: Exception | str, code: int) -> int:
    """Says what went wrong, a traceback too: what it quotes is not a terminal's to obey."""
    from hpo.terminal import Unread, plain

    with contextlib.suppress(OSError):
        if not isinstance(error, Unread):
            click.echo(plain(error if isinstance(error, str) else f"Error: {error}"), err=True)
    return code


def _end_stdout() -> None:
    """Drops what stdout does not take, or the interpreter would print a traceback of it at its end."""
    if sys.__stdout__ is None or sys.__stdout__.closed:
        return
    try:
        sys.__stdout__.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno())
        os.close(nowhere)


class _Commands(click.Group):
    """The group of all commands: SIGTERM and SIGHUP end each of them as Ctrl-C does."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        with raising():
            return super().invoke(context)


@click.group(
    cls=_Commands,
    epilog=_EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="hpo")
def commands() -> None:
    """Searches the hyperparameters of PyTorch models and turns the trials into an ensemble.

    Ray Tune runs the trials, Optuna keeps the record, MLflow shows everything.
    """


def _quiet_stdout(command: Callable[..., Any]) -> Callable[..., Any]:
    """Sends everything that libraries print to stderr; a command's own output goes to the real stdout by `_say`."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # their news is not the user's
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is down must not hold the end up
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        from hpo.terminal import Libraries

        with contextlib.redirect_stdout(Libraries(sys.stderr)):
            return command(*args, **kwargs)

    return run


def _running(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that run trials."""
    options = (
        click.option(
            "--trials",
            type=_Whole(min=1, more=True),
            metavar="[+]N",
            help="Budget: how many trials in all; +N is N more than have ended. --epochs and --gpu-hours take it too.",
        ),
        click.option(
            "--time-limit",
            metavar="TIME",
            help="Budget: for example 90s, 30m or 2h, from start to end; trials then running are stopped and kept.",
        ),
        click.option(
            "--epochs",
            type=_Whole(min=1, more=True),
            metavar="[+]N",
            help="Budget: how many epochs all trials together may take.",
        ),
        click.option(
            "--gpu-hours",
            type=_Number(more=True),
            metavar="[+]H",
            help="Budget: how many hours of one GPU all trials together may take.",
        ),
        click.option(
            "--concurrency",
            metavar="N|auto",
            help="Trials at once; by default as many as there are CPUs and GPUs for. auto measures the memory of the "
            "largest model first, and shares a GPU among as many trials as fit.",
        ),
        _storage,
        _data_dir,
        click.option(
            "--max-disk",
            metavar="SIZE",
            help="Budget: for example 20GB, of all that the study's trials store. The weakest trials' files are "
            "removed first.",
        ),
        click.option(
            "--address",
            metavar="ADDRESS",
            help="The Ray cluster that runs the trials: auto or HOST:PORT. Without it, or RAY_ADDRESS, Ray starts on "
            "this machine.",
        ),
        click.option(
            "--ensemble",
            is_flag=True,
            help="Builds an ensemble of the best trials afterwards, as `hpo ensemble` does, within the time limit.",
        ),
        click.option(
            "--join",
            is_flag=True,
            help="Works for the search of this study that runs already, of this machine or another, until that is "
            "over. --concurrency says how many trials more.",
        ),
        click.option(
            "--database",
            metavar="URL",
            envvar="HPO_DATABASE",
            show_envvar=True,
            help="postgresql://USER@HOST/NAME has the record of trials, in place of the study's folder.",
        ),
        _accept_code,
        click.option(
            "--grace-period",
            metavar="TIME",
            help="What running trials have to end their epoch and store their state, after Ctrl-C, SIGTERM or SIGHUP; "
            "30s by default.",
        ),
        _format,
    )
    for option in reversed(options):
        command = option(command)
    return command


@commands.command(short_help="Run a search.")
@_space
@click.option("--study", metavar="NAME", help="Names the study, instead of `study:` in the file.")
@_running
@click.option(
    "--artifacts",
    metavar="URI",
    help="Where trials store weights and predictions, such as s3://bucket/folder or a shared folder; by default the "
    "study's own folder.",
)
@click.option("--seed", type=_Whole(min=0), metavar="N", help="Of the split, the sampler and every trial.")
@click.option(
    "--from",
    "warm_start",
    metavar="STUDY",
    help="Takes over the trials of another study on the same data and model, where their configs lie in this space.",
)
@_set
@_quiet_stdout
def search(
    space: str,
    study: str | None,
    artifacts: str | None,
    seed: int | None,
    warm_start: str | None,
    sets: tuple[str, ...],
    storage: str,
    output: str,
    **options: Any,
) -> None:
    """Runs a search: proposes configs, trains them, stops the poor ones early, records everything.

    The same command goes on where an earlier one of the same study stopped, however that ended. Ctrl-C, SIGTERM and
    SIGHUP stop cleanly and keep what is done; a second one stops at once.
    """
    from hpo import api
    from hpo.terminal import progress_console

    console = progress_console()
    result = api.search(
        space,
        study=study,
        storage=storage,
        artifacts=artifacts,
        seed=seed,
        warm_start=warm_start,
        overrides=_overrides(sets),
        console=console,
        **_parsed(**options),
    )
    _say_search(result, storage, output, console)


@commands.command(short_help="Go on with a search.")
@_study
@_running
@_data_path
@_trust
@_quiet_stdout
def resume(study: str | None, storage: str, output: str, data_path: str | None, trust: bool, **options: Any) -> None:
    """Goes on with a search where it stopped, however that was: by Ctrl-C, a crash, or a budget that is raised now.

    Trials that have ended are not trained again, those that ran go on from their last stored state, and the same
    configs are proposed as if nothing had happened. The search is the one that the study was started with.
    """
    from hpo import api
    from hpo.terminal import progress_console

    console = progress_console()
    result = api.resume(study, storage=storage, data_path=data_path, console=console, trust=trust, **_parsed(**options))
    _say_search(result, storage, output, console)


def _parsed(
    *,
    trials: int | str | None,
    epochs: int | str | None,
    gpu_hours: float | str | None,
    time_limit: str | None,
    concurrency: str | None,
    data_dir: str,
    max_disk: str | None,
    address: str | None,
    join: bool,
    ensemble: bool,
    database: str | None,
    accept_code: bool,
    grace_period: str | None,
) -> dict[str, Any]:
    """The options of `_running`, as `api.search` takes them."""
    return {
        "trials": trials,
        "epochs": epochs,
        "gpu_hours": gpu_hours,
        "time_limit": None if time_limit is None else _seconds(time_limit, "--time-limit"),
        "concurrency": _concurrency(concurrency),
        "data_dir": data_dir,
        "max_disk": _bytes(max_disk, "--max-disk"),
        "address": address,
        "join": join,
        "ensemble": ensemble,
        "database": database,
        "accept_code": accept_code,
        "grace_period": None if grace_period is None else _seconds(grace_period, "--grace-period"),
    }


def _say_search(result: "SearchResult", storage: str, output: str, console: "Console") -> None:
    """What a search found, and what comes next; exit code 130, 143 or 129 where a signal has ended it."""
    from hpo.report.tables import trials_table
    from hpo.terminal import warn

    name = result.study.name
    if result.tracking_problem:
        warn(console, "Warning", result.tracking_problem)
    if result.ensemble is not None:
        _warn_of(result.ensemble, console)
    if output == "json":
        _say_json(result.to_json())
    else:
        counts = result.to_json()["trials"]
        shown = (f"{count} {state}" for state, count in counts.items() if count or state != "unfinished")
        _say(trials_table(result.study, result.study.leaderboard()[:10], f"{name}: {', '.join(shown)}"))
        if result.interrupted:
            _say(f"Interrupted: `{result.study.command('resume')}` goes on with it.")
        if result.ensemble is None:
            _say(
                f"Next: `{result.study.command('ensemble')}` combines the best trials, `hpo ui{_where(storage)}`"
                " compares them."
            )
        else:
            _say_ensemble(result.ensemble, storage)
    if result.interrupted is not None:
        sys.exit(exit_code(result.interrupted))


@commands.command(short_help="Train one trial again and compare.")
@click.argument("trial", type=_Whole(min=0))
@_study
@_storage
@_data_dir
@_data_path
@_accept_code
@_trust
@_format
@_quiet_stdout
def reproduce(trial: int, study: str | None, storage: str, output: str, **options: Any) -> None:
    """Trains TRIAL again, from its study alone, and compares: every metric of every epoch, weights and predictions.

    On a CPU the same bits are wanted. On a GPU metrics may differ by 2 %, unless training.deterministic is true. Where
    they differ more, exit code 1, and what has changed since: packages, code, machine.
    """
    from hpo import api
    from hpo.report.tables import reproduction_table

    again = api.reproduce(trial, study, storage=storage, **options)
    if output == "json":
        _say_json(again.to_json())
    else:
        _say(reproduction_table(again.reports, f"Trial {trial}, then and now"))
        how = "to the bit" if again.exact and again.reproduced else f"largest difference {again.largest:.2g}"
        _say(f"Trial {trial} is {'reproduced' if again.reproduced else 'NOT reproduced'} on {again.device}: {how}.")
        for line in again.changed:
            _say(f"changed since: {line}")
    if not again.reproduced:
        sys.exit(1)


@commands.command(short_help="Check a search without running it.")
@_space
@_set
@_format
@_quiet_stdout
def validate(space: str, sets: tuple[str, ...], output: str) -> None:
    """Checks a search file: keys, values, conditions, and that what it names exists. Prints every problem at once."""
    from hpo import api

    spec = api.validate(space, _overrides(sets), tell=_note)
    if output == "json":
        _say_json(spec.model_dump(mode="json"))
    else:
        _say(
            f"{space} is valid: {len(spec.parameters)} parameters, {_limits(spec.budget)}, each of up to"
            f" {spec.training.epochs} epochs."
        )


@commands.command(short_help="Say how long a search would take.")
@_space
@click.option(
    "--workers",
    type=_Whole(min=1),
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
    type=_Number(),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Of the synthetic curve, on average.",
)
@_set
@_format
@_quiet_stdout
def plan(
    space: str, workers: int, curve: str | None, seconds_per_epoch: float, sets: tuple[str, ...], output: str
) -> None:
    """Says how long a search would take with more and more workers. It runs in virtual time: nothing is trained."""
    from rich.table import Table

    from hpo import api
    from hpo.forecast import worker_counts
    from hpo.terminal import text

    for remark in api.remarks(space, _overrides(sets)):
        _note(remark)
    found = api.plan(
        space,
        curve,
        workers=worker_counts(workers),
        seconds_per_epoch=seconds_per_epoch,
        overrides=_overrides(sets),
    )
    if output == "json":
        _say_json(found.to_json())
        return
    table = Table(title=text(found.study), title_justify="left")
    for name in ("workers", "hours", "trials", "complete", "epochs", "busy", "speed-up"):
        table.add_column(name, justify="right")
    for row in found.forecasts:
        counts = (str(count) for count in (row.trials, row.complete, row.epochs))
        table.add_row(str(row.workers), f"{row.hours:.2f}", *counts, f"{row.busy:.0%}", f"{row.speedup:.2f}")
    _say(table)
    _say(f"Learning curve: {found.curve}.")


@commands.command(short_help="Combine the best trials.")
@_study
@click.option(
    "--top", "--max-members", type=_Whole(), default=5, show_default=True, metavar="K", help="Members at most."
)
@click.option(
    "--pool",
    type=_Whole(),
    default=50,
    show_default=True,
    metavar="N",
    help="How many of the best trials are candidates.",
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    metavar="METHOD",
    help="auto compares all that train nothing, and takes the best single trial where none is surely better: voting, "
    "weighted, greedy, bagged_greedy, hard_voting, median, stacking, stacking_ridge, stacking_boosting. soup averages "
    "weights. bagging, boosting and deep train members.",
)
@click.option(
    "--select",
    default="score",
    show_default=True,
    metavar="HOW",
    help="How voting and stacking come by their members: score, gain or diversity.",
)
@click.option("--bags", type=_Whole(), metavar="N", help="Members that bagging, boosting and deep train; 8 by default.")
@click.option(
    "--folds", type=_Whole(), metavar="K", help="Stacking learns from out-of-fold predictions of K retrainings."
)
@click.option("--max-latency", metavar="TIME", help="Of one example on this machine, for example 5ms.")
@click.option(
    "--distill", metavar="CONFIG", help="Trains one model on what the ensemble says: a trial's number or a YAML file."
)
@click.option("--register", metavar="NAME", help="Puts the model into MLflow's registry.")
@click.option("--alias", default="champion", show_default=True, metavar="NAME", help="Of the registered version.")
@click.option("--name", metavar="NAME", help="Of the ensemble; by default the study's and a number.")
@_storage
@_data_dir
@_data_path
@_accept_code
@_trust
@_format
@_quiet_stdout
def ensemble(
    study: str | None,
    top: int,
    pool: int,
    method: str,
    select: str,
    bags: int | None,
    folds: int | None,
    max_latency: str | None,
    distill: str | None,
    register: str | None,
    alias: str,
    name: str | None,
    storage: str,
    data_dir: str,
    data_path: str | None,
    accept_code: bool,
    trust: bool,
    output: str,
) -> None:
    """Builds an ensemble from the predictions that trials have stored; only the methods that say so train.

    Members and weights are chosen on validation rows. The test rows are scored once, beside the best single trial.
    """
    from hpo import api
    from hpo.terminal import progress_console

    console = progress_console()
    result = api.build_ensemble(
        study,
        top=top,
        pool=pool,
        method=method,
        select=select,
        bags=bags,
        folds=folds,
        max_latency=_milliseconds(max_latency),
        distill=distill,
        register=register,
        alias=alias,
        name=name,
        storage=storage,
        data_dir=data_dir,
        data_path=data_path,
        accept_code=accept_code,
        console=console,
        trust=trust,
    )
    for built in (result, result.student):
        if built is not None:
            _warn_of(built, console)
    if output == "json":
        _say_json(result.to_json())
        return
    _say_ensemble(result, storage)
    if result.student is not None:
        _say(f"\nThe student of {result.name}:")
        _say_ensemble(result.student, storage)


def _warn_of(result: "EnsembleResult", console: "Console") -> None:
    from hpo.terminal import warn

    for line in result.skipped:
        warn(console, "Skipped", line)
    if result.tracking_problem:
        warn(console, "Warning", result.tracking_problem)


def _say_ensemble(result: "EnsembleResult", storage: str) -> None:
    """What was built, for people."""
    from hpo.report.tables import compared_table, costs_table, diversity_table, members_table, scores_table
    from hpo.tracking.store import tracking_uri

    if result.gain is not None and len(result.compared) > 1:
        _say(compared_table(result.compared, result.method, result.gain.score))
    _say(members_table(result.members))
    if result.diversity is not None and result.diversity.means:
        _say(diversity_table(result.diversity.means))
    if result.note:
        _say(f"{result.note[0].upper()}{result.note[1:]}.")
    if result.calibration is not None and result.calibration.before:
        stages = {"before": result.calibration.before, "after": result.calibration.after}
        how = "cross-validated" if result.gain is not None else "on the rows that it is fitted to"
        _say(scores_table(stages, f"Last temperature {result.calibration.temperature:.3g}, {how}"))
    if result.estimate is not None:
        shown = {f"{result.estimate['rows']} of {result.estimate['of']} rows": result.estimate["metrics"]}
        _say(scores_table(shown, f"Training rows, {result.estimate['kind']}"))
    rows = {
        f"best single (trial {result.best_single})": result.best_single_test,
        f"ensemble ({result.method})": result.test,
    }
    _say(scores_table(rows, "Test split"))
    if result.interval is not None:
        widths = ", ".join(f"{width:.4g}" for width in result.interval.half_widths)
        _say(f"An interval of {widths} to either side holds {result.interval.level:.0%} of new values.")
    if result.cost is not None and result.member_cost is not None:
        _say(costs_table({"first member": result.member_cost, "ensemble": result.cost}))
    _say(
        f"Ensemble '{result.name}' is in {result.folder}; {result.report} shows it.\n"
        f"Use it: `hpo predict --ensemble {result.name} --input FILE_OR_FOLDER{_where(storage)}"
        f"{' --trust' if result.own_models else ''}`"
    )
    if result.run_id:
        uri = tracking_uri(Path(storage))
        model = result.registered or f"runs:/{result.run_id}/model"
        own = shlex.quote(",".join(result.own_models))
        needs = f", with HPO_TRUST={own} in the environment" if result.own_models else ""
        _say(f"In MLflow ({uri}): mlflow.pyfunc.load_model('{model}'){needs}")


@commands.command(short_help="Predict with an ensemble.")
@_ensemble
@click.option(
    "--input",
    "input_",
    required=True,
    metavar="PATH",
    help="An image or a folder of images; .npy or .npz (x_test, else x); for a table also .csv with a header.",
)
@click.option(
    "--output",
    default="preds.csv",
    show_default=True,
    metavar="FILE",
    help="CSV: input, prediction, probabilities; - is stdout.",
)
@_storage
@_trust
@_quiet_stdout
def predict(name: str, input_: str, output: str, storage: str, trust: bool) -> None:
    """Writes an ensemble's predictions, batch by batch: memory stays flat however large the input is."""
    from hpo import api
    from hpo.results import write_csv
    from hpo.terminal import Answer, progress_console

    answer = Answer() if output == "-" else None
    if answer is None and (Path(output).is_dir() or not Path(output).absolute().parent.is_dir()):
        raise InputError(f"--output {output}: is a folder, or its folder does not exist; name a file")
    notes: list[str] = []
    rows = write_csv(
        answer or output, api.predict_batches(name, input_, storage=storage, trust=trust, tell=notes.append)
    )
    for note in notes:
        _note(note)
    if answer is None:
        _say(f"{rows} predictions in {output}")
    else:
        answer.flush()
        progress_console().print(f"{rows} predictions")


@commands.command(short_help="Write an ensemble as ONNX.")
@_ensemble
@click.option("--output", required=True, metavar="FILE", help="Such as model.onnx.")
@click.option("--member", type=_Whole(min=0), metavar="PLACE", help="One member alone, by its place from 0 on.")
@_storage
@_trust
@_quiet_stdout
def export(name: str, output: str, member: int | None, storage: str, trust: bool) -> None:
    """Writes an ensemble as one ONNX file, preprocessing included, and compares it with PyTorch.

    Needs `pip install 'hpo[onnx]'`.
    """
    from hpo import api

    difference = api.export(name, output, member=member, storage=storage, trust=trust)
    _say(f"{output}: ONNX Runtime and PyTorch differ by {difference:.1e} at most")


@commands.command(short_help="List the studies.")
@_storage
@_format
@_quiet_stdout
def studies(storage: str, output: str) -> None:
    """Lists the studies of a storage folder."""
    from hpo import api
    from hpo.report.tables import studies_table
    from hpo.terminal import plain
    from hpo.trial import count_states

    found, problems = api.all_studies(storage)
    for problem in problems.values():
        click.echo(plain(f"Left out: {problem}"), err=True)
    if output == "json":
        _say_json(
            [{"study": s.name, "trials": {k.value: v for k, v in count_states(s.trials()).items()}} for s in found]
            + [{"study": name, "problem": problem} for name, problem in problems.items()]
        )
    elif found or not problems:
        _say(studies_table(found) if found else f"There are no studies in '{storage}'. Run `hpo search` first.")


@commands.command(short_help="List the trials of a study.")
@_study
@_storage
@_format
@_quiet_stdout
def trials(study: str | None, storage: str, output: str) -> None:
    """Lists the trials of a study, with the reason where one failed."""
    from hpo import api
    from hpo.report.tables import trials_table
    from hpo.trial import LIVE

    opened = api.open_study(study, storage)
    records = opened.trials()
    if output == "json":
        _say_json([record.to_json() for record in records])
        return
    _say(trials_table(opened, records, opened.name))
    if any(record.state in LIVE for record in records) and opened.searcher is None:
        _say(f"Nobody searches it now: `{opened.command('resume')}` goes on with it{_imports(opened)}.")
    for record in records:
        if record.state.value == "failed" and record.cause:
            _say(f"trial {record.number} failed: {record.cause}")


@commands.command(short_help="Show the best trial.")
@_study
@_storage
@_format
@_quiet_stdout
def best(study: str | None, storage: str, output: str) -> None:
    """Shows the best trial of a study: the best at full resource, or where there is none yet the best of all.

    With several objectives it shows the Pareto set: the trials that no other one beats in all of them.
    """
    from hpo import api
    from hpo.report.tables import trials_table

    opened = api.open_study(study, storage)
    record = opened.best()
    if record is None:
        raise HpoError(f"study '{opened.name}' has no trial with a value yet")
    if opened.spec.objective.others:
        front = opened.pareto()
        if output == "json":
            _say_json([trial.to_json() for trial in front])
        else:
            _say(trials_table(opened, front, f"{opened.name}: Pareto set"))
    elif output == "json":
        _say_json(record.to_json())
    else:
        _say(trials_table(opened, [record], f"{opened.name}: best trial"))


@commands.command(short_help="Remove what trials have stored and nobody needs.")
@_study
@click.option(
    "--keep", type=_Whole(min=1), default=50, show_default=True, metavar="N", help="The best trials that stay."
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option(
    "--artifacts",
    metavar="URI",
    help="The place outside of the study's folder that the search was given, where it does not say whose it is.",
)
@_storage
@_format
@_quiet_stdout
def gc(study: str | None, keep: int, dry_run: bool, artifacts: str | None, storage: str, output: str) -> None:
    """Removes the weights and predictions of all but the best trials of a study, and what interrupted writes left.

    The record of all trials stays, and so do ensembles: they have copies of their members.
    """
    from dataclasses import asdict

    from hpo import api

    freed = api.collect(study, keep=keep, dry_run=dry_run, storage=storage, artifacts=artifacts)
    if output == "json":
        _say_json(asdict(freed))
    else:
        _say(f"{'Would free' if dry_run else 'Freed'} {freed}.")


@commands.command(short_help="Open MLflow on the studies.")
@_storage
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Loopback unless told otherwise.")
@click.option(
    "--port", type=_Whole(1, 65535), default=5000, show_default=True, metavar="PORT", help="Where it listens."
)
def ui(storage: str, host: str, port: int) -> None:
    """Opens MLflow's web pages on the studies of a storage folder; Ctrl-C ends them.

    Where MLFLOW_TRACKING_URI names a server, its address is printed instead.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(("http:", "https:")):
        click.echo(f"MLflow runs already, at {uri}")
        return
    if not uri and not (Path(storage) / "mlflow.db").exists():
        raise InputError(
            f"there is nothing to show in '{storage}' yet. Run `hpo search` first, or name the folder with --storage"
        )
    from hpo.tracking.store import check_own_store, tracking_uri

    if not uri:
        check_own_store(Path(storage))
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
    alone = {**os.environ, "PYTHONSAFEPATH": "1"}  # nothing of the folder where the user stands takes MLflow's place
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "ui", *arguments], alone)


def _limits(budget: "Budget") -> str:
    """The limits of a budget in words."""
    limits = [f"{count} {name}" for name, count in (("trials", budget.trials), ("epochs", budget.epochs)) if count]
    if budget.gpu_hours is not None:
        limits.append(f"{budget.gpu_hours:g} GPU hours")
    if budget.time_limit is not None:
        limits.append(f"{budget.time_limit:g} s")
    return "at most " + " or ".join(limits)


def _overrides(sets: tuple[str, ...]) -> dict[str, Any]:
    from hpo.spec import parse_override

    return dict(parse_override(text) for text in sets)


def _seconds(text: str, option: str) -> float:
    from hpo.spec import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _concurrency(text: str | None) -> int | Literal["auto"] | None:
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise click.BadParameter(f"{text!r} is neither a number of at least 1 nor auto", param_hint="--concurrency")


def _bytes(text: str | None, option: str) -> int | None:
    """`20GB`, `500MiB` or a number, in bytes."""
    if text is None:
        return None
    from pydantic import ByteSize, TypeAdapter, ValidationError

    with contextlib.suppress(ValidationError):
        found = int(TypeAdapter(ByteSize).validate_python(text))
        if found > 0:
            return found
    raise click.BadParameter(f"{text!r} is no size; write for example 20GB", param_hint=option)


def _milliseconds(text: str | None) -> float | None:
    """`5ms` or `0.2s`, in milliseconds."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        found = float(text[:-2]) if text.endswith("ms") else float(text[:-1]) * 1000
        if text.endswith("s") and text[0] not in "+-" and 0 < found < float("inf"):
            return found
    raise click.BadParameter(f"{text!r} is no time; write for example 5ms", param_hint="--max-latency")


def _imports(study: "Study") -> str:
    """The end of a sentence that offers `hpo resume`: what that would run, which a stored file alone may name."""
    own = ", ".join(f"'{path}'" for path in study.own_code("resume"))
    return f", and runs {own}, which '{study.folder / 'spec.yaml'}' names: look there first" if own else ""


def _where(storage: str) -> str:
    return "" if storage == "studies" else f" --storage {shlex.quote(storage)}"


def _say(what: Any) -> None:
    """Prints to the real stdout, in plain text where it is not a terminal."""
    from hpo.terminal import Answer

    Answer().print(what)


def _note(line: str) -> None:
    """What was left out or changed, on stderr."""
    from hpo.terminal import plain

    with contextlib.suppress(OSError):
        click.echo(plain(f"Note: {line}"), err=True)


def _say_json(document: Any) -> None:
    from hpo.terminal import Answer

    answer = Answer()
    answer.write(f"{json.dumps(document, indent=2)}\n")
    answer.flush()
