"""The reports of an objective, each held to the rules before anything is done with it."""

import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hpo.errors import ObjectiveError
from hpo.plugins import did_you_mean
from hpo.spec import Config, SearchSpec
from hpo.training.objective import Context, Objective, Report, Snapshot

_RULE = "it must yield one hpo.training.Report(epoch, metrics, snapshot) an epoch"


def reports_of(objective: Objective, config: Config, context: Context) -> Iterator[Report]:
    """Runs an objective; its reports one after another, their metrics as floats.

    Closing this iterator closes the objective.

    Args:
        objective: may be anybody's.
        config: parameter name -> value.
        context: what the objective is given beside it.

    Raises:
        ObjectiveError: the objective has yielded something else than a report, a report that breaks a rule, or none at
            all, or has called `sys.exit`.
    """
    with _exits_told():
        own = _started(objective, config, context)
    last = 0
    try:
        while True:
            with _exits_told():
                yielded = next(own, _END)
            if yielded is _END:
                break
            report = checked(yielded, context.spec, last)
            last = report.epoch
            yield report
        if not last and context.resume is None:
            raise ObjectiveError(f"the objective ended without a report: {_RULE}")
    finally:
        if (close := getattr(own, "close", None)) is not None:
            close()


def checked(yielded: Any, spec: SearchSpec, last: int) -> Report:
    """What an objective has yielded, as a report that the study can take.

    Args:
        yielded: anything.
        spec: names the metrics that are searched for, and those of the constraints.
        last: the epoch of the report before; 0 before the first.

    Raises:
        ObjectiveError: it is no report, or breaks a rule.
    """
    if not isinstance(yielded, Report):
        raise ObjectiveError(f"the objective yielded {_shown(yielded)}: {_RULE}")
    epoch = _epoch(yielded.epoch, last)
    metrics = checked_metrics(yielded.metrics, spec, epoch)
    for name in ("snapshot", "state"):
        value = getattr(yielded, name)
        if not callable(value) and (name == "snapshot" or value is not None):
            raise ObjectiveError(
                f"the objective reported {_shown(value)} as `{name}` at epoch {epoch}: it must be a function without"
                f" arguments that makes the {name}"
            )
    return Report(epoch, metrics, yielded.snapshot, yielded.state)


def taken(report: Report) -> Snapshot:
    """The snapshot of a report.

    Raises:
        ObjectiveError: its function gave something else.
    """
    snapshot: Any = report.snapshot()
    if not isinstance(snapshot, Snapshot):
        raise ObjectiveError(
            f"`snapshot` of epoch {report.epoch} gave {_shown(snapshot)}: it must give a"
            " hpo.training.objective.Snapshot"
        )
    return snapshot


_END: Any = object()


def _started(objective: Objective, config: Config, context: Context) -> Iterator[Any]:
    made: Any = objective(config, context)
    if isinstance(made, Iterator):
        return made
    try:
        if not isinstance(made, str | bytes | Mapping):
            return iter(made)
    except TypeError:
        pass
    raise ObjectiveError(f"the objective returned {_shown(made)}: {_RULE}")


@contextmanager
def _exits_told() -> Iterator[None]:
    """Turns `sys.exit` of an objective, which would end the worker, into an error of the trial."""
    try:
        yield
    except SystemExit as error:
        if vars(error):  # the engine's own, which is to end this process
            raise
        raise ObjectiveError(
            f"the objective called sys.exit({'' if error.code is None else repr(error.code)}): return ends a trial, an"
            " error fails it; a trial has no command line whose arguments could be parsed"
        ) from error


def epoch_number(epoch: Any) -> int:
    """An epoch of any library's whole numbers as an int; 0 where it is no whole number."""
    try:
        return 0 if isinstance(epoch, bool) else operator.index(epoch)
    except TypeError:
        return 0


def _epoch(epoch: Any, last: int) -> int:
    number = epoch_number(epoch)
    if number < 1:
        raise ObjectiveError(f"the objective reported epoch {epoch!r:.80}: epochs are whole numbers and count from 1")
    if number <= last:
        raise ObjectiveError(
            f"the objective reported epoch {number} after epoch {last}: each must be later than the last"
        )
    return number


def checked_metrics(metrics: Any, spec: SearchSpec, epoch: int) -> dict[str, float]:
    """The metrics of an epoch as floats.

    Args:
        metrics: anything.
        spec: names the metrics that are searched for, and those of the constraints.
        epoch: for messages.

    Raises:
        ObjectiveError: they are no numbers by name, or one that the spec names is missing.
    """
    if not isinstance(metrics, Mapping):
        raise ObjectiveError(
            f"the objective reported {_shown(metrics)} as metrics at epoch {epoch}: they must be a dict, name -> number"
        )
    wanted = {objective.metric: "searches for" for objective in spec.objectives}
    wanted |= {rule.metric: "has a constraint on" for rule in spec.constraints if rule.metric not in wanted}
    for name, why in wanted.items():
        if name not in metrics:
            found = [str(other) for other in metrics]
            raise ObjectiveError(
                f"the objective reported no '{name}' at epoch {epoch}, which the study {why}: add it to the report's"
                f" metrics, or name another metric in the spec.{did_you_mean(name, found)}"
            )
    numbers = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise ObjectiveError(
                f"the objective reported a metric named {name!r:.80} at epoch {epoch}: names are texts"
            )
        try:
            numbers[name] = _number(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            searched = f", which the study {wanted[name]}" if name in wanted else ""
            raise ObjectiveError(
                f"the objective reported {_shown(value)} as '{name}' at epoch {epoch}{searched}: it must be one number"
                " (a float, or a tensor or array of one number; NaN says that the trial has diverged)"
            ) from None
    return numbers


def _number(value: Any) -> float:
    """A number of any library's as a float."""
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool | str | bytes | bytearray):
        raise TypeError
    return float(plain)


def _shown(value: Any) -> str:
    """A value in a message: its type, and what it looks like where that is short."""
    text = " ".join(repr(value).split())
    kind = type(value).__name__
    return text if value is None else f"{text if len(text) <= 60 else text[:57] + '...'} ({kind})"
