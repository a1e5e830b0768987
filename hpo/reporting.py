"""`hpo.report`: by which code that trains says what it has reached, whoever runs it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

_MISSING = "hpo.report wants metrics: hpo.report(loss=0.1), or a dict of them"


class Receiver(Protocol):
    """What takes reports of the code that runs."""

    def report(self, metrics: Mapping[str, Any], epoch: int | None) -> None:
        """Takes the metrics of an epoch; the one after the last where it is None."""


_receiver: Receiver | None = None


def report(metrics: Mapping[str, Any] | None = None, /, *, epoch: int | None = None, **named: Any) -> None:
    """Reports the metrics of an epoch of the trial that runs, from within its training function.

    The call returns when the trial is to go on. If it is to pause or stop, the call does not return: `GreenletExit`,
    which is no `Exception`, ends the training function, and its `finally` blocks are run. Where no search runs the
    code, nothing is done, so that a script works alone too.

    Args:
        metrics: name -> number.
        epoch: which it is, from 1 on; the one after the last where None.
        named: metrics by keyword.

    Raises:
        TypeError: there are no metrics.
        TrainingError: it is called from another thread than the training function's.
    """
    given = {**(metrics or {}), **named}
    if not given:
        raise TypeError(_MISSING)
    if _receiver is not None:
        _receiver.report(given, epoch)


def receiver() -> Receiver | None:
    """What takes the reports of the code that runs; None where no search runs it."""
    return _receiver


@contextmanager
def received(receiver: Receiver) -> Iterator[None]:
    """Lets a receiver take the reports of what runs within."""
    global _receiver
    before, _receiver = _receiver, receiver
    try:
        yield
    finally:
        _receiver = before
