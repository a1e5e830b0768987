"""What is logged, and where: `-v`, `-q` and `--log-file` of every command."""

import copy
import logging
import os
import sys
import textwrap
from typing import Any, TextIO

import click

from hpo.files import open_regular
from hpo.terminal import SAID, plain, set_quiet

_INDENT = "  "
"""Stands before the lines of a traceback."""
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_LINE = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"


class Harmless(logging.Formatter):
    """Log records with control characters shown: they may have what a database or a file says."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text that is safe to print."""
        return plain(super().format(record))


class HarmlessRecord(logging.LogRecord):
    """A log record whose message has no control characters, whoever prints it."""

    def getMessage(self) -> str:
        """The message as text that is safe to print."""
        return plain(super().getMessage())


class Lines(Harmless):
    r"""A line for each record, in which a line break is shown as `\n`; the lines of a traceback are indented.

    So no text can be taken for another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as text that is safe to print."""
        own = copy.copy(record)  # another formatter may have left its text of the traceback there, and reads ours
        own.exc_text = None if own.exc_info else self._indented(own.exc_text)
        return super().format(own)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record's own line."""
        return super().formatMessage(record).replace("\n", "\\n")

    def formatException(self, ei: Any) -> str:
        """The lines of a traceback."""
        return self._indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        """The lines of a stack."""
        return self._indented(super().formatStack(stack_info))

    @staticmethod
    def _indented(text: str | None) -> str:
        return textwrap.indent(text or "", _INDENT)


class _Stderr(logging.StreamHandler[TextIO]):
    """Prints to what `sys.stderr` is at that moment: a progress bar takes its place. What was said is left out."""

    def __init__(self, level: int) -> None:
        super().__init__(sys.stderr)
        self.setLevel(level)
        self.setFormatter(Lines("%(levelname)s %(name)s: %(message)s"))
        self.addFilter(lambda record: record.name != SAID)

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record."""
        self.stream = sys.stderr
        super().emit(record)


class _File(logging.StreamHandler[TextIO]):
    """Appends to a file, which is no link."""

    def __init__(self, path: str) -> None:
        descriptor = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        super().__init__(os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace"))
        self.setLevel(logging.DEBUG)
        self.setFormatter(Lines(_LINE))

    def close(self) -> None:
        """Closes the file."""
        self.stream.close()
        super().close()


def _set_level(context: click.Context, option: click.Parameter, count: int) -> None:
    if count:
        logger = logging.getLogger("hpo")
        for handler in [handler for handler in logger.handlers if isinstance(handler, _Stderr)]:
            logger.removeHandler(handler)  # that of --log-file, or warnings would be printed twice
        logger.addHandler(_Stderr(_LEVELS[min(count, 2)]))
        logger.setLevel(logging.DEBUG)


def _set_quiet(context: click.Context, option: click.Parameter, quiet: bool) -> None:
    set_quiet(quiet)


def _open_file(context: click.Context, option: click.Parameter, path: str | None) -> None:
    if path is None or context.resilient_parsing:  # a shell that completes opens nothing
        return
    try:
        handler = _File(path)
    except OSError as error:
        raise click.BadParameter(f"'{path}' cannot be appended to: {error.strerror or error}") from None
    logger = logging.getLogger("hpo")
    if not logger.handlers:  # warnings are still seen
        logger.addHandler(_Stderr(logging.WARNING))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def forget() -> None:
    """Removes what an earlier command of this process has set."""
    logger = logging.getLogger("hpo")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Stderr | _File)]:
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.NOTSET)


def logging_options(command: click.Command) -> click.Command:
    """Adds the options to a command."""
    options: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
        (
            ("-v", "--verbose"),
            {"count": True, "callback": _set_level, "help": "Logs what happens to stderr; -vv every report too."},
        ),
        (
            ("-q", "--quiet"),
            {"is_flag": True, "callback": _set_quiet, "help": "No progress and no notes; warnings and errors stay."},
        ),
        (
            ("--log-file",),
            {"metavar": "FILE", "callback": _open_file, "help": "Appends all that happens to a file, with times."},
        ),
    )
    for names, settings in options:
        command.params.append(click.Option(names, expose_value=False, is_eager=True, **settings))
    return command
