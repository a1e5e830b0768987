"""Decides what to train next, and records everything in the study before it answers.

An engine asks `next`, tells each `report`, and tells when a trial has `ended`. It decides nothing itself.

    controller.next()                          -> Start | Resume | Drop | Wait | NothingLeft
    controller.report(number, epoch, metrics)  -> Decision
    controller.ended(number, end)
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpo import samplers, schedulers
from hpo.budget import Left
from hpo.controller import replay
from hpo.controller.limits import Limits
from hpo.controller.live_trial import IN_SLOT, RESTING, LiveTrial, LiveTrials, Phase
from hpo.controller.retries import Retries, is_full
from hpo.samplers.exploration import explorer
from hpo.schedulers import Child, Decision, Scheduler, Situation
from hpo.study import Study
from hpo.trial import Failure, Metrics, Observer, Outcome, State, TrialRecord

_RENAMED = "the folder of study '{study}' is no longer at '{folder}': it was renamed or removed"


@dataclass(frozen=True)
class Start:
    """Train this trial from its beginning, from its parent's state, or from its own stored state."""

    trial: TrialRecord


@dataclass(frozen=True)
class Resume:
    """Go on with this paused trial, which the engine has."""

    number: int


@dataclass(frozen=True)
class Drop:
    """Forget this paused trial: it has ended."""

    number: int


@dataclass(frozen=True)
class Wait:
    """Nothing is to be trained until a trial reports or ends, or a slot is free."""


@dataclass(frozen=True)
class NothingLeft:
    """No trial is live, and none will come."""


Order = Start | Resume | Drop | Wait | NothingLeft


@dataclass(frozen=True)
class Finished:
    """The training function has returned."""


@dataclass(frozen=True)
class Failed:
    """The trial has failed by itself."""

    kind: Failure
    reason: str


@dataclass(frozen=True)
class Lost:
    """The trial's machine was lost."""


@dataclass(frozen=True)
class SetAside:
    """The engine has given the trial up, through no fault of the trial's."""


@dataclass(frozen=True)
class Late:
    """The time limit was over within an epoch."""


End = Finished | Failed | Lost | SetAside | Late


