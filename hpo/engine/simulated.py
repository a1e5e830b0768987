"""Runs the trials of a study in virtual time: the same recorder, sampler and scheduler as under Ray, and no process.

The clock jumps from the end of one epoch to the end of the next, so that an hour of training takes milliseconds.
"""

import heapq
import math
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from numbers import Real
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from hpo.budget import Left
from hpo.engine.hooks import RecordingScheduler, StudySearcher
from hpo.engine.recorder import SPENT_TIME, Recorder
from hpo.engine.words import DONE, ERROR, INHERITED, METRICS
from hpo.errors import InputError
from hpo.schedulers import RESOURCE
from hpo.spec import Config
from hpo.study import Study
from hpo.trial import Moment, Observer, State

Curve = Callable[[Config, int], tuple[Mapping[str, float], float]]
"""(config, epoch) -> (metrics after that epoch, seconds that it takes)."""


@dataclass(frozen=True)
class Elapsed:
    """What a simulated search took, in virtual seconds: by the clock, and of all its workers' work."""

    seconds: float
    worked: float


def run(
    study: Study,
    curve: Curve,
    *,
    workers: int,
    left: Left,
    time_limit: float | None = None,
    observers: Sequence[Observer] = (),
) -> Elapsed:
    """Runs trials of a study until its budget is spent; one that was interrupted goes on where it stood.

    Args:
        study: has its sampler; everything that happens is recorded in it.
        curve: is called once an epoch, when it begins, in the order of virtual time. What it raises fails its trial.
        workers: how many trials run at once.
        left: what the budget leaves.
        time_limit: virtual seconds; epochs that would end later do not count.
        observers: are told what has been recorded.

    Raises:
        InputError: the curve returned something else than metrics with the objective, and seconds.
    """
    before = study.last.at
    study.clock = lambda: before
    recorder = Recorder(study, observers, workers, left)
    recorder.patience = 0.0
    simulation = _Simulation(recorder, curve)
    study.clock = lambda: simulation.clock
    simulation.go_on()
    reason = simulation.run(math.inf if time_limit is None else time_limit)
    recorder.close(reason)
    simulation.cut_off()
    return Elapsed(simulation.clock, simulation.worked)


@dataclass(order=True)
class _Event:
    """The end of an epoch; of those at one time the one that began first comes first."""

    at: float
    order: int
    trial: Trial = field(compare=False)
    result: dict[str, Any] = field(compare=False)


