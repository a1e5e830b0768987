"""Callbacks: what a user's own code hears of a search, without ever being able to break it."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from hpo.errors import InputError, Problem, last_line, on_one_line
from hpo.plugins import Registry
from hpo.spec import SearchSpec
from hpo.study.study import Study
from hpo.study.trial import Metrics, TrialRecord

_OWN = Registry("callback", {})
_log = logging.getLogger(__name__)


class Callback:
    """Hears what happens in a search: subclass it and write the methods that you want to be called.

    They are called in the process of the search, by its one thread, after the event was recorded: the search waits for
    them, so what takes long belongs in a thread of your own. What they raise ends nothing: it is told once, with the
    callback's name, logged each time, and the callback goes on being called.
    """

    def on_trial_start(self, study: Study, trial: TrialRecord) -> None:
        """A trial begins, or an earlier search has left it unfinished and this one goes on with it.

        Args:
            study: that is searched, for reading.
            trial: as it stands.
        """

    def on_report(self, study: Study, trial: TrialRecord, epoch: int, metrics: Metrics) -> None:
        """A trial has trained an epoch. What becomes of it is decided afterwards.

        Args:
            study: that is searched, for reading.
            trial: as it stands, with this report.
            epoch: the last one.
            metrics: name -> number, of this epoch.
        """

    def on_trial_end(self, study: Study, trial: TrialRecord) -> None:
        """A trial has ended: it is complete, pruned or failed, and `trial.reason` says why.

        Args:
            study: that is searched, for reading.
            trial: as it ended.
        """

    def on_search_end(self, study: Study, reason: str) -> None:
        """The search has ended, however that was, unless its process was killed.

        Args:
            study: that was searched; `study.best()` is the incumbent.
            reason: why it has ended, in words.
        """


class Callbacks:
    """Calls a search's callbacks in order, as an observer of the search.

    Args:
        study: that is searched.
        callbacks: are called.
    """

    def __init__(self, study: Study, callbacks: Sequence[Callback]) -> None:
        self._study, self._callbacks = study, tuple(callbacks)
        self._told: set[int] = set()
        """Places of the callbacks that have raised."""

    def trial_started(self, trial: TrialRecord) -> None:
        """Calls `on_trial_start`."""
        self._call("on_trial_start", trial)

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Calls `on_report`."""
        if self._callbacks:
            self._call("on_report", self._study.trial(number), epoch, metrics)

    def trial_paused(self, number: int) -> None:
        """Nothing: a pause is the scheduler's business."""

    def trial_resumed(self, number: int) -> None:
        """Nothing: a pause is the scheduler's business."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Calls `on_trial_end`."""
        self._call("on_trial_end", trial)

    def search_ended(self, reason: str) -> None:
        """Calls `on_search_end`."""
        self._call("on_search_end", reason)

    def _call(self, method: str, *arguments: Any) -> None:
        for place, callback in enumerate(self._callbacks):
            try:
                getattr(callback, method)(self._study, *arguments)
            except (Exception, SystemExit) as error:  # whatever a user's code raises
                self._tell(place, method, error)

    def _tell(self, place: int, method: str, error: BaseException) -> None:
        """Says once that a callback has raised, and logs it each time."""
        told, name = place in self._told, type(self._callbacks[place]).__qualname__
        self._told.add(place)
        _log.log(
            logging.INFO if told else logging.WARNING,
            "callback '%s' has raised in %s: %s: %s; the search goes on, and calls it again",
            name,
            method,
            type(error).__name__,
            last_line(error),
        )
        _log.debug("traceback of callback '%s'", name, exc_info=error)


def named(spec: SearchSpec) -> list[Callback]:
    """The callbacks that a spec names, made with their settings, in order.

    Raises:
        InputError: one cannot be imported, refuses its settings or is no callback, or a stored file names it.
    """
    return [_made(one.name, one.settings) for one in spec.callbacks]


def check(spec: SearchSpec) -> Iterable[Problem]:
    """Problems with the callbacks that a spec names: each is made once, to see."""
    for place, one in enumerate(spec.callbacks):
        try:
            _made(one.name, one.settings)
        except InputError as error:
            yield Problem(("callbacks", str(place)), str(error))


def checked(callbacks: Sequence[Any]) -> tuple[Callback, ...]:
    """Holds what a user has given as callbacks to be some.

    Raises:
        InputError: one is none.
    """
    for one in callbacks:
        if isinstance(one, type) and issubclass(one, Callback):
            raise InputError(f"callbacks takes objects, got the class '{one.__qualname__}'; write {one.__name__}()")
        if not isinstance(one, Callback):
            raise InputError(f"callbacks takes objects of a subclass of hpo.Callback, got {one!r:.80}")
    return tuple(callbacks)


def _made(path: str, settings: dict[str, Any]) -> Callback:
    make = _OWN.load(path)
    try:
        made = make(**settings)
    except Exception as error:  # whatever a user's class raises
        raise InputError(f"callback '{path}' refuses {settings}: {on_one_line(error):.300}") from error
    if not isinstance(made, Callback):
        raise InputError(f"callback '{path}' is no hpo.Callback, and makes none: {made!r:.80}")
    return made
