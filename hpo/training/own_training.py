"""A training function of the user's own, in whatever form it is written, as an iterator of reports.

It runs in a greenlet: `hpo.report` leaves it where it stands, in the same thread, and the next step goes on there. So
a loop that reports from the depth of another library is stopped, paused and gone on with like a generator.
"""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import get_ident
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from hpo.errors import TrainingError, shown
from hpo.reporting import received, receiver
from hpo.spec import Config
from hpo.training import randomness
from hpo.training.function import Context, Report, Snapshot
from hpo.training.trial_context import TrialContext

_END = object()
RULE = (
    "it must return the objective or a dict of metrics, yield a dict an epoch, or call hpo.report(...); see the guide"
    " to training functions"
)


class OwnTraining(Iterator[Any]):
    """Trains one config by a function of the user's own.

    The forms: `train(config)` or `train(config, context)`; it returns the objective or a dict of metrics, yields a dict
    of metrics or a `Report` an epoch, or calls `hpo.report`.

    Args:
        function: in one of these forms.
        config: parameter name -> value.
        context: what the function is given beside it.
    """

    def __init__(self, function: Callable[..., Any], config: Config, context: Context) -> None:
        self._function, self._config, self._context = function, config, TrialContext(context)
        self._epoch = 0
        self._reported = self._closing = False
        self._greenlet: greenlet | None = greenlet(self._run)
        self._thread = get_ident()

    @property
    def context(self) -> TrialContext:
        """What the function is given beside its config."""
        return self._context

    def __next__(self) -> Any:
        """Trains to the next report; raises what the function raises."""
        if self._greenlet is None or self._greenlet.dead:
            raise StopIteration
        yielded = self._switched(self._greenlet, self._greenlet.switch)
        if yielded is _END:
            raise StopIteration
        return yielded

    def close(self) -> None:
        """Ends the function where it stands; its `finally` blocks are run.

        A function belongs to the thread that began it. Closed in another one, as by a collection of garbage there, it
        ends when its own thread next runs a training function.
        """
        self._closing = True
        if get_ident() != self._thread:
            self._greenlet = None  # the library hands it over to its thread
        elif self._greenlet and not self._greenlet.dead:
            self._switched(self._greenlet, self._greenlet.throw)

    def report(self, metrics: Mapping[str, Any], epoch: int | None) -> None:
        """Takes a report from within the function, as `hpo.report` does.

        Raises:
            TrainingError: another thread or greenlet calls it.
        """
        if getcurrent() is not self._greenlet:
            raise TrainingError(
                "hpo.report was called from another thread than the training function's: call it where that runs"
            )
        self._send(metrics, epoch)

    def _switched(self, function: greenlet, switch: Callable[[], Any]) -> Any:
        function.parent = getcurrent()
        with received(self):
            return switch()

    def _run(self) -> Any:
        randomness.seed(self._context.seed)
        made = self._called()
        if isinstance(made, Iterator | list | tuple):
            try:
                for yielded in made:
                    self._yielded(yielded)
            finally:
                if (close := getattr(made, "close", None)) is not None:
                    close()
        elif made is not None:
            self._returned(made)
        return _END

    def _called(self) -> Any:
        if takes_context(self._function):
            return self._function(dict(self._config), self._context)
        return self._function(dict(self._config))

    def _yielded(self, yielded: Any) -> None:
        if isinstance(yielded, Mapping):
            self._send(yielded, None)
        else:
            self._epoch = yielded.epoch if isinstance(yielded, Report) else self._epoch
            self._leave(yielded)

    def _returned(self, made: Any) -> None:
        """Takes what a function returns: a report of the full resource, if it is the only one."""
        if not _is_result(made):
            raise TrainingError(f"the training function returned {shown(made)}: {RULE}")
        if self._reported:
            warnings.warn(
                f"the training function has returned {shown(made)} after its reports, which count: return nothing",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        metrics = made if isinstance(made, Mapping) else {self._context.spec.objective.metric: made}
        self._send(metrics, self._context.epochs)

    def _send(self, metrics: Mapping[str, Any], epoch: int | None) -> None:
        """Leaves the function with a report, and comes back when the trial goes on."""
        context = self._context
        if not self._reported:
            self._epoch = context.begun_at
        epoch = self._epoch = self._epoch + 1 if epoch is None else epoch
        if isinstance(epoch, int) and epoch > context.epochs:
            raise TrainingError(
                f"the training function reported epoch {epoch} of {context.epochs}: training.epochs (--set"
                " training.epochs=N) says how many a full training has"
            )
        context.reported(epoch)
        snapshot = partial(_snapshot, context, *context.evidence()) if context.leaves else Snapshot
        self._leave(Report(epoch, dict(metrics), snapshot, partial(context.state, epoch) if context.goes_on else None))

    def _leave(self, report: Any) -> None:
        if self._closing:  # the function goes on although it was ended
            raise GreenletExit
        self._context.check_held_out()
        self._reported = True
        getcurrent().parent.switch(report)


def context() -> TrialContext | None:
    """The context of the training function that runs, for code that is not given it; None where no search runs it.

    It is what a function `train(config, context)` is given, so that callbacks of other libraries find it too.
    """
    training = receiver()
    return training.context if isinstance(training, OwnTraining) else None


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether a training function is called with a context beside its config.

    Raises:
        TrainingError: it takes neither `(config)` nor `(config, context)`.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a class in C, say
        return True
    required = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    for arguments in ((None, None), (None,)):
        if len(arguments) == 2 and len(required) < 2 and "context" not in signature.parameters:
            continue
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise TrainingError(f"a training function takes (config) or (config, context), got {signature}")


def _is_result(value: Any) -> bool:
    """Whether this is metrics, or one number of any library's."""
    return isinstance(value, Mapping | int | float) or (hasattr(value, "item") and not hasattr(value, "state_dict"))


def _snapshot(context: TrialContext, predictions: Any, targets: Any) -> Snapshot:
    return Snapshot(predictions=predictions, targets=targets, state=context.weights())