class Controller:
    """Asks the sampler and the scheduler, records what happens, and answers an engine.

    Trials that an earlier search has left are lost to this one's engine: they restart where their stored state stands,
    and what they repeat is not recorded again.

    Args:
        study: has its sampler.
        left: what the budget leaves.
        slots: says how many trials may run at once now.
        observers: are told what has been recorded.
        retries: says what failures lead to.
        gpus: GPUs that each trial holds.
        until: says why the search is to end after the running epochs, when it is; None where the engine ends trials
            within their epochs.
        leaving: says whether a signal has come: trials end their epoch and store their state, for the next search.
    """

    def __init__(
        self,
        study: Study,
        left: Left,
        slots: Callable[[], int],
        *,
        observers: Sequence[Observer] = (),
        retries: Retries | None = None,
        gpus: float = 1.0,
        until: Callable[[], str | None] | None = None,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self.study = study
        self.retries = retries or Retries(study.spec.failures)
        self._scheduler, self._observers = _scheduler(study, left), observers
        self._slots, self._leaving = slots, leaving
        self._live = LiveTrials()
        self.limits = Limits(study, left, self._live, gpus, self._scheduler.pauses, until)
        self._dropped: deque[int] = deque()
        """Paused trials that have ended and that the engine is to drop."""
        self.failing: str | None = None
        """Why the search is to end: its trials only fail."""
        self.full: str | None = None
        """Why the search is to end: a disk is full, which is no trial's fault."""
        self.gone: str | None = None
        """Why the search is to end: the study's folder, or that of the artifacts, is no longer there."""
        self._take_up()

    def _take_up(self) -> None:
        """Tells the scheduler what the study has, and takes up the trials that have not ended."""
        for trial in self.study.unfinished():
            if not trial.inherited:
                self.limits.started()
            phase = Phase.PAUSED_LOST if trial.state is State.PAUSED else Phase.LOST
            self._live.add(LiveTrial(trial.number, phase, recorded=trial.epoch))
            for observer in self._observers:
                observer.trial_started(trial)
        undecided = replay.tell(self.study, self._scheduler)
        if undecided is not None:
            self._decide(undecided, undecided.epoch, undecided.reports[undecided.epoch])
        for child in self.unfinished:
            parted = None if child.replaces is None else self._live.get(child.replaces)
            if parted is not None and parted.phase in RESTING:
                self._replace(child, parted.number)

    # ---- what an engine asks and tells -------------------------------------------------------------------------------

    def next(self) -> Order:
        """What the engine is to do now. It asks again at once, but after `Wait` and `NothingLeft`."""
        if self._dropped:
            return Drop(self._dropped.popleft())
        if self._leaving():
            return Wait()
        order = self._next_trial() if self.has_room else None
        if order is not None:
            return order
        if self.limits.all_started:
            if not self._live:
                return NothingLeft()
            if not self.running and self.has_room:
                self._end_paused()
        return Drop(self._dropped.popleft()) if self._dropped else Wait()

    def _next_trial(self) -> Order | None:
        """The trial that takes a free slot; None where none does."""
        if (lost := self._restart()) is not None:
            return Start(lost)
        situation = self._situation
        child = self._scheduler.offspring(situation) if self.limits.finalist is None else None
        if child is not None:
            return Start(self._bear(child))
        number = self._scheduler.next(situation)
        if number is not None:
            return self._resume(number)
        if self.limits.all_started or situation.reserved_for is not None:
            return None
        return Start(self._propose())

    def report(self, number: int, epoch: int, metrics: Metrics) -> Decision:
        """Records a report and says what becomes of the trial. One that stops has ended; it need not be told again.

        Args:
            number: the trial's.
            epoch: that it has trained.
            metrics: of that epoch.
        """
        live = self._live[number]
        live.lent, live.heard, live.repeating = 0, time.monotonic(), epoch <= live.recorded
        if live.repeating:
            return Decision.PAUSE if self._leaving() else Decision.CONTINUE
        self.study.report(number, epoch, metrics)
        self.limits.reported()
        self._live.move(number, Phase.REPORTED)
        self._tell(lambda observer: observer.trial_reported(number, epoch, metrics))
        decision = self._decide(self.study.trial(number), epoch, metrics)
        if decision is Decision.CONTINUE and self._leaving():
            return Decision.PAUSE  # for the engine alone: the state is stored, and in the study the trial runs
        if decision is Decision.CONTINUE:
            self._live.move(number, Phase.TRAINING)
        return decision

    def stored(self, number: int) -> None:
        """The engine has stored the state of a trial that pauses; it can be resumed from now on."""
        live = self._live.get(number)
        if live is not None and live.phase is Phase.PAUSED:
            live.stored = True
            self._scheduler.stored(number, self.study.trial(number).epoch)

    def heed_states(self, stored: Callable[[int], int | None]) -> None:
        """Tells a scheduler that breeds which states of an earlier search's trials can be lent.

        Args:
            stored: number -> the epoch of a trial's stored state, None without one.
        """
        if self._scheduler.breeds:
            for live in self._live:
                self._scheduler.stored(live.number, stored(live.number))

    def ended(self, number: int, end: End) -> None:
        """Records how a trial has ended; one that has failed or was lost may restart later. Another one is passed over.

        Args:
            number: the trial's.
            end: what has happened.
        """
        live = self._live.get(number)
        if live is None:
            return
        match end:
            case Finished():
                self._end(number, Outcome(State.COMPLETE, "the objective ended by itself"))
            case SetAside():
                self._set_aside(live)
            case Late():
                self._cut(number)
            case Lost():
                self._set_aside_or_end(live, self.retries.after_loss(live))
            case Failed(kind, reason):
                self._fail(live, kind, reason)

    def has(self, number: int) -> None:
        """The engine has a trial that an earlier search has left, as it was."""
        live = self._live[number]
        if live.phase is Phase.PAUSED_LOST:
            self._live.move(number, Phase.PAUSED).stored = True
        elif live.phase is Phase.LOST:
            self._take_slot(live)

    def close(self, reason: str | None) -> None:
        """Ends the live trials where a limit of the budget has ended the search.

        Those that have not reported yet stay as they are, for the next search. So do all where the search was
        interrupted.

        Args:
            reason: the limit; None where the search was interrupted.
        """
        if self.gone is None:
            self.limits.write()
        if reason is None:
            return
        for live in sorted(self._live, key=lambda live: live.number):
            if self.study.trial(live.number).reports:
                resting = live.phase in RESTING
                self._end(live.number, self._not_promoted(live) if resting else Outcome(State.PRUNED, reason))

    @property
    def unfinished(self) -> list[TrialRecord]:
        """The trials that have not ended, by number."""
        return [self.study.trial(number) for number in sorted(self._live.numbers(*Phase))]

    # ---- slots -------------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many trials run, or restart as soon as they may."""
        return self._live.count(*IN_SLOT, Phase.LOST)

    @property
    def busy(self) -> bool:
        """Whether a trial holds a slot."""
        return self._live.count(*IN_SLOT) > 0

    @property
    def has_room(self) -> bool:
        """Whether another trial may take a slot now."""
        held = self._live.count(*IN_SLOT)
        if held + self._live.lent >= self._slots() or self.hopeless or self._leaving():
            return False
        if held and any(live.alone for live in self._live.among(*IN_SLOT, Phase.LOST)):
            return False
        reserved = self.limits.reserved_for
        if reserved is not None and self._live[reserved].phase in IN_SLOT:
            return False
        return self.limits.allows_an_epoch

    @property
    def share(self) -> int:
        """How many free slots a running trial may use beside its own; none while a trial is to restart."""
        if self._live.count(Phase.LOST):
            return 0
        slots, running = self._slots(), self.running
        return max(0, min(slots - running - self._live.lent, slots // max(1, running) - 1))

    def lend(self, number: int) -> int:
        """Lends a trial that trains on its share of the slots that nobody will need during an epoch.

        Returns:
            How many it has beside its own.
        """
        live = self._live[number]
        live.lent = self.share if self._nobody_waits else 0
        return live.lent

    def lent(self, number: int) -> int:
        """How many slots a trial has beside its own."""
        live = self._live.get(number)
        return 0 if live is None else live.lent

    def repeats(self, number: int) -> bool:
        """Whether the last report of a trial repeated a recorded one."""
        live = self._live.get(number)
        return live is not None and live.repeating

    @property
    def _nobody_waits(self) -> bool:
        """Whether no trial will take a slot now that is free."""
        if not self.limits.all_started or self._scheduler.breeds:
            return False
        if self._scheduler.pauses:
            return self._scheduler.next(self._situation) is None
        return not self._live.count(*RESTING)

    # ---- whether it goes on ------------------------------------------------------------------------------------------

    @property
    def hopeless(self) -> bool:
        """Whether the search is to end at once, and to leave what runs to the next one."""
        return self.failing is not None or self.full is not None or self.gone is not None

    def misses_folder(self) -> bool:
        """Looks whether the study's folder is still where it was; True where it is not."""
        if self.gone is None and not self.study.is_there:
            self.gone = _RENAMED.format(study=self.study.name, folder=self.study.folder)
        return self.gone is not None

    def trains(self, number: int) -> bool:
        """Whether a trial holds a slot."""
        live = self._live.get(number)
        return live is not None and live.phase in IN_SLOT

    def last_epoch(self, number: int) -> int:
        """The epoch after which a live trial's next report must come; recorded epochs may be repeated in any order."""
        live = self._live[number]
        trained = self.study.trial(number)
        last = max(trained.epoch, trained.inherited)
        return trained.inherited if last <= live.recorded else last

    def hangs(self, number: int) -> bool:
        """Whether nothing was heard of a trial for as long as it may be silent."""
        live = self._live.get(number)
        return live is not None and live.phase in IN_SLOT and self.retries.hangs(live)

    # ---- decisions ---------------------------------------------------------------------------------------------------

    @property
    def _situation(self) -> Situation:
        return Situation(self.limits.all_started, not self.running, self.limits.reserved_for)

    def _decide(self, trial: TrialRecord, epoch: int, metrics: Metrics) -> Decision:
        """What becomes of a trial after its last report; where it pauses or stops, that is recorded."""
        number, spec = trial.number, self.study.spec
        for name in (objective.metric for objective in spec.objectives):
            if not math.isfinite(metrics.get(name, math.nan)):
                return self._stop(number, Outcome(State.PRUNED, f"diverged: {name} is {metrics.get(name)}"))
        decision = self._scheduler.report(number, epoch, metrics, self._situation)
        for other in self._scheduler.dismissed():
            self._dismiss(other)
        if epoch >= spec.training.epochs:
            return self._stop(number, Outcome(State.COMPLETE))
        if decision is Decision.STOP and number != self.limits.finalist:
            return self._stop(number, Outcome(State.PRUNED, f"stopped by {spec.scheduler.name}"))
        if decision is Decision.PAUSE:
            self._pause(number)
            return decision
        reason = None if decision is Decision.STOP else self.limits.ends(number)
        return Decision.CONTINUE if reason is None else self._stop(number, Outcome(State.PRUNED, reason))

    def _stop(self, number: int, outcome: Outcome) -> Decision:
        self._end(number, outcome)
        return Decision.STOP

    def _propose(self) -> TrialRecord:
        """A new trial, with a config of the sampler's."""
        trial = self.study.ask()
        self.limits.started()
        return self._begin(trial)

    def _bear(self, child: Child) -> TrialRecord:
        """A child, which is no trial of the budget: it goes on with the training of the trial that ends for it."""
        born = self._begin(self.study.bear(child.config, child.parent, child.epoch, child.number))
        self._replace(born, child.number)
        return born

    def _begin(self, trial: TrialRecord) -> TrialRecord:
        live = LiveTrial(trial.number, Phase.LOST)
        self._live.add(live)
        self._take_slot(live)
        began = 0.0 if trial.began is None else trial.began.at
        self._scheduler.started(trial.number, trial.config, began)
        self._tell(lambda observer: observer.trial_started(trial))
        return trial

    def _replace(self, child: TrialRecord, number: int) -> None:
        """Ends a paused trial, whose child has its place."""
        assert child.lineage is not None
        reason = f"replaced by a child of trial {child.lineage['parents'][0]}"
        self._dismiss(number, Outcome(State.PRUNED, reason), comparable=True)

    def _restart(self) -> TrialRecord | None:
        """A lost trial that takes a slot now, if there is one."""
        now, reserved = time.monotonic(), self.limits.reserved_for
        waiting = [live for live in self._live.among(Phase.LOST) if live.not_before <= now]
        if reserved is not None:
            waiting = [live for live in waiting if live.number == reserved]
        if self.busy:
            waiting = [live for live in waiting if not live.alone]
        if not waiting:
            return None
        live = min(waiting, key=lambda live: (live.alone, live.number))
        self._take_slot(live)
        return self.study.trial(live.number)

    def _resume(self, number: int) -> Order:
        """Goes on with a paused trial: as it is, or from its stored state where the engine has lost it."""
        live = self._live[number]
        if live.phase is Phase.PAUSED and not live.stored:
            return Wait()
        self._scheduler.resumed(number)
        live.recorded = self.study.trial(number).epoch  # an engine without its state trains it again from the beginning
        if live.phase is Phase.PAUSED:
            self._take_slot(live)
        else:
            self._live.move(number, Phase.LOST)
        self.study.resume(number)
        self._tell(lambda observer: observer.trial_resumed(number))
        if live.phase is not Phase.LOST:
            return Resume(number)
        restarted = self._restart()
        return Wait() if restarted is None else Start(restarted)

    def _pause(self, number: int) -> None:
        """Records that a trial waits; its slot is free."""
        live = self._live[number]
        lost = live.phase is Phase.LOST  # an earlier search has died after the report, and before this decision
        self._free_slot(live, Phase.PAUSED_LOST if lost else Phase.PAUSED)
        self.retries.succeeded()
        self.study.pause(number)
        self._tell(lambda observer: observer.trial_paused(number))

    # ---- ends --------------------------------------------------------------------------------------------------------

    def _fail(self, live: LiveTrial, kind: Failure, reason: str) -> None:
        if is_full(reason):
            self.full = next(line for line in reason.splitlines() if is_full(line)).strip()
            self._set_aside(live)
        elif self.misses_folder():
            self._set_aside(live)
        else:
            outcome = self.retries.after_failure(live, self.study.trial(live.number).retries, kind, reason)
            if outcome is None:
                self.study.retry(live.number)
            self._set_aside_or_end(live, outcome)

    def _set_aside_or_end(self, live: LiveTrial, outcome: Outcome | None) -> None:
        if outcome is None:
            self._set_aside(live)
        else:
            self._end(live.number, outcome)

    def _set_aside(self, live: LiveTrial) -> None:
        """Frees a trial's slot until it restarts."""
        live.recorded = self.study.trial(live.number).epoch
        self._free_slot(live, Phase.PAUSED_LOST if live.phase in RESTING else Phase.LOST)

    def _cut(self, number: int) -> None:
        """Ends a trial within an epoch; one without a report is left to the next search."""
        self.limits.late = True
        if self.study.trial(number).reports:
            self._end(number, Outcome(State.PRUNED, self.limits.over))
        else:
            self._scheduler.ended(number, comparable=False)
            self._leave(number)

    def _end_paused(self) -> None:
        """Ends all paused trials: nothing runs, nothing new will come, and the scheduler resumes none of them."""
        paused = list(self._live.among(*RESTING))
        if any(live.phase is Phase.PAUSED and not live.stored for live in paused):
            return
        for live in sorted(paused, key=lambda live: live.number):
            self._dismiss(live.number)

    def _dismiss(self, number: int, outcome: Outcome | None = None, comparable: bool = False) -> None:
        """Ends a paused trial, and has the engine drop it where the engine has it."""
        live = self._live[number]
        if live.phase is Phase.PAUSED:
            self._dropped.append(number)
        self._end(number, outcome or self._not_promoted(live), comparable)

    def _not_promoted(self, live: LiveTrial) -> Outcome:
        """The outcome of a paused trial that was never resumed."""
        lost = "; its machine was lost before it was stored" if live.losses and live.phase is Phase.PAUSED_LOST else ""
        return Outcome(State.PRUNED, f"paused by {self.study.spec.scheduler.name} and not promoted{lost}")

    def _end(self, number: int, outcome: Outcome, comparable: bool | None = None) -> None:
        """Records the end of a trial.

        Args:
            number: the trial's.
            outcome: how it ended.
            comparable: whether others are still compared with it; where None, if it has not failed and its last
                report is finite.
        """
        if comparable is None:
            comparable = outcome.state is not State.FAILED and self._is_finite(number)
        self._scheduler.ended(number, comparable)
        self._leave(number)
        record = self.study.end(number, outcome)
        self.limits.ended(record)
        told = self.retries.too_many(record)
        if told is not None:
            command = self.study.command("trials")
            self.failing = f"{told}; `{command}` shows all, failures.max_failures says how many it takes"
        self._tell(lambda observer: observer.trial_ended(record))

    def _is_finite(self, number: int) -> bool:
        trial = self.study.trial(number)
        return math.isfinite(trial.reports.get(trial.epoch, {}).get(trial.metric, math.nan))

    # ---- phases ------------------------------------------------------------------------------------------------------

    def _take_slot(self, live: LiveTrial) -> None:
        self._live.move(live.number, Phase.TRAINING)
        live.heard = time.monotonic()
        live.stored = False
        self.limits.begin(live.number)

    def _free_slot(self, live: LiveTrial, phase: Phase) -> None:
        self._live.move(live.number, phase)
        live.lent = 0
        self.limits.rest(live.number)

    def _leave(self, number: int) -> None:
        self._live.remove(number)
        self.limits.rest(number)

    def _tell(self, event: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            event(observer)


def _scheduler(study: Study, left: Left) -> Scheduler:
    """A new scheduler of the study's spec, which may ask the study's sampler."""
    resume, explore = samplers.resumption(study.record), explorer(study.spec)
    clock = lambda: study.clock()  # noqa: E731 - a simulation sets another clock later
    return schedulers.build(study.spec, study.goal, resume, explore, left.by_trials, study.reference, clock)
