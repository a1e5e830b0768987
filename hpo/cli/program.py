"""The program `hpo`: its commands, and how each of them ends. Nothing heavy is imported before a command needs it."""

import contextlib
import errno
import io
import logging
import os
import sys
import traceback
import warnings
from typing import Any, TextIO

import click

from hpo import __version__
from hpo.cli import ensemble, programs, running, search, studies, upkeep
from hpo.cli.logs import Harmless, HarmlessRecord, forget, logging_options
from hpo.errors import HpoError
from hpo.signals import raising

_EXAMPLES = """\b
Examples:
  hpo search --space search_spaces/resnet_digits.yaml --trials 20
  hpo status
  hpo run --param lr=log:1e-4..1 --minimize loss --trials 20 -- python train.py --lr {lr}
  hpo ensemble --top 5
  hpo predict --ensemble resnet-digits-1 --input images/ --output preds.csv
  hpo ui
"""


def main() -> None:
    """Runs the command line; errors of the user's input are one message and exit code 2, never a traceback."""
    _open_standard_streams()
    _show_control_characters()
    forget()
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
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ENXIO),
    None,
)
"""Errors of a disk, whose message and file say everything, and those of an object store, which have no number."""


def _show_control_characters() -> None:
    """Makes log records and warnings of all packages safe to print, where nobody else handles them."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Harmless())
    logging.setLogRecordFactory(HarmlessRecord)  # MLflow, Optuna and Ray have handlers of their own
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
    from hpo.terminal import SAID, Unread, plain

    with contextlib.suppress(OSError):
        if not isinstance(error, Unread):
            logging.getLogger(SAID).error("%s", error)
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


for _group in (search, programs, running, ensemble, studies, upkeep):
    for _command in _group.COMMANDS:
        commands.add_command(logging_options(_command))
