"""The reports of a training function, each held to the rules before anything is done with it."""

import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from hpo.errors import TrainingError, shown
from hpo.plugins import did_you_mean
from hpo.spec import Config, SearchSpec
from hpo.training.copies import side_by_side
from hpo.training.function import Context, Report, TrainingFunction
from hpo.training.own_training import RULE, OwnTraining
from hpo.training.printing import kept
from hpo.training.programs import Program
from hpo.training.supervised import train

_WHO = "the training function"


def reports_of(function: TrainingFunction, config: Config, context: Context) -> Iterator[Report]:
    """Runs a training function; its reports one after another, their metrics as floats.

    Closing this iterator closes the training function. Where the spec wants folds or seeds, it runs several times, and
    the reports are of all of them. What a function of the user's own prints is kept with the trial that `context.place`
    is of.

    Args:
        function: may be anybody's.
        config: parameter name -> value.
        context: what the training function is given beside it.

    Raises:
        TrainingError: the training function has reported something else than metrics, what breaks a rule, or nothing at
            all, or has called `sys.exit`.
    """
    begin = partial(_reports, function, config)
    reports = side_by_side(begin, context) if context.spec.training.copies > 1 else begin(context)
    if context.place is None or function is train or isinstance(function, Program):
        return reports
    return kept(reports, context.place, context.resume is not None)


def _reports(function: TrainingFunction, config: Config, context: Context) -> Iterator[Report]:
    """The reports of one training."""
    program = isinstance(function, Program)
    ours = function is train or program
    own: Any = function(config, context) if ours else OwnTraining(function, config, context)
    last = 0
    try:
        while True:
            with _exits_told():
                yielded = next(own, _END)
            if yielded is _END:
                break
            report = checked(yielded, context.spec, last, "the program" if program else _WHO)
            last = report.epoch
            yield report
        if not last and context.resume is None:
            raise TrainingError(f"the training function ended without a report: {RULE}")
    finally:
        if (close := getattr(own, "close", None)) is not None:
            close()


def checked(yielded: Any, spec: SearchSpec, last: int, who: str = _WHO) -> Report:
    """What a training function has yielded, as a report that the study can take.

    Args:
        yielded: anything.
        spec: names the metrics that are searched for, and those of the constraints.
        last: the epoch of the report before; 0 before the first.
        who: has reported, for messages.

    Raises:
        TrainingError: it is no report, or breaks a rule.
    """
    if not isinstance(yielded, Report):
        raise TrainingError(f"the training function yielded {shown(yielded)}: {RULE}")
    epoch = _epoch(yielded.epoch, last, who)
    metrics = checked_metrics(yielded.metrics, spec, epoch, who)
    for name in ("snapshot", "state"):
        value = getattr(yielded, name)
        if not callable(value) and (name == "snapshot" or value is not None):
            raise TrainingError(
                f"the training function reported {shown(value)} as `{name}` at epoch {epoch}: it must be a function"
                f" without arguments that makes the {name}"
            )
    return Report(epoch, metrics, yielded.snapshot, yielded.state)


_END: Any = object()


@contextmanager
def _exits_told() -> Iterator[None]:
    """Turns `sys.exit` of a training function, which would end the worker, into an error of the trial."""
    try:
        yield
    except SystemExit as error:
        if vars(error):  # the engine's own, which is to end this process
            raise
        code = "" if error.code is None else repr(error.code)
        raise TrainingError(
            f"the training function called sys.exit({code}): return ends a trial, an error fails it; a trial has no"
            " command line whose arguments could be parsed"
        ) from error


def epoch_number(epoch: Any) -> int:
    """An epoch of any library's whole numbers as an int; 0 where it is no whole number."""
    try:
        return 0 if isinstance(epoch, bool) else operator.index(epoch)
    except TypeError:
        return 0


def _epoch(epoch: Any, last: int, who: str) -> int:
    number = epoch_number(epoch)
    if number < 1:
        raise TrainingError(f"{who} reported epoch {epoch!r:.80}: epochs are whole numbers and count from 1")
    if number <= last:
        raise TrainingError(f"{who} reported epoch {number} after epoch {last}: each must be later than the last")
    return number


def checked_metrics(metrics: Any, spec: SearchSpec, epoch: int, who: str = _WHO) -> dict[str, float]:
    """The metrics of an epoch as floats.

    Args:
        metrics: anything.
        spec: names the metrics that are searched for, and those of the constraints.
        epoch: for messages.
        who: has reported, for messages.

    Raises:
        TrainingError: they are no numbers by name, or one that the spec names is missing.
    """
    if not isinstance(metrics, Mapping):
        raise TrainingError(
            f"{who} reported {shown(metrics)} as metrics at epoch {epoch}: they must be a dict, name -> number"
        )
    wanted = {objective.metric: "searches for" for objective in spec.objectives}
    wanted |= {rule.metric: "has a constraint on" for rule in spec.constraints if rule.metric not in wanted}
    for name, why in wanted.items():
        if name not in metrics:
            found = [str(other) for other in metrics]
            raise TrainingError(
                f"{who} reported no '{name}' at epoch {epoch}, which the study {why}: add it to the"
                f" report's metrics, or name another metric in the spec.{did_you_mean(name, found)}"
            )
    numbers = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise TrainingError(f"{who} reported a metric named {name!r:.80} at epoch {epoch}: names are texts")
        try:
            numbers[name] = _number(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            searched = f", which the study {wanted[name]}" if name in wanted else ""
            raise TrainingError(
                f"{who} reported {shown(value)} as '{name}' at epoch {epoch}{searched}: it must be one"
                " number (a float, or a tensor or array of one number; NaN says that the trial has diverged)"
            ) from None
    return numbers


def _number(value: Any) -> float:
    """A number of any library's as a float."""
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool | str | bytes | bytearray):
        raise TypeError
    return float(plain)