class _Simulation:
    """The event queue; to schedulers it is what Ray's TuneController is to them."""

    def __init__(self, recorder: Recorder, curve: Curve) -> None:
        self.clock = 0.0
        self.worked = 0.0
        self._recorder, self._curve = recorder, curve
        self._scheduler: Any = RecordingScheduler(recorder)  # its controller is this object
        self._searcher = StudySearcher(recorder, self._scheduler)
        self._started = 0
        self._live: dict[str, Trial] = {}
        self._added: deque[Trial] = deque()
        self._events: list[_Event] = []
        self._order = count()

    # ---- what schedulers ask of a controller -----------------------------------------------------------------------

    search_alg = None

    def get_trials(self) -> list[Trial]:
        """The trials that have not ended; schedulers look for running, pending and paused ones."""
        return list(self._live.values())

    def get_live_trials(self) -> set[Trial]:
        """The same, as a set."""
        return set(self._live.values())

    def pause_trial(self, trial: Trial, should_checkpoint: bool = True) -> None:
        """Takes a trial off its worker; an epoch that it is in is lost."""
        trial.set_status(Trial.PAUSED)
        self.cut_off(trial)

    def stop_trial(self, trial: Trial) -> None:
        """Ends a trial, as Ray's controller does."""
        if trial.trial_id not in self._live:
            return
        del self._live[trial.trial_id]
        if trial.status in (Trial.PENDING, Trial.PAUSED):
            self._scheduler.on_trial_remove(self, trial)
            self._searcher.on_trial_complete(trial.trial_id)
        else:
            result = trial.run_metadata.last_result
            self._scheduler.on_trial_complete(self, trial, result)
            self._searcher.on_trial_complete(trial.trial_id, result)
        trial.set_status(Trial.TERMINATED)

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def run(self, until: float) -> str | None:
        """Runs to the end of the budget or of the time; returns why trials were cut off, if they were."""
        while not self._recorder.spent and self._recorder.failing is None:
            self._fill()
            if not self._events:
                return None
            if self._events[0].at > until:
                self.clock = until
                return SPENT_TIME
            self._finish_epoch(heapq.heappop(self._events))
        return self._recorder.spent

    def go_on(self) -> None:
        """Takes up the trials that an earlier search has left, each where it stood."""
        running: list[tuple[Moment, Trial, int]] = []
        for number, trial in self._scheduler.past.trials.items():
            record = self._recorder.study.trial(number)
            assert record.began is not None
            self._live[trial.trial_id] = trial
            self._searcher.go_on(trial.trial_id, number)
            self._recorder.here(number)
            if record.state is State.RUNNING:
                running.append((max(record.began, record.last), trial, (record.epoch or record.inherited) + 1))
        for moment, trial, epoch in sorted(running, key=lambda one: one[0].order):
            self.clock = moment.at
            self._begin_epoch(trial, epoch)
        self.clock = self._recorder.study.last.at

    def cut_off(self, trial: Trial | None = None) -> None:
        """Drops the epoch that a trial is in, or all; what was not worked on it yet does not count as worked."""
        dropped = [event for event in self._events if trial is None or event.trial is trial]
        self._events = [event for event in self._events if event not in dropped]
        heapq.heapify(self._events)
        self.worked -= sum(event.at - self.clock for event in dropped)

    def _fill(self) -> None:
        """Gives every free worker a trial, where there is one."""
        while True:
            self._add_trial()
            while (trial := self._scheduler.choose_trial_to_run(self) or self._pending()) is None:
                if not self._add_trial():  # a child may have taken the place of the trial that was to be chosen
                    return
            trial.set_status(Trial.RUNNING)
            trained = int(trial.run_metadata.last_result.get(RESOURCE, trial.config[INHERITED]))
            self._begin_epoch(trial, trained + 1)

    def _add_trial(self) -> bool:
        """Adds the trial that the searcher suggests, if it does."""
        trial_id = f"{self._started:06d}"
        suggestion = self._searcher.suggest(trial_id)
        if not isinstance(suggestion, dict):
            return False
        self._started += 1
        trial = Trial("simulated", config=suggestion, trial_id=trial_id, stub=True, _setup_default_resource=False)
        self._live[trial_id] = trial
        self._added.append(trial)
        self._scheduler.on_trial_add(self, trial)
        return True

    def _pending(self) -> Trial | None:
        while self._added and self._added[0].status != Trial.PENDING:
            self._added.popleft()
        return next((trial for trial in self._added if trial.status == Trial.PENDING), None)

    def _begin_epoch(self, trial: Trial, epoch: int) -> None:
        """Asks the curve for the epoch and puts its end into the queue."""
        config = trial.config["config"]
        try:
            returned: Any = self._curve(dict(config), epoch)
        except (Exception, SystemExit):  # what a user's curve raises is a failed trial, as what a model raises is
            seconds, result = 0.0, {DONE: True, ERROR: traceback.format_exc()}
        else:
            metrics, seconds = self._checked(returned)
            result = {RESOURCE: epoch, **{f"{METRICS}/{name}": value for name, value in metrics.items()}}
        self.worked += seconds
        heapq.heappush(self._events, _Event(self.clock + seconds, next(self._order), trial, result))

    def _finish_epoch(self, event: _Event) -> None:
        """Reports an epoch and does what the scheduler decides, as Ray's controller does."""
        self.clock, trial, result = event.at, event.trial, event.result
        if result.get(DONE):
            trial.run_metadata.last_result = {**trial.run_metadata.last_result, **result}
            self.stop_trial(trial)
            return
        told = {**result, "trial_id": trial.trial_id, "training_iteration": result[RESOURCE], "time_total_s": event.at}
        decision = self._scheduler.on_trial_result(self, trial, told)
        trial.run_metadata.last_result = told
        if decision == TrialScheduler.STOP:
            self.stop_trial(trial)
        elif decision == TrialScheduler.PAUSE:
            trial.set_status(Trial.PAUSED)
        elif trial.status == Trial.RUNNING:
            self._begin_epoch(trial, result[RESOURCE] + 1)

    def _checked(self, returned: Any) -> tuple[dict[str, float], float]:
        """What the curve returned, if it is metrics and seconds."""
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise InputError(f"the curve must return a pair (metrics, seconds), got {returned!r:.80}")
        metrics, seconds = returned
        spec = self._recorder.study.spec
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
