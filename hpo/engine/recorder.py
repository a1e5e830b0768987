"""Ray's hooks: every proposal, report and outcome passes through here into the study, before anything acts on it."""

import errno
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayTaskError
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from hpo import samplers, schedulers
from hpo.engine.controller import allow, settle
from hpo.engine.past import Past, result_of
from hpo.engine.words import DONE, ERROR, INHERITED, LATE, MEMORY, METRICS, THREADS
from hpo.gpu import GpuBudget
from hpo.samplers.exploration import explorer
from hpo.schedulers import RESOURCE
from hpo.schedulers.pausing import Pausing
from hpo.schedulers.population import Child, Population
from hpo.spec import Failures
from hpo.study import Failure, Left, Metrics, Observer, Outcome, State, Study, TrialRecord

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

SPENT_EPOCHS, SPENT_TIME = "stopped by the budget of epochs", "stopped by the time limit"
SPENT_GPU = "stopped by the budget of GPU hours"
"""Why a search stops its trials."""
_STOPPED = Outcome(State.PRUNED, "stopped")
"""What a trial comes to where nobody has said it before."""
_METRIC_PREFIX = f"{METRICS}/"
"""Ray flattens nested results with slashes."""
_PATIENCE_SECONDS, _DOUBLINGS = 1.0, 6
_LOSSES = 3
"""How many machines one trial may lose: perhaps it takes more memory than they have."""
_MACHINES_LOST = f"its machine was lost {_LOSSES + 1} times: perhaps by this trial, which takes too much memory"
_NEVER_BY_RAY = cast(int, math.nan)
"""How many failures Ray forgives a trial: no number is as small. The recorder begins it again; both would train it."""
_NODE_DIED = "its node has died"
"""Ray keeps the kind of a worker's death only in these words."""


