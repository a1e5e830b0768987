"""Ray Tune as the engine: its searcher, scheduler and stopper pass all on to the controller, and decide nothing."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from hpo.controller import Controller, Drop, Failed, Finished, Late, Lost, NothingLeft, Order, Resume, SetAside, Start
from hpo.engine.ray.messages import ERROR, INHERITED, LATE, MEMORY, METRICS, THREADS
from hpo.engine.ray.tune_controller import abandon, allow, hurry, settle
from hpo.engine.ray.worker_deaths import death, machine_left, unseen
from hpo.schedulers import RESOURCE, Decision
from hpo.study.trial import Failure, TrialRecord

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

_METRIC_PREFIX = f"{METRICS}/"
"""Ray flattens nested results with slashes."""
_NEVER_BY_RAY = cast(int, math.nan)
"""Failures that Ray forgives a trial. NaN compares false, which disables Tune's own retries."""
_DECISIONS = {
    Decision.CONTINUE: TrialScheduler.CONTINUE,
    Decision.PAUSE: TrialScheduler.PAUSE,
    Decision.STOP: TrialScheduler.STOP,
}


class Uncopied:
    """An object that Ray's copies share: everything that Tuner is given and that knows the study.

    Tuner copies what it is given, and pickles it for a restore that is never asked for. A copy is the object itself
    here, and a pickle is empty: the study on disk is the only state, and the connection of a study to its database
    could not be pickled.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Driver(Uncopied):
    """Knows which of Ray's trials is which of the study's.

    Args:
        controller: decides.
        over: says whether the search has ended.
        leaving: says whether a signal has come.
        left_lately: says whether a machine has left, when a worker has died and nobody knows why.
        lends: the CPUs of a slot, where trials may have those of slots that stay empty; 0 where they may not.
        doubt: is called when a machine does not see the artifacts; says why none can store anything, where none can.
        miss: is called with the address of a machine that was lost with a worker.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        over: Callable[[], bool] = lambda: False,
        leaving: Callable[[], bool] = lambda: False,
        left_lately: Callable[[], bool] = lambda: False,
        lends: Callable[[], float] = lambda: 0.0,
        doubt: Callable[[], str | None] = lambda: None,
        miss: Callable[[str], None] = lambda address: None,
    ) -> None:
        self._controller, self.over, self._leaving = controller, over, leaving
        self._left_lately, self._lends, self._doubt, self._miss = left_lately, lends, doubt, miss
        self._tune: TuneController | None = None
        self._order: Start | Resume | Drop | None = None
        """What the controller has said last, while Ray has not asked for it: it asks for new trials and for paused ones
        in different ways."""
        self._trials: dict[int, Trial] = {}
        """Live trial -> Ray's; one that has restarted is another one for Ray, and the last counts."""
        self._storing: dict[int, Trial] = {}
        """Trials that pause, while their state is being stored."""
        self._called: list[Trial] = []
        """Trials that were to run, in this order; those that no longer wait for a worker are dropped from the end."""

    # ---- what Ray asks -----------------------------------------------------------------------------------------------

    def suggest(self) -> dict[str, Any] | str | None:
        """A trial to add, as its worker is told of it; None while there is none, FINISHED after the last."""
        if self.over():  # Ray would ask again and again where no trial is there, and do nothing else
            return Searcher.FINISHED
        match self._asked():
            case Start(trial):
                self._order = None
                return _told(trial)
            case NothingLeft():
                return Searcher.FINISHED
        return None

    def choose(self, tune_controller: "TuneController") -> "Trial | None":
        """The trial that is to have the next worker: a paused one that is resumed, else the one that was added last."""
        while not self._leaving():
            match self._asked():
                case Resume(number):
                    self._order = None
                    self._called.append(self._trials[number])
                    return self._trials[number]
                case Drop(number):
                    self._order = None
                    tune_controller.stop_trial(self._trials.pop(number))
                case _:
                    return self._youngest()
        return None

    def added(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Ray has a trial that was suggested."""
        settle(tune_controller)
        self._tune = tune_controller
        trial.max_failures = _NEVER_BY_RAY
        self._called.append(trial)
        self._trials[_number(trial)] = trial

    def reported(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Passes a report on; the decision in Ray's words."""
        number = _number(trial)
        lent = self._controller.slots.lent(number)
        machine = f"process {result.get('pid')} on {result.get('hostname')}"
        decision = self._controller.report(number, int(result[RESOURCE]), _metrics(result), machine)
        if decision is Decision.PAUSE:
            self._storing[number] = trial
        elif decision is Decision.CONTINUE and (live := self._controller.live(number)) and not live.repeating:
            self._lend(tune_controller, trial, number, lent)
        return _DECISIONS[decision]

    def ended(self, trial: "Trial", result: Mapping[str, Any]) -> None:
        """A trial has stopped: by itself, or since the controller has said so and has recorded it."""
        number = _number(trial)
        if result.get(LATE):
            self._controller.ended(number, Late())
        elif ERROR in result:
            kind = Failure.MEMORY if result.get(MEMORY) else Failure.ERROR
            self._controller.ended(number, Failed(kind, str(result[ERROR])))
        else:
            self._controller.ended(number, Finished())

    def died(self, trial: "Trial") -> None:
        """The worker of a trial has died, or its machine was lost."""
        number = _number(trial)
        if self._leaving():  # the signal may have come to the worker too
            self._controller.ended(number, SetAside())
            return
        if unseen(trial):
            trouble = self._controller.trouble
            trouble.gone = trouble.gone or self._doubt()
            self._controller.ended(number, SetAside())
            return
        hung = self._controller.hangs(number)
        if machine_left(trial, lambda: not hung and self._left_lately()):
            if address := abandon(trial):
                self._miss(address)
            self._controller.ended(number, Lost())
        else:
            self._controller.ended(number, Failed(*death(trial, hung)))

    def trains(self, seconds: float) -> bool:
        """Whether a trial trains or is being stored, for which there are so many seconds.

        One that waits for a worker has nothing to store.
        """
        if self._tune is None:
            return False
        hurry(self._tune, seconds)
        return any(trial.status == "RUNNING" for trial in self._tune.get_live_trials())

    # ---- asking the controller ---------------------------------------------------------------------------------------

    def _asked(self) -> Order:
        """The controller's order; it asks for the next one only when Ray has taken this one."""
        for number, trial in list(self._storing.items()):
            if trial.status != "RUNNING":
                del self._storing[number]
            if trial.status == "PAUSED":
                self._controller.stored(number)
        if self._order is not None:
            return self._order
        order = self._controller.next()
        self._order = order if isinstance(order, Start | Resume | Drop) else None
        return order

    def _youngest(self) -> "Trial | None":
        """The trial that was called last of those that wait for a worker: it gets the next warm one.

        For an older one a worker is being started. Ray would stop that one where the trial gets another, and a machine
        that joins would not get to work as long as epochs are shorter than the start of a worker.
        """
        while self._called and self._called[-1].status != "PENDING":
            self._called.pop()
        return self._called[-1] if self._called else None

    def _lend(self, tune_controller: "TuneController", trial: "Trial", number: int, before: int) -> None:
        """Lets a trial have the CPUs of slots that nobody wants for an epoch: who wants one then waits for its end."""
        cpus = self._lends()
        more = self._controller.lend(number) if cpus else 0
        if more != before:
            allow(tune_controller, trial, int(cpus * (1 + more)))


class TuneSearcher(Uncopied, Searcher):
    """Ray asks here for trials."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Nothing to set: the study knows its metric."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial."""
        return self._driver.suggest()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing: the scheduler gets the same event."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study on disk is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class TuneScheduler(Uncopied, TrialScheduler):
    """Ray tells here what happens to trials, and asks which one is to run."""

    def __init__(self, driver: Driver, metric: str) -> None:
        super().__init__()
        self._driver, self._objective = driver, metric
        self._supports_buffered_results = False

    @property
    def metric(self) -> str:
        """The study's objective."""
        return self._objective

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Nothing to set: the study knows its metric."""
        return True

    def on_trial_add(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """A trial that was suggested is there."""
        self._driver.added(tune_controller, trial)

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """A report."""
        return self._driver.reported(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> None:
        """The end of a trial that was running."""
        self._driver.ended(trial, result)

    def on_trial_error(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """The end of a worker."""
        self._driver.died(trial)

    def on_trial_remove(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Nothing: only the driver removes trials."""

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """The trial that is to run next."""
        return self._driver.choose(tune_controller)

    def debug_string(self) -> str:
        """Nothing for Ray's logs."""
        return ""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study on disk is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class TuneStopper(Uncopied, Stopper):
    """Ray asks here whether the search is over."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Single trials are the scheduler's business."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is over."""
        return self._driver.over()


def _number(trial: "Trial") -> int:
    return int(trial.config["number"])


def _told(trial: TrialRecord) -> dict[str, Any]:
    """What the worker of a trial is told of it."""
    told: dict[str, Any] = {"number": trial.number, "config": trial.config, INHERITED: trial.inherited}
    lent = {epoch: metrics.get(THREADS, math.nan) for epoch, metrics in trial.reports.items()}
    had = {epoch: int(threads) for epoch, threads in lent.items() if math.isfinite(threads)}
    return {**told, THREADS: had} if had else told


def _metrics(result: Mapping[str, Any]) -> dict[str, float]:
    return {
        key.removeprefix(_METRIC_PREFIX): float(value)
        for key, value in result.items()
        if key.startswith(_METRIC_PREFIX)
    }
