"""Ray's hooks: every proposal, report and outcome passes through here to the recorder, before Ray acts on it."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from hpo import samplers, schedulers
from hpo.engine.controller import abandon, allow, hurry, settle
from hpo.engine.deaths import death, machine_left, unseen
from hpo.engine.past import Past, result_of
from hpo.engine.recorder import Live, Recorder
from hpo.engine.words import DONE, ERROR, INHERITED, LATE, MEMORY, METRICS, THREADS
from hpo.samplers.exploration import explorer
from hpo.schedulers import RESOURCE
from hpo.schedulers.pausing import Pausing
from hpo.schedulers.population import Population
from hpo.trial import Failure, Metrics, Outcome, State, TrialRecord

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

_STOPPED = Outcome(State.PRUNED, "stopped")
"""What a trial comes to where nobody has said it before."""
_METRIC_PREFIX = f"{METRICS}/"
"""Ray flattens nested results with slashes."""
_NEVER_BY_RAY = cast(int, math.nan)
"""How many failures Ray forgives a trial: no number is as small. The recorder begins it again; both would train it."""


class StudySearcher(Live, Searcher):
    """Ray asks here for configs, and says here that a trial has ended."""

    def __init__(self, recorder: Recorder, scheduler: "RecordingScheduler") -> None:
        super().__init__()
        self._recorder = recorder
        self._scheduler = scheduler
        self._numbers: dict[str, int] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Nothing to set: the study knows its metric."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial's number and config as a dict, None while no slot is free for it, FINISHED after the last."""
        if self._recorder.over():  # Ray would ask again and again where no trial is there, and do nothing else
            return Searcher.FINISHED
        if self._recorder.leaving():
            return None
        if self._recorder.only_past:
            self._scheduler.stir()
        trial = self._scheduler.born()
        if trial is None and self._recorder.has_room:
            trial = self._recorder.recover()
        if trial is None:
            if self._recorder.complete:  # a trial that has not ended may still have children, or lose its machine
                return None if self._recorder.live else Searcher.FINISHED
            if not self._recorder.has_room or self._recorder.reserved_for is not None or self._scheduler.has_waiting:
                return None
            trial = self._recorder.start()
        self._numbers[trial_id] = trial.number
        told = {"number": trial.number, "config": trial.config, INHERITED: trial.inherited}
        had = {epoch: int(metrics[THREADS]) for epoch, metrics in trial.reports.items() if THREADS in metrics}
        return {**told, THREADS: had} if had else told

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Records the outcome of a trial that was stopped, has ended, or whose worker died."""
        number = self._numbers.pop(trial_id)
        if (result or {}).get(LATE):
            self._recorder.cut(number)
        elif not self._recorder.is_lost(number):
            self._recorder.end(number, _outcome(result or {}))

    def go_on(self, trial_id: str, number: int) -> None:
        """A trial that an earlier search has left has this id."""
        self._numbers[trial_id] = number

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study on disk is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def _outcome(result: Mapping[str, Any]) -> Outcome:
    """The outcome of a trial that no scheduler stopped."""
    if result.get(DONE):
        return Outcome(State.COMPLETE, "the objective ended by itself")
    return _STOPPED


class RecordingScheduler(Live, TrialScheduler):
    """A scheduler that sees a report only after the study has it; the decision is the wrapped scheduler's.

    Args:
        recorder: of the study.
        left_lately: whether a machine has left, when a worker has died and nobody knows why.
        lends: the CPUs of a slot, where trials may have those of slots that stay empty; 0 where they may not.
        doubt: is called when a machine does not see the artifacts; says why none can store anything, where none can.
        miss: is called with the address of a machine that was lost with a worker.
    """

    def __init__(
        self,
        recorder: Recorder,
        left_lately: Callable[[], bool] = lambda: False,
        lends: Callable[[], float] = lambda: 0.0,
        doubt: Callable[[], str | None] = lambda: None,
        miss: Callable[[str], None] = lambda address: None,
    ) -> None:
        super().__init__()
        self._left_lately, self._lends, self._doubt, self._miss = left_lately, lends, doubt, miss
        study, spec = recorder.study, recorder.study.spec
        resume, explore = samplers.resumption(study.record), explorer(spec)
        self._inner = schedulers.build(spec, study.goal, resume, explore, recorder.left.by_trials, study.reference)
        self._recorder = recorder
        recorder.pausing = isinstance(self._inner, Pausing)
        self._controller: TuneController | None = None
        self._born: list[TrialRecord] = []
        self.past = Past(study, self._inner)
        """The trials that an earlier search has left."""
        self._first: dict[int, Trial] = dict(self.past.trials)
        self._called: list[Trial] = []
        """Trials that were to run, in this order; those that no longer wait for a worker are dropped from the end."""
        self._supports_buffered_results = False
        if self.past.undecided is not None:
            self._catch_up(self.past.undecided)
        for child in map(study.trial, list(self.past.trials)):
            if child.replaces is not None and recorder.is_paused(child.replaces):
                self._replace_by(self.past, child, child.replaces)
                del self.past.trials[child.replaces]

    def heed_states(self, stored: Callable[[int], int | None]) -> None:
        """Tells `pbt` which states trials of an earlier search can lend: only what is stored counts.

        Args:
            stored: number -> the epoch of a trial's stored state, None without one.
        """
        if not isinstance(self._inner, Population):
            return
        for number, trial in self.past.trials.items():
            epoch = stored(number)
            self._inner.keeps(number, epoch)
            if trial.status == "PAUSED" and epoch != self._recorder.study.trial(number).epoch:
                trial.set_status("RUNNING")  # it was being stored when that search died: it is to begin again

    def _catch_up(self, number: int) -> None:
        """Decides on the report after which the earlier search died."""
        past: Any = self.past  # the only controller that there is yet
        trial, record = self.past.trials[number], self._recorder.study.trial(number)
        metrics = record.reports[record.epoch]
        result = result_of(trial, record.epoch, metrics, record.last.at)
        decision = self._decide(past, trial, result, metrics)
        trial.run_metadata.last_result = result
        if decision == TrialScheduler.STOP:
            del self.past.trials[number]
            self.on_trial_complete(past, trial, result)
            self._recorder.end(number, _STOPPED)
        elif decision == TrialScheduler.PAUSE:
            trial.set_status("PAUSED")

    def born(self) -> TrialRecord | None:
        """A child that is to be trained now; it is given away once."""
        return self._born.pop() if self._born else None

    @property
    def has_waiting(self) -> bool:
        """Whether a paused trial is to go on before a new one starts."""
        self._tell()
        return isinstance(self._inner, Pausing) and self._inner.next is not None

    def _tell(self) -> None:
        """What a pausing scheduler must know before it is asked."""
        if isinstance(self._inner, Pausing):
            self._inner.no_new = self._recorder.complete
            self._inner.idle = not self._recorder.running
            self._inner.reserved_for = self._recorder.reserved_for

    @property
    def metric(self) -> str:
        """The study's objective."""
        return self._recorder.study.spec.objective.metric

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Nothing to set: the wrapped scheduler was built with its metric."""
        return True

    def on_trial_add(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Passed on, but for a trial that has begun again."""
        settle(tune_controller)
        self._controller = tune_controller
        trial.max_failures = _NEVER_BY_RAY
        self._called.append(trial)
        if self._known(trial) is trial:
            self._inner.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Records the report, then asks for the decision and keeps its reason."""
        number, metrics = int(trial.config["number"]), _metrics(result)
        lent = self._recorder.take_back(number)
        if self._recorder.repeats(number, int(result[RESOURCE])):
            return TrialScheduler.PAUSE if self._recorder.leaving() else TrialScheduler.CONTINUE
        self._recorder.report(number, int(result[RESOURCE]), metrics)
        decision = self._decide(tune_controller, trial, result, metrics)
        if decision == TrialScheduler.CONTINUE and self._recorder.leaving():
            return TrialScheduler.PAUSE  # for Ray alone: its state is stored, and in the study it runs
        if decision == TrialScheduler.CONTINUE:
            self._recorder.go_on(number)
            self._lend(tune_controller, trial, number, lent)
        return decision

    def _lend(self, tune_controller: "TuneController", trial: "Trial", number: int, before: int) -> None:
        """Lets a trial have the CPUs of slots that nobody wants for an epoch: who wants one then waits for its end."""
        cpus = self._lends()
        more = self._recorder.lend(number) if cpus and self._recorder.share and self._nobody_waits else 0
        if more != before:
            allow(tune_controller, trial, int(cpus * (1 + more)))

    @property
    def _nobody_waits(self) -> bool:
        """Whether no trial will take a slot now that is free."""
        if not self._recorder.complete or isinstance(self._inner, Population):
            return False
        return not (self.has_waiting if isinstance(self._inner, Pausing) else self._recorder.has_paused)

    def _decide(self, tune_controller: Any, trial: "Trial", result: dict[str, Any], metrics: Metrics) -> str:
        number, epoch, spec = int(trial.config["number"]), int(result[RESOURCE]), self._recorder.study.spec
        for name in (objective.metric for objective in spec.objectives):
            if not math.isfinite(metrics.get(name, math.nan)):
                self._recorder.decide(number, Outcome(State.PRUNED, f"diverged: {name} is {metrics.get(name)}"))
                return TrialScheduler.STOP
        self._tell()
        decision: str = self._inner.on_trial_result(tune_controller, self._known(trial), {**result, **metrics})
        if epoch >= spec.training.epochs:
            self._recorder.decide(number, Outcome(State.COMPLETE))
            return TrialScheduler.STOP
        if decision == TrialScheduler.STOP and number == self._recorder.finalist:
            return TrialScheduler.CONTINUE
        if decision == TrialScheduler.STOP:
            self._recorder.decide(number, Outcome(State.PRUNED, f"stopped by {spec.scheduler.name}"))
        elif decision == TrialScheduler.PAUSE:
            self._recorder.pause(number)
        elif (reason := self._recorder.must_end(number)) is not None:
            self._recorder.decide(number, Outcome(State.PRUNED, reason))
            return TrialScheduler.STOP
        return decision

    def on_trial_complete(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> None:
        """Passed on with the last metrics; a trial that failed or diverged is taken out instead of compared."""
        if ERROR in result:
            kind = Failure.MEMORY if result.get(MEMORY) else Failure.ERROR
            if self._recorder.fail(int(trial.config["number"]), kind, str(result[ERROR])):
                return
        metrics = _metrics(result)
        if ERROR not in result and math.isfinite(metrics.get(self.metric, math.nan)):
            self._inner.on_trial_complete(tune_controller, self._known(trial), {**result, **metrics})
        else:
            self._inner.on_trial_remove(tune_controller, self._known(trial))

    def on_trial_error(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """A trial whose machine was lost will begin again; of any other it keeps why the worker died."""
        number = int(trial.config["number"])
        if self._recorder.leaving():  # the signal may have come to the worker too
            self._recorder.set_aside(number)
            return
        if unseen(trial):
            self._recorder.gone = self._recorder.gone or self._doubt()
            self._recorder.set_aside(number)
            return
        hung = self._recorder.hangs(number)
        if machine_left(trial, lambda: not hung and self._left_lately()):
            if address := abandon(trial):
                self._miss(address)
            again = self._recorder.lose(number)
        else:
            again = self._recorder.fail(number, *death(trial, hung))
        if not again:
            self._inner.on_trial_error(tune_controller, self._known(trial))

    def on_trial_remove(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Passed on."""
        self._inner.on_trial_remove(tune_controller, self._known(trial))

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """The wrapped scheduler's choice, where there is room; paused trials that nobody will choose any more end."""
        if self._recorder.leaving():
            return None
        if not self._recorder.has_room:
            return self._youngest()
        self._tell()
        if self._replace(tune_controller) or self._begin_again(tune_controller):
            return None  # the child comes first
        trial = self._inner.choose_trial_to_run(tune_controller)
        if trial is None and self._recorder.complete and not self._recorder.running:
            self._end_paused(tune_controller)
        if trial is None or trial.status == "PENDING":
            return self._youngest()
        if self._recorder.is_paused(int(trial.config["number"])):
            self._recorder.resume(int(trial.config["number"]))
            self._called.append(trial)
        return trial

    def trains(self, seconds: float) -> bool:
        """Whether a trial trains or is being stored, for which there are so many seconds.

        One that waits for a worker has nothing to store.
        """
        if self._controller is None:
            return False
        hurry(self._controller, seconds)
        return any(trial.status == "RUNNING" for trial in self._controller.get_live_trials())

    def stir(self) -> None:
        """Goes on with trials of an earlier search, or ends them: Ray, which knows none, waits for the next one."""
        past: Any = self.past
        self._tell()
        if not self._recorder.has_room or self._replace(past) or self._begin_again(past):
            return
        if self._recorder.complete and not self._recorder.running:
            self._end_paused(past)

    def _youngest(self) -> "Trial | None":
        """The trial that was called last of those that wait for a worker: it gets the next warm one.

        For an older one a worker is being started. Ray would stop that one where the trial gets another, and a machine
        that joins would not get to work as long as epochs are shorter than the start of a worker.
        """
        while self._called and self._called[-1].status != "PENDING":
            self._called.pop()
        return self._called[-1] if self._called else None

    def _known(self, trial: "Trial") -> "Trial":
        """A trial as the wrapped scheduler knows it: one that has begun again is two for Ray, and Ray's see the first.

        Those that pause need the last, which is the one that they may resume.
        """
        if isinstance(self._inner, Pausing):
            return trial
        return self._first.setdefault(int(trial.config["number"]), trial)

    def _replace(self, tune_controller: "TuneController") -> bool:
        """Ends a paused trial in favour of another one's child, where the scheduler breeds and wants it."""
        if not isinstance(self._inner, Population) or self._recorder.finalist is not None:
            return False
        child = self._inner.offspring()
        if child is None:
            return False
        self._born.append(self._recorder.bear(child))  # first of all: the parent's state is there now
        self._replace_by(tune_controller, self._born[-1], child.number)
        return True

    def _replace_by(self, tune_controller: Any, child: TrialRecord, number: int) -> None:
        """Ends a paused trial, whose child has its place."""
        assert child.lineage is not None
        reason = f"replaced by a child of trial {child.lineage['parents'][0]}"
        self._recorder.decide(number, Outcome(State.PRUNED, reason))
        trial = self._waiting(tune_controller, number)
        if not self._recorder.is_lost(number) and trial in tune_controller.get_trials():
            tune_controller.stop_trial(trial)
        else:  # of an earlier search
            self._inner.on_trial_complete(tune_controller, trial, {})
            self._recorder.end(number, _STOPPED)

    def _begin_again(self, tune_controller: "TuneController") -> bool:
        """Lets a paused trial that is to go on begin again, where its machine was lost before its state was stored."""
        number = self._inner.next if isinstance(self._inner, Pausing) else None
        if number is None or not self._recorder.is_lost(number):
            return False
        assert isinstance(self._inner, Pausing)
        self._inner.promote(number)
        self._inner.on_trial_complete(tune_controller, self._waiting(tune_controller, number), {})  # it waits no more
        self._recorder.resume(number)
        return True

    def _waiting(self, tune_controller: "TuneController", number: int) -> "Trial":
        """A paused trial, of Ray's or from before."""
        return _latest(tune_controller).get(number) or self.past.trials[number]

    def _end_paused(self, tune_controller: "TuneController") -> None:
        """Nothing runs, nothing new will come, and the scheduler wants none of the paused trials."""
        trials = {**self.past.trials, **_latest(tune_controller)}
        paused = {number: trial for number, trial in trials.items() if self._recorder.is_paused(number)}
        lost = {number for number in paused if self._recorder.is_lost(number)}
        if any(paused[number].status != "PAUSED" for number in paused.keys() - lost):  # a checkpoint is being stored
            return
        for number, trial in paused.items():
            if number in lost:
                self._recorder.end(number, _STOPPED)
            else:
                tune_controller.stop_trial(trial)

    def debug_string(self) -> str:
        """The wrapped scheduler's."""
        return str(self._inner.debug_string())

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study on disk is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def _latest(tune_controller: "TuneController") -> "dict[int, Trial]":
    """Ray's trials by number; one that has begun again is there twice, and its last counts."""
    return {int(trial.config["number"]): trial for trial in tune_controller.get_trials()}


def _metrics(result: Mapping[str, Any]) -> dict[str, float]:
    return {
        key.removeprefix(_METRIC_PREFIX): float(value)
        for key, value in result.items()
        if key.startswith(_METRIC_PREFIX)
    }