class Live:
    """An object that Ray's copies share.

    Tuner copies what it is given, and pickles it for a restore that is never asked for: here a copy is the object
    itself and a pickle is empty, since the study on disk is the only state.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Recorder(Live):
    """Writes what happens into the study and tells the observers; holds each running trial's verdict until it ends.

    Trials that an earlier search has left are as if their machine had been lost: they begin again where their stored
    state stands, and what they repeat is not recorded again.

    Args:
        study: has its sampler.
        observers: are told what has been recorded.
        slots: how many trials may run at once, or what says so now.
        left: what the budget leaves.
        failures: what is done about trials that fail.
        gpus: that each trial gets.
        timed: whether the search has a time limit.
    """

    def __init__(
        self,
        study: Study,
        observers: Sequence[Observer],
        slots: int | Callable[[], int],
        left: Left,
        failures: Failures | None = None,
        gpus: float = 1.0,
        timed: bool = False,
    ) -> None:
        self.study = study
        self.by_trials = not timed and left.trials is not None and left.epochs is left.gpu_hours is None
        """Whether the number of trials is all that ends the search."""
        self._gpu = None if left.gpu_hours is None else GpuBudget(study, left.gpu_hours, gpus)
        self._observers = observers
        self._slots = slots if callable(slots) else lambda: slots
        self._left = left
        self.rules = failures or study.spec.failures
        """What is done about trials that fail."""
        self.patience = _PATIENCE_SECONDS
        """Seconds before a trial that has failed begins again, the first time; then twice as long, and so on."""
        self._not_before: dict[int, float] = {}
        self._alone: set[int] = set()
        """Trials that had not enough memory beside others."""
        self._causes: list[str] = []
        """Of the trials that failed one after another."""
        self.failing: str | None = None
        """Why the search is to end since its trials only fail."""
        self.late = False
        """Whether the time was over for a worker."""
        self._heard: dict[int, float] = {}
        """When a trial began or reported last, on the clock of `time.monotonic`."""
        self.full: str | None = None
        """Why nothing can be stored any more: a disk is full, which is no trial's fault."""
        self.until: Callable[[], str | None] | None = None
        """Says why the search is to end, when it is; None where the engine itself cuts trials off."""
        self.over: Callable[[], bool] = lambda: False
        """Says whether it has ended."""
        self._started = 0
        self._reports = 0
        self._running: set[int] = set()
        self._paused: set[int] = set()
        self._lent: Counter[int] = Counter()
        """Slots that trials have beside their own, while nobody wants them."""
        self._verdicts: dict[int, Outcome] = {}
        self._lost: set[int] = set()
        """Trials whose machine was lost and that have not begun again; they wait for a slot, or are paused."""
        self._losses: Counter[int] = Counter()
        self._recorded: dict[int, int] = {}
        """Of the trials that were lost, the last epoch that is in the study."""
        for trial in study.unfinished():
            self._take_up(trial)

    def _take_up(self, trial: TrialRecord) -> None:
        self._started += not trial.inherited
        self._lost.add(trial.number)
        self._recorded[trial.number] = trial.epoch
        if trial.state is State.PAUSED:
            self._paused.add(trial.number)
        for observer in self._observers:
            observer.trial_started(trial)

    @property
    def running(self) -> int:
        """How many trials run, or are about to."""
        return len(self._running | (self._lost - self._paused))

    @property
    def live(self) -> int:
        """How many trials have not ended."""
        return len(self._running | self._paused | self._lost)

    @property
    def has_room(self) -> bool:
        """Whether another trial may run now."""
        if len(self._running) + self._lent.total() >= self._slots() or self.hopeless:
            return False
        if self._alone & (self._running | (self._lost - self._paused)) and self._running:
            return False
        return self.until is None or (self.until() is None and self.spent is None and self._free_epochs > 0)

    @property
    def busy(self) -> bool:
        """Whether a trial runs, or is about to, on a machine that is there."""
        return bool(self._running)

    def must_end(self) -> str | None:
        """Why a trial that has reported is not to train another epoch, where the engine lets trials end theirs."""
        if self.until is None:
            return None
        return self.spent or (SPENT_EPOCHS if self._free_epochs < 0 else self.until())

    @property
    def hopeless(self) -> bool:
        """Whether the search is to end at once, and to leave what runs to the next one."""
        return self.failing is not None or self.full is not None

    @property
    def only_past(self) -> bool:
        """Whether all that is left are paused trials of an earlier search, which Ray does not know."""
        return bool(self._paused) and not self._running and self._paused <= self._lost

    @property
    def _free_epochs(self) -> float:
        """Epochs of the budget that no running trial is about to train."""
        return math.inf if self._left.epochs is None else self._left.epochs - self._reports - len(self._running)

    @property
    def complete(self) -> bool:
        """Whether all trials of the budget were started; paused ones may still go on."""
        return self.study.exhausted or (self._left.trials is not None and self._started >= self._left.trials)

    @property
    def spent(self) -> str | None:
        """Which limit of the whole study's training is used up."""
        if self._left.epochs is not None and self._reports >= self._left.epochs:
            return SPENT_EPOCHS
        return SPENT_GPU if self._gpu is not None and self._gpu.spent else None

    def start(self) -> TrialRecord:
        """Asks the study for a trial."""
        trial = self.study.ask()
        self._started += 1
        return self._begun(trial)

    def bear(self, child: Child) -> TrialRecord:
        """Starts a child; it goes on with the training of the member that ends for it, so no trial is counted."""
        return self._begun(self.study.bear(child.config, child.parent, child.epoch, child.number))

    def _begun(self, trial: TrialRecord) -> TrialRecord:
        self._run(trial.number)
        for observer in self._observers:
            observer.trial_started(trial)
        return trial

    def _run(self, number: int) -> None:
        self._running.add(number)
        self._heard[number] = time.monotonic()
        if self._gpu is not None:
            self._gpu.begin(number)

    def _rest(self, number: int) -> None:
        self._running.discard(number)
        self.take_back(number)
        if self._gpu is not None:
            self._gpu.rest(number)

    @property
    def has_paused(self) -> bool:
        """Whether any trial waits."""
        return bool(self._paused)

    @property
    def share(self) -> int:
        """How many of the free slots a running trial that has none beside its own may have; none before all have begun.

        A trial whose machine was lost, and that is to begin again, has not begun.
        """
        if not self._lost <= self._paused:
            return 0
        slots = self._slots()
        return max(0, min(slots - self.running - self._lent.total(), slots // max(1, self.running) - 1))

    def lend(self, number: int) -> int:
        """Gives a trial its share of the slots that are free: how many."""
        self._lent[number] = self.share
        return self._lent[number]

    def take_back(self, number: int) -> int:
        """Frees the slots that a trial has beside its own: how many those were."""
        return self._lent.pop(number, 0)

    def report(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Records a report."""
        self._heard[number] = time.monotonic()
        self.study.report(number, epoch, metrics)
        self._reports += 1
        for observer in self._observers:
            observer.trial_reported(number, epoch, metrics)

    def pause(self, number: int) -> None:
        """Records that a trial waits; its slot is free."""
        self._rest(number)
        self._paused.add(number)
        self._causes.clear()
        self.study.pause(number)
        for observer in self._observers:
            observer.trial_paused(number)

    def resume(self, number: int) -> None:
        """Records that a paused trial takes a slot again, or is to begin again where its machine was lost."""
        self._paused.discard(number)
        if number not in self._lost:
            self._run(number)
        self.study.resume(number)
        for observer in self._observers:
            observer.trial_resumed(number)

    def lose(self, number: int) -> bool:
        """Notes that a trial's machine was lost; False where that has happened so often that it is the trial's fault.

        Its slot is free. It has not ended: it begins again where its last stored state stands.
        """
        self._losses[number] += 1
        if self._losses[number] > _LOSSES:
            return False
        self._set_aside(number)
        return True

    def _set_aside(self, number: int) -> None:
        """Its slot is free until it begins again."""
        self._rest(number)
        self._lost.add(number)
        self._recorded[number] = self.study.trial(number).epoch

    def recover(self) -> TrialRecord | None:
        """The lost trial that takes a slot now, if there is one; it is given away once."""
        now = time.monotonic()
        waiting = {number for number in self._lost - self._paused if self._not_before.get(number, now) <= now}
        if self._running:
            waiting -= self._alone
        if not waiting:
            return None
        number = min(waiting, key=lambda number: (number in self._alone, number))
        self._lost.discard(number)
        self._run(number)
        return self.study.trial(number)

    def fail(self, number: int, failure: Failure, reason: str) -> bool:
        """Notes that a trial has failed; True where it is to begin again, else the verdict is kept until it ends.

        Where memory is what it lacked it begins again once, alone. Else so often as the rules say, after ever longer.
        """
        if is_full(reason):
            self.full = next(line for line in reason.splitlines() if is_full(line)).strip()
            self._set_aside(number)
            return True
        retries = self.study.trial(number).retries
        again = failure is Failure.MEMORY and number not in self._alone
        if not again and retries >= self.rules.max_retries:
            self.decide(number, Outcome(State.FAILED, reason, failure))
            return False
        if again:
            self._alone.add(number)
        self._not_before[number] = time.monotonic() + self.patience * 2 ** min(retries, _DOUBLINGS)
        self.study.retry(number)
        self._set_aside(number)
        return True

    def hangs(self, number: int) -> bool:
        """Whether nothing was heard of a trial for as long as it may be silent."""
        timeout = self.rules.trial_timeout
        return timeout is not None and time.monotonic() - self._heard.get(number, math.inf) >= timeout

    def _count(self, record: TrialRecord) -> None:
        """Counts the trials that fail one after another."""
        if record.state is not State.FAILED:
            self._causes.clear()
            return
        self._causes.append(record.cause or "")
        count = len(self._causes)
        if count < self.rules.max_failures:
            return
        (cause, often), *_ = Counter(self._causes).most_common()
        self.failing = (
            f"the last {count} trials failed one after another, so the search has ended; {often} of them: {cause};"
            f" `hpo trials --study {self.study.name}` shows all, failures.max_failures says how many it takes"
        )

    def here(self, number: int) -> None:
        """A trial that an earlier search has left is there as it was, as virtual ones are."""
        self._lost.discard(number)
        if number not in self._paused:
            self._run(number)

    def is_lost(self, number: int) -> bool:
        """Whether a trial's machine was lost, and it has not begun again."""
        return number in self._lost

    def repeats(self, number: int, epoch: int) -> bool:
        """Whether a trial that has begun again reports what is in the study."""
        self._heard[number] = time.monotonic()
        return epoch <= self._recorded.get(number, 0)

    def is_paused(self, number: int) -> bool:
        """Whether a trial waits."""
        return number in self._paused

    def decide(self, number: int, outcome: Outcome) -> None:
        """Keeps why a trial is about to be stopped."""
        self._verdicts[number] = outcome

    def end(self, number: int, otherwise: Outcome) -> None:
        """Records how a trial ended: as decided, or `otherwise`."""
        if number in self._paused:
            lost = "; its machine was lost before it was stored" if self._is_gone(number) else ""
            otherwise = Outcome(State.PRUNED, f"paused by {self.study.spec.scheduler.name} and not promoted{lost}")
        self._rest(number)
        for numbers in (self._paused, self._lost):
            numbers.discard(number)
        record = self.study.end(number, self._verdicts.pop(number, otherwise))
        self._alone.discard(number)
        self._count(record)
        for observer in self._observers:
            observer.trial_ended(record)

    def cut(self, number: int) -> None:
        """Ends a trial whose time was over within an epoch; one without a report is left to the next search."""
        self.late = True
        if self.study.trial(number).reports:
            self.end(number, Outcome(State.PRUNED, SPENT_TIME))
        else:
            self._rest(number)

    def close(self, reason: str | None) -> None:
        """Ends the trials that are still running or paused where a limit of the budget (`reason`) has ended the search.

        Those that have not reported yet stay as they are, for the next search to go on with. So do all without a
        reason: then this one was interrupted.
        """
        if self._gpu is not None:
            self._gpu.note()
        if reason is None:
            return
        for number in sorted(self._running | self._paused | self._lost):
            if self.study.trial(number).reports:
                self.end(number, Outcome(State.PRUNED, reason))

    def _is_gone(self, number: int) -> bool:
        """Whether the machine of a paused trial was lost in this search, before it was stored."""
        return number in self._lost and self._losses[number] > 0


def is_full(told: str) -> bool:
    """Whether an error says that there is no room on a disk, or in a user's quota."""
    return any(f"[Errno {number}]" in told for number in (errno.ENOSPC, errno.EDQUOT))


class StudySearcher(Searcher):
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
        if self._recorder.only_past:
            self._scheduler.stir()
        trial = self._scheduler.born()
        if trial is None and self._recorder.has_room:
            trial = self._recorder.recover()
        if trial is None:
            if self._recorder.complete:  # a trial that has not ended may still have children, or lose its machine
                return None if self._recorder.live else Searcher.FINISHED
            if not self._recorder.has_room or self._scheduler.has_waiting:
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


class RecordingScheduler(TrialScheduler):
    """A scheduler that sees a report only after the study has it; the decision is the wrapped scheduler's.

    Args:
        recorder: of the study.
        left_lately: whether a machine has left, when a worker has died and nobody knows why.
        lends: the CPUs of a slot, where trials may have those of slots that stay empty; 0 where they may not.
    """

    def __init__(
        self,
        recorder: Recorder,
        left_lately: Callable[[], bool] = lambda: False,
        lends: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__()
        self._left_lately, self._lends = left_lately, lends
        study, spec = recorder.study, recorder.study.spec
        resume, explore = samplers.resumption(spec, study.record), explorer(spec)
        self._inner = schedulers.build(spec, study.goal, resume, explore, recorder.by_trials, study.reference)
        self._recorder = recorder
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
        """Where trials lend their states: of those of an earlier search only what is stored counts.

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
        return isinstance(self._inner, Pausing) and self._inner.waiting() is not None

    def _tell(self) -> None:
        """What a pausing scheduler must know before it is asked."""
        if isinstance(self._inner, Pausing):
            self._inner.no_new = self._recorder.complete
            self._inner.idle = not self._recorder.running

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
        trial.max_failures = _NEVER_BY_RAY
        self._called.append(trial)
        if self._known(trial) is trial:
            self._inner.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Records the report, then asks for the decision and keeps its reason."""
        number, metrics = int(trial.config["number"]), _metrics(result)
        lent = self._recorder.take_back(number)
        if self._recorder.repeats(number, int(result[RESOURCE])):
            return TrialScheduler.CONTINUE
        self._recorder.report(number, int(result[RESOURCE]), metrics)
        decision = self._decide(tune_controller, trial, result, metrics)
        if decision == TrialScheduler.CONTINUE:
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
        if decision == TrialScheduler.STOP:
            self._recorder.decide(number, Outcome(State.PRUNED, f"stopped by {spec.scheduler.name}"))
        elif decision == TrialScheduler.PAUSE:
            self._recorder.pause(number)
        elif (reason := self._recorder.must_end()) is not None:
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
        left = _machine_left(trial, lambda: not self._recorder.hangs(number) and self._left_lately())
        if left and self._recorder.lose(number):
            return
        if left:
            self._recorder.decide(number, Outcome(State.FAILED, _MACHINES_LOST, Failure.MACHINE))
        elif self._recorder.fail(number, *self._death(number, trial)):
            return
        self._inner.on_trial_error(tune_controller, self._known(trial))

    def _death(self, number: int, trial: "Trial") -> tuple[Failure, str]:
        """What became of a worker, and what is told of it."""
        error = _error(trial)
        if isinstance(error, OutOfMemoryError):
            return Failure.MEMORY, f"the worker was killed: its machine ran out of memory: {error}"
        if isinstance(error, ActorDiedError) and self._recorder.hangs(number):
            return Failure.HANG, "no report came within failures.trial_timeout, so its worker was killed"
        return Failure.DEATH, _death(trial)

    def on_trial_remove(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Passed on."""
        self._inner.on_trial_remove(tune_controller, self._known(trial))

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """The wrapped scheduler's choice, where there is room; paused trials that nobody will choose any more end."""
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

    def stir(self) -> None:
        """Goes on with trials of an earlier search, or ends them: Ray, which knows none, waits for the next one."""
        past: Any = self.past
        self._tell()
        if not self._recorder.has_room or self._replace(past) or self._begin_again(past):
            return
        if self._recorder.complete and not self._recorder.running:
            self._end_paused(past)

    def _youngest(self) -> "Trial | None":
        """Of the trials that wait for a worker, the one that was called last: it gets the next warm one.

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
        child = self._inner.offspring() if isinstance(self._inner, Population) else None
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
        number = self._inner.waiting() if isinstance(self._inner, Pausing) else None
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


def _machine_left(trial: "Trial", lately: Callable[[], bool]) -> bool:
    """Whether the worker was lost with its machine, or with the way there, and did not die by itself."""
    error = _error(trial)
    if isinstance(error, ActorDiedError):
        return _NODE_DIED in error.error_msg or lately()
    return isinstance(error, ActorUnavailableError)


def _error(trial: "Trial") -> object:
    """What Ray caught."""
    file = Path(trial.pickled_error_file) if trial.pickled_error_file else None
    return cloudpickle.loads(file.read_bytes()) if file is not None and file.exists() else None


def _death(trial: "Trial") -> str:
    """What the worker raised, such as that it cannot store its trial, or what Ray says of a dead one and the causes."""
    file = Path(trial.error_file) if trial.error_file else None
    told = file.read_text(encoding="utf-8") if file is not None and file.exists() else ""
    error = _error(trial)
    if isinstance(error, RayTaskError) or getattr(error, "actor_init_failed", False):
        return told
    return f"{told}the worker process died: out of memory, a crash in native code, or a module that it cannot import"


def _metrics(result: Mapping[str, Any]) -> dict[str, float]:
    return {
        key.removeprefix(_METRIC_PREFIX): float(value)
        for key, value in result.items()
        if key.startswith(_METRIC_PREFIX)
    }
