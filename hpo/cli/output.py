"""What commands print: answers on stdout, and everything else on stderr."""

import contextlib
import functools
import json
import os
import shlex
import sys
from collections.abc import Callable
from typing import Any


def quiet_stdout(command: Callable[..., Any]) -> Callable[..., Any]:
    """Sends everything that libraries print to stderr; a command's own output goes to the real stdout by `say`."""

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


def say(what: Any) -> None:
    """Prints to the real stdout, in plain text where it is not a terminal."""
    from hpo.terminal import Answer

    Answer().print(what)


def say_note(line: str) -> None:
    """What was left out or changed, on stderr."""
    from hpo.terminal import progress_console, saying

    saying(progress_console())(f"Note: {line}")


def say_json(document: Any) -> None:
    """Prints a document to the real stdout."""
    from hpo.terminal import Answer

    answer = Answer()
    answer.write(f"{json.dumps(document, indent=2)}\n")
    answer.flush()


def say_plain(text: str) -> None:
    """Prints a text of many lines to the real stdout as it is, without what a terminal would obey."""
    from hpo.terminal import Answer, plain

    answer = Answer()
    answer.write(plain(text) if text.endswith("\n") else f"{plain(text)}\n")
    answer.flush()


def where(storage: str) -> str:
    """The option `--storage` of a command that is offered, where it is needed."""
    return "" if storage == "studies" else f" --storage {shlex.quote(storage)}"
