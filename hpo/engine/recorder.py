"""What a search has done and may still do: every report and outcome goes into the study, before anything acts on it."""

import errno
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self

from hpo.budget import Left
from hpo.gpu import GpuBudget
from hpo.schedulers.population import Child
from hpo.spec import Failures
from hpo.study import Study
from hpo.trial import Failure, Metrics, Observer, Outcome, State, TrialRecord

SPENT_EPOCHS, SPENT_TIME = "stopped by the budget of epochs", "stopped by the time limit"
SPENT_GPU = "stopped by the budget of GPU hours"
"""Why a search stops its trials."""
_PATIENCE_SECONDS, _DOUBLINGS = 1.0, 6
_LOSSES = 3
"""How many machines one trial may lose: perhaps it takes more memory than they have."""
_RENAMED = "the folder of study '{study}' is no longer at '{folder}': it was renamed or removed"
_MACHINES_LOST = f"its machine was lost {_LOSSES + 1} times: perhaps by this trial, which takes too much memory"


class Live:
    """An object that Ray's copies share: everything that Tuner is given and that knows the study.

    Tuner copies what it is given, and pickles it for a restore that is never asked for: here a copy is the object
    itself and a pickle is empty, since the study on disk is the only state. The connection of a study to its database
    could not be pickled, and a study that was would be read by nobody.
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
    """

    def __init__(
        self,
        study: Study,
        observers: Sequence[Observer],
        slots: int | Callable[[], int],
        left: Left,
        failures: Failures | None = None,
        gpus: float = 1.0,
    ) -> None:
        self.study = study
        self._gpu = None if left.gpu_hours is None else GpuBudget(study, left.gpu_hours, gpus)
        self._observers = observers
        self._slots = slots if callable(slots) else lambda: slots
        self.left = left
        """What the budget left at the beginning."""
        self.rules = failures or study.spec.failures
        """What is done about trials that fail."""
        self.patience = _PATIENCE_SECONDS
        """Seconds before a trial that has failed begins again, the first time; then twice as long, and so on."""
        self._not_before: dict[int, float] = {}
        self._alone: set[int] = set()
        """Trials that had not enough memory beside others."""
        self._causes: list[str] = []
        """Causes of the trials that failed one after another."""
        self.failing: str | None = None
        """Why the search is to end since its trials only fail."""
        self.late = False
        """Whether the time was over for a worker."""
        self._heard: dict[int, float] = {}
        """Moments when each trial began or reported last, on the clock of `time.monotonic`."""
        self.full: str | None = None
        """Why nothing can be stored any more: a disk is full, which is no trial's fault."""
        self.gone: str | None = None
        """Why no machine can store anything any more: the study's folder, or that of the artifacts, is not there."""
        self.until: Callable[[], str | None] | None = None
        """Says why the search is to end, when it is; None where the engine itself cuts trials off."""
        self.over: Callable[[], bool] = lambda: False
        """Says whether it has ended."""
        self.leaving: Callable[[], bool] = lambda: False
        """Says whether a signal has come: trials end their epoch and store their state, for the next search."""
        self.pausing = False
        """Whether a scheduler of ours pauses trials, so that any paused one can be called back."""
        self._started = 0
        self._reports = 0
        self._completed = any(it.state is State.COMPLETE and not it.taken_over for it in study.trials())
        """Whether a trial of the study was trained in full."""
        self._running: set[int] = set()
        self._training: set[int] = set()
        """Those of them that are in the middle of an epoch: they have not just reported."""
        self._paused: set[int] = set()
        self._lent: Counter[int] = Counter()
        """Slots that trials have beside their own, while nobody wants them."""
        self._verdicts: dict[int, Outcome] = {}
        self._lost: set[int] = set()
        """Trials whose machine was lost and that have not begun again; they wait for a slot, or are paused."""
        self._losses: Counter[int] = Counter()
        self._recorded: dict[int, int] = {}
        """The last epoch in the study of each trial whose machine was lost."""
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
        if len(self._running) + self._lent.total() >= self._slots() or self.hopeless or self.leaving():
            return False
        if self._alone & (self._running | (self._lost - self._paused)) and self._running:
            return False
        if self.until is not None and (self.until() is not None or self.spent is not None):
            return False
        if self.reserved_for is not None:
            return self.reserved_for not in self._running
        return self.until is None or self._free_epochs > 0

    @property
    def busy(self) -> bool:
        """Whether a trial runs, or is about to, on a machine that is there."""
        return bool(self._running)

    def must_end(self, number: int) -> str | None:
        """Why a trial that has reported is not to train another epoch.

        Where the engine cuts trials off in theirs, only since the others are kept for the finalist.
        """
        if self.reserved_for not in (None, number):
            return SPENT_EPOCHS
        if self.until is None:
            return None
        return self.spent or (SPENT_EPOCHS if self._free_epochs < 1 else self.until())

    @property
    def finalist(self) -> int | None:
        """The trial that the last epochs of the budget are kept for, so that one at least is trained in full.

        It is the best of those that can be. None while there are enough epochs for any trial, and once one is complete.
        """
        if self._completed or self._free_epochs > self._full:
            return None
        live = self._running | self._lost | (self._paused if self.pausing else set())
        able = [self.study.trial(number) for number in live if self._beside(number) >= 0]
        return min(able, key=_standing).number if able else None

    @property
    def reserved_for(self) -> int | None:
        """The finalist, once all epochs that are left are for it alone."""
        finalist = self.finalist
        return finalist if finalist is not None and self._beside(finalist) < 1 else None

    @property
    def _full(self) -> int:
        return self.study.spec.training.epochs

    def _beside(self, number: int) -> float:
        """Epochs of the budget that are left for others when this trial is trained in full; below 0 it cannot be."""
        trial = self.study.trial(number)
        needed = self._full - max(trial.epoch, trial.inherited)
        return self._free_epochs - needed + (number in self._training)

    @property
    def hopeless(self) -> bool:
        """Whether the search is to end at once, and to leave what runs to the next one."""
        return self.failing is not None or self.full is not None or self.gone is not None

    @property
    def only_past(self) -> bool:
        """Whether all that is left are paused trials of an earlier search, which Ray does not know."""
        return bool(self._paused) and not self._running and self._paused <= self._lost

    @property
    def _free_epochs(self) -> float:
        """Epochs of the budget that no trial is training."""
        return math.inf if self.left.epochs is None else self.left.epochs - self._reports - len(self._training)

    @property
    def complete(self) -> bool:
        """Whether all trials of the budget were started; paused ones may still go on."""
        return self.study.exhausted or (self.left.trials is not None and self._started >= self.left.trials)

    @property
    def spent(self) -> str | None:
        """The limit of the whole study's training that is used up."""
        if self.left.epochs is not None and self._reports >= self.left.epochs:
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
        self._training.add(number)
        self._heard[number] = time.monotonic()
        if self._gpu is not None:
            self._gpu.begin(number)

    def _rest(self, number: int) -> None:
        self._running.discard(number)
        self._training.discard(number)
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
        self._training.discard(number)
        for observer in self._observers:
            observer.trial_reported(number, epoch, metrics)

    def go_on(self, number: int) -> None:
        """Notes that a trial that has reported trains another epoch."""
        self._training.add(number)

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
        """Notes that a trial's machine was lost; False, with a verdict, where it is the trial's fault: too often.

        Its slot is free. It has not ended: it begins again where its last stored state stands.
        """
        self._losses[number] += 1
        if self._losses[number] > _LOSSES:
            self.decide(number, Outcome(State.FAILED, _MACHINES_LOST, Failure.MACHINE))
            return False
        self.set_aside(number)
        return True

    def set_aside(self, number: int) -> None:
        """Frees a trial's slot until it begins again, through no fault of its own."""
        self._rest(number)
        self._lost.add(number)
        self._recorded[number] = self.study.trial(number).epoch

    def recover(self) -> TrialRecord | None:
        """The lost trial that takes a slot now, if there is one; it is given away once."""
        now = time.monotonic()
        waiting = {number for number in self._lost - self._paused if self._not_before.get(number, now) <= now}
        if self.reserved_for is not None:
            waiting &= {self.reserved_for}
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
            self.set_aside(number)
            return True
        if self.misses_folder():
            self.set_aside(number)
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
        self.set_aside(number)
        return True

    def misses_folder(self) -> bool:
        """Whether the study's folder is no longer where it was; it is looked for now."""
        if self.gone is None and not self.study.is_there:
            self.gone = _RENAMED.format(study=self.study.name, folder=self.study.folder)
        return self.gone is not None

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
            f" `{self.study.command('trials')}` shows all, failures.max_failures says how many it takes"
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
        self._completed |= record.state is State.COMPLETE
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
        if self._gpu is not None and self.gone is None:
            self._gpu.note()
        if reason is None:
            return
        for number in sorted(self._running | self._paused | self._lost):
            if self.study.trial(number).reports:
                self.end(number, Outcome(State.PRUNED, reason))

    def _is_gone(self, number: int) -> bool:
        """Whether the machine of a paused trial was lost in this search, before it was stored."""
        return number in self._lost and self._losses[number] > 0


def _standing(trial: TrialRecord) -> tuple[object, ...]:
    """A trial's place among others as a key for sorting, the best first; one without a value comes last."""
    return (0, trial.fitness, trial.number) if trial.fitness is not None else (1, -trial.epoch, trial.number)


def is_full(told: str) -> bool:
    """Whether an error says that there is no room on a disk, or in a user's quota."""
    return any(f"[Errno {number}]" in told for number in (errno.ENOSPC, errno.EDQUOT))
