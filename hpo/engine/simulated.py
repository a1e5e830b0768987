"""Runs the trials of a study in virtual time: the same controller, sampler and scheduler as under Ray, and no process.

The clock jumps from the end of one epoch to the end of the next, so that an hour of training takes milliseconds.
"""

import heapq
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from numbers import Real
from typing import Any

from hpo.controller import SPENT_TIME, Controller, Drop, Failed, NothingLeft, Resume, Retries, Start, Wait
from hpo.errors import InputError
from hpo.schedulers import Decision
from hpo.spec import Config, Failures
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import Failure, Moment, Observer, State, TrialRecord

Curve = Callable[[Config, int], tuple[Mapping[str, float], float]]
"""(config, epoch) -> (metrics after that epoch, seconds that it takes)."""


@dataclass(frozen=True)
class Elapsed:
    """What a simulated search took, in virtual seconds: by the clock, and of all its workers' work."""

    seconds: float
    worked: float
    stopped: bool = False
    """Whether somebody wished it to end."""


def run(
    study: Study,
    curve: Curve,
    *,
    workers: int,
    left: Left,
    time_limit: float | None = None,
    failures: Failures | None = None,
    observers: Sequence[Observer] = (),
) -> Elapsed:
    """Runs trials of a study until its budget is spent; one that was interrupted goes on where it stood.

    Args:
        study: has its sampler; everything that happens is recorded in it.
        curve: is called once an epoch, when it begins, in the order of virtual time. What it raises fails its trial.
        workers: how many trials run at once.
        left: what the budget leaves.
        time_limit: virtual seconds; epochs that would end later do not count.
        failures: what is done about trials that fail; the rules of the study's spec where None.
        observers: are told what has been recorded.

    Raises:
        InputError: the curve returned something else than metrics with the objective, and seconds.
    """
    clock = study.writer.clock = _Clock(study.writer.last.at)
    retries = Retries(failures or study.spec.failures, delay=0.0)
    controller = Controller(study, left, lambda: workers, observers=observers, retries=retries)
    simulation = _Simulation(controller, curve, clock)
    simulation.go_on()
    reason = simulation.run(math.inf if time_limit is None else time_limit)
    controller.close(reason)
    simulation.cut_off()
    return Elapsed(clock.at, simulation.worked, controller.wishing.stopped)


@dataclass
class _Clock:
    """The virtual time of a search, in seconds."""

    at: float

    def __call__(self) -> float:
        """The time now."""
        return self.at


@dataclass(order=True)
class _Event:
    """The end of an epoch; of those at one time the one that began first comes first."""

    at: float
    order: int
    number: int = field(compare=False)
    epoch: int = field(compare=False)
    result: dict[str, float] | str = field(compare=False)
    """Metrics, or the traceback of the curve."""


class _Simulation:
    """Drives a controller by a queue of events in virtual time."""

    def __init__(self, controller: Controller, curve: Curve, clock: _Clock) -> None:
        self.worked = 0.0
        self._clock = clock
        self._controller, self._curve = controller, curve
        self._trained: dict[int, int] = {}
        """Live trial -> its last epoch."""
        self._events: list[_Event] = []
        self._order = count()

    def run(self, until: float) -> str | None:
        """Runs to the end of the budget or of the time; returns why trials were cut off, if they were."""
        controller = self._controller
        while not (controller.limits.spent or controller.trouble or controller.wishing.stopped):
            self._fill()
            if not self._events:
                return None
            if self._events[0].at > until:
                self._clock.at = until
                return SPENT_TIME
            self._finish_epoch(heapq.heappop(self._events))
        return self._controller.limits.spent

    def go_on(self) -> None:
        """Takes up the trials that an earlier search has left, each where it stood."""
        running: list[tuple[Moment, TrialRecord]] = []
        for trial in self._controller.unfinished:
            assert trial.began is not None
            self._controller.adopt(trial.number)
            self._trained[trial.number] = trial.epoch or trial.inherited
            if trial.state is State.RUNNING:
                running.append((max(trial.began, trial.last), trial))
        for moment, trial in sorted(running, key=lambda one: one[0].order):
            self._clock.at = moment.at
            self._begin_epoch(trial)
        self._clock.at = self._controller.study.writer.last.at

    def cut_off(self) -> None:
        """Drops the epochs that are being trained; what was not worked on them yet does not count as worked."""
        self.worked -= sum(event.at - self._clock.at for event in self._events)
        self._events = []

    def _fill(self) -> None:
        """Gives every free worker a trial, where there is one."""
        while True:
            match self._controller.next():
                case Start(trial):
                    self._trained[trial.number] = trial.inherited
                    self._begin_epoch(trial)
                case Resume(number):
                    self._begin_epoch(self._controller.study.trial(number))
                case Drop(number):
                    del self._trained[number]
                case Wait() | NothingLeft():
                    return

    def _begin_epoch(self, trial: TrialRecord) -> None:
        """Asks the curve for the next epoch of a trial and puts its end into the queue."""
        epoch, seconds = self._trained[trial.number] + 1, 0.0
        result: dict[str, float] | str
        try:
            returned: Any = self._curve(deepcopy(trial.config), epoch)
        except (Exception, SystemExit):  # what a user's curve raises is a failed trial, as what a model raises is
            result = traceback.format_exc()
        else:
            result, seconds = self._checked(returned)
        self.worked += seconds
        heapq.heappush(self._events, _Event(self._clock.at + seconds, next(self._order), trial.number, epoch, result))

    def _finish_epoch(self, event: _Event) -> None:
        """Reports an epoch and does what the controller decides."""
        self._clock.at, number = event.at, event.number
        if isinstance(event.result, str):
            del self._trained[number]
            self._controller.ended(number, Failed(Failure.ERROR, event.result))
            return
        self._trained[number] = event.epoch
        match self._controller.report(number, event.epoch, event.result):
            case Decision.CONTINUE:
                self._begin_epoch(self._controller.study.trial(number))
            case Decision.PAUSE:
                self._controller.stored(number)
            case Decision.STOP:
                del self._trained[number]

    def _checked(self, returned: Any) -> tuple[dict[str, float], float]:
        """What the curve returned, if it is metrics and seconds."""
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise InputError(f"the curve must return a pair (metrics, seconds), got {returned!r:.80}")
        metrics, seconds = returned
        spec = self._controller.study.spec
        wanted = [objective.metric for objective in spec.objectives] + [rule.metric for rule in spec.constraints]
        missing = wanted if not isinstance(metrics, Mapping) else [name for name in wanted if name not in metrics]
        if missing:
            found = ", ".join(map(str, metrics)) if isinstance(metrics, Mapping) else repr(metrics)
            raise InputError(f"the curve must return first a dict with the metric '{missing[0]}', got {found}")
        for name, value in metrics.items():
            if not isinstance(value, Real):
                raise InputError(f"the curve must return numbers as metrics, got {value!r:.80} for '{name}'")
        if not (isinstance(seconds, Real) and 0 <= float(seconds) < math.inf):
            raise InputError(f"the curve must return the epoch's seconds second, 0 or more, got {seconds!r}")
        return {str(name): float(value) for name, value in metrics.items()}, float(seconds)
