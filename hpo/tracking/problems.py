"""What goes wrong with MLflow, in a line each, where MLflow itself prints a traceback."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from hpo.errors import InputError

_LOUD = ("mlflow.store.db.utils", "urllib3.connectionpool")
"""Loggers that print what is raised anyway: a traceback an error, and a line a try."""


class Unusable(InputError):
    """MLflow's store cannot be used before somebody mends it; another try is of no use."""


def reason(error: BaseException) -> str:
    """The first line of the database driver's own message, or else of the error's."""
    driver = getattr(error.__cause__, "orig", None) or getattr(error, "orig", None)
    lines = str(driver or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def one_line() -> Iterator[None]:
    """Drops what MLflow logs in this thread of errors that it raises; who catches them says a line."""
    with ExitStack() as stack:
        for name in _LOUD:
            logger, others = logging.getLogger(name), _OtherThreads()
            logger.addFilter(others)
            stack.callback(logger.removeFilter, others)
        yield


class _OtherThreads(logging.Filter):
    """Passes the records of all threads but the one that has made it."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged."""
        return record.thread != self._thread
