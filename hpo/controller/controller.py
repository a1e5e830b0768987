"""Decides what to train next, and records everything in the study before it answers.

An engine asks `next`, tells each `report`, and tells when a trial has `ended`. It decides nothing itself.

    controller.next()                          -> Start | Resume | Drop | Wait | NothingLeft
    controller.report(number, epoch, metrics)  -> Decision
    controller.ended(number, end)
"""

import time
from collections.abc import Callable, Sequence

from hpo import samplers, schedulers
from hpo.controller import replay
from hpo.controller.endings import Endings
from hpo.controller.limits import Limits
from hpo.controller.live_trial import IN_SLOT, RESTING, LiveTrial, LiveTrials, Phase
from hpo.controller.patience import stalled
from hpo.controller.protocol import (
    Drop,
    End,
    Failed,
    Finished,
    Late,
    Lost,
    NothingLeft,
    Order,
    Resume,
    SetAside,
    Start,
    Wait,
)
from hpo.controller.recording import Recording
from hpo.controller.retries import Retries
from hpo.controller.slots import Slots
from hpo.controller.trouble import Trouble
from hpo.controller.wishing import Wishing
from hpo.samplers.mutation import explorer
from hpo.schedulers import Decision, Scheduler, Situation
from hpo.study import ranking
from hpo.study.budget import Left, note_end
from hpo.study.study import Study
from hpo.study.trial import Metrics, Observer, Outcome, State, TrialRecord


class Controller:
    """Asks the sampler and the scheduler, records what happens, and answers an engine.

    Trials of an earlier search are unknown to this one's engine: they restart from their stored state, and epochs that
    they repeat are not recorded again.

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
        self._retries = retries or Retries(study.spec.failures)
        self._scheduler = _scheduler(study, left)
        self._recording = Recording(study, observers)
        self._live = LiveTrials()
        forecast = samplers.forecast(study.record)
        self.limits = Limits(study, left, self._live, gpus, self._scheduler.pauses, until, forecast)
        self.slots = Slots(self._live, self.limits, slots)
        self.trouble = Trouble(study)
        self._endings = Endings(
            study, self._live, self._scheduler, self._recording, self.limits, self.slots, self._retries, self.trouble
        )
        self.wishing = wishing = Wishing(study, self._live, self._endings)
        self._leaving = lambda: wishing.stopped or leaving()
        self._take_up()

    def _take_up(self) -> None:
        """Tells the scheduler what the study has, and takes up the trials that have not ended."""
        note_end(self.study, None)
        for trial in self._recording.take_up():
            if trial.is_paid:
                self.limits.started()
            phase = Phase.PAUSED_LOST if trial.state is State.PAUSED else Phase.LOST
            self._live.add(LiveTrial(trial.number, phase, recorded=trial.epoch))
        undecided = replay.tell(self.study, self._scheduler)
        if undecided is not None:
            self._decide_again(undecided)
        for child in self.unfinished:
            parted = None if child.replaces is None else self._live.get(child.replaces)
            if parted is not None and parted.phase in RESTING:
                self._endings.replace(child, parted.number)

    def _decide_again(self, trial: TrialRecord) -> None:
        """Decides on the report after which the earlier search has died, as that one would have, while others ran."""
        number = trial.number
        self._live.remove(number)
        self._live.add(LiveTrial(number, Phase.REPORTED, recorded=trial.epoch))
        match self._decide(trial, trial.epoch, trial.reports[trial.epoch]):
            case Decision.CONTINUE:
                self._live.move(number, Phase.LOST)
            case Decision.PAUSE:
                self._live.move(number, Phase.PAUSED_LOST)

    # ---- what an engine asks and tells -------------------------------------------------------------------------------

    def next(self) -> Order:
        """What the engine is to do now. It asks again at once, but after `Wait` and `NothingLeft`."""
        self.wishing.look()
        if self._endings.dropped:
            return Drop(self._endings.dropped.popleft())
        if self._leaving():
            return Wait()
        order = self._next_trial() if self.has_free_slot else None
        if order is not None:
            return order
        if self.limits.all_started:
            if not self._live:
                return NothingLeft()
            if not self.slots.running and self.has_free_slot:
                self._endings.end_paused()
        return Drop(self._endings.dropped.popleft()) if self._endings.dropped else Wait()

    def report(self, number: int, epoch: int, metrics: Metrics, machine: str | None = None) -> Decision:
        """Records a report and says what becomes of the trial. One that stops has ended; it need not be told again.

        Args:
            number: the trial's.
            epoch: that it has trained.
            metrics: of that epoch.
            machine: the process that has trained it, and where, in words.
        """
        self.wishing.look()
        live = self._live[number]
        live.lent, live.heard, live.repeating = 0, time.monotonic(), epoch <= live.recorded
        if live.repeating:
            if (outcome := self.wishing.stops(number)) is not None:
                return self._stop(number, outcome)
            return Decision.PAUSE if self._leaving() else Decision.CONTINUE
        self._recording.report(number, epoch, metrics, machine)
        self.limits.reported(metrics)
        self._live.move(number, Phase.REPORTED)
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

    def ended(self, number: int, end: End) -> None:
        """Records how a trial has ended; one that has failed or was lost may restart later.

        A number that is not live is ignored.

        Args:
            number: the trial's.
            end: what has happened.
        """
        live = self._live.get(number)
        if live is None:
            return
        match end:
            case Finished():
                self._endings.end(number, Outcome(State.COMPLETE, "the objective ended by itself"))
            case SetAside():
                self._endings.set_aside(live)
            case Late():
                self._endings.cut(number)
            case Lost():
                self._endings.lose(live)
            case Failed(kind, reason):
                self._endings.fail(live, kind, reason)

    def close(self, reason: str | None) -> None:
        """Ends the live trials where a limit of the budget has ended the search.

        Those that have not reported yet stay as they are, for the next search. So do all where the search was
        interrupted.

        Args:
            reason: the limit; None where the search was interrupted.
        """
        if self.trouble.gone is None:
            self.limits.write()
            if reason is not None:
                note_end(self.study, reason)
        if reason is not None:
            self._endings.close(reason)

    # ---- what an engine may know -------------------------------------------------------------------------------------

    @property
    def unfinished(self) -> list[TrialRecord]:
        """The trials that have not ended, by number."""
        return [self.study.trial(number) for number in sorted(self._live.numbers(*Phase))]

    @property
    def has_free_slot(self) -> bool:
        """Whether another trial may run now."""
        if self.trouble or self._leaving() or not self.slots.is_one_free:
            return False
        reserved = self.limits.reserved_for
        if reserved is not None and self._live[reserved].phase in IN_SLOT:
            return False
        return not self.limits.is_met and (self.limits.has_a_free_epoch or self._live.count(Phase.LOST) > 0)

    def live(self, number: int) -> LiveTrial | None:
        """A trial that has not ended; only the controller changes it."""
        return self._live.get(number)

    def hangs(self, number: int) -> bool:
        """Whether nothing was heard of a running trial for as long as it may be silent."""
        live = self._live.get(number)
        return live is not None and live.phase in IN_SLOT and self._retries.hangs(live)

    def adopt(self, number: int) -> None:
        """Takes note that the engine has a trial which an earlier search has left, as it was."""
        live = self._live[number]
        if live.phase is Phase.PAUSED_LOST:
            self._live.move(number, Phase.PAUSED)
            self.stored(number)
        elif live.phase is Phase.LOST:
            self.slots.take(live)

    def heed_states(self, stored: Callable[[int], int | None]) -> None:
        """Tells a scheduler that breeds which states of an earlier search's trials can be lent.

        Args:
            stored: number -> the epoch of a trial's stored state, None without one.
        """
        if self._scheduler.breeds:
            for live in self._live:
                self._scheduler.stored(live.number, stored(live.number))

    def lend(self, number: int) -> int:
        """Lends a trial that trains on its share of the slots that nobody will need during an epoch.

        Returns:
            How many it has beside its own.
        """
        if not self.limits.all_started or self._scheduler.breeds:
            return 0
        resting = self._live.count(*RESTING)
        waits = self._scheduler.next(self._situation) is not None if self._scheduler.pauses else resting
        return 0 if waits else self.slots.lend(number)

    # ---- what is trained next ----------------------------------------------------------------------------------------

    @property
    def _situation(self) -> Situation:
        return Situation(self.limits.all_started, not self.slots.running, self.limits.reserved_for)

    def _next_trial(self) -> Order | None:
        """The trial that takes a free slot; None where none does."""
        if (lost := self._restart()) is not None:
            return Start(lost)
        if not self.limits.has_a_free_epoch:
            return None
        situation = self._situation
        child = self._scheduler.offspring(situation) if self.limits.finalist is None else None
        if child is not None:
            born = self._begin(self._recording.bear(child))
            self._endings.replace(born, child.replaces)
            return Start(born)
        if (wanted := self._wanted(situation)) is not None:
            return wanted
        number = self._scheduler.next(situation)
        if number is not None:
            return self._resume(number)
        if self.limits.all_started or situation.reserved_for is not None:
            return None
        proposed = self._begin(self._recording.propose())
        self.limits.started()
        return Start(proposed)

    def _wanted(self, situation: Situation) -> Start | None:
        """A trial with a config that somebody wishes to be tried next."""
        wanted = None if situation.reserved_for is not None else self.wishing.next(self.limits.has_a_trial)
        if wanted is None:
            return None
        begun = self._begin(self._recording.try_config(wanted.config, wanted.wish, wanted.retry_of))
        self.wishing.tried(wanted)
        if wanted.retry_of is None:
            self.limits.started()
        return Start(begun)

    def _begin(self, trial: TrialRecord) -> TrialRecord:
        live = LiveTrial(trial.number, Phase.LOST)
        self._live.add(live)
        self.slots.take(live)
        self._scheduler.started(trial.number, trial.config, trial.began_at)
        return trial

    def _restart(self) -> TrialRecord | None:
        """A lost trial that takes a slot now, if there is one."""
        now, reserved = time.monotonic(), self.limits.reserved_for
        waiting = [live for live in self._live.among(Phase.LOST) if live.not_before <= now]
        if reserved is not None:
            waiting = [live for live in waiting if live.number == reserved]
        if self.slots.busy:
            waiting = [live for live in waiting if not live.alone]
        if not waiting:
            return None
        live = min(waiting, key=lambda live: (live.alone, live.number))
        self.slots.take(live)
        return self.study.trial(live.number)

    def _resume(self, number: int) -> Order:
        """Goes on with a paused trial: as it is, or from its stored state where the engine has lost it."""
        live = self._live[number]
        if live.phase is Phase.PAUSED and not live.stored:
            return Wait()
        self._scheduler.resumed(number)
        live.recorded = self.study.trial(number).epoch  # an engine without its state trains it from the beginning
        has_it = live.phase is Phase.PAUSED
        if has_it:
            self.slots.take(live)
        else:
            self._live.move(number, Phase.LOST)
        self._recording.resume(number)
        if has_it:
            return Resume(number)
        restarted = self._restart()
        return Wait() if restarted is None else Start(restarted)

    # ---- what becomes of a trial -------------------------------------------------------------------------------------

    def _decide(self, trial: TrialRecord, epoch: int, metrics: Metrics) -> Decision:
        """What becomes of a trial after its last report; where it pauses or stops, that is recorded."""
        number, spec = trial.number, self.study.spec
        if (name := ranking.diverged(spec, metrics)) is not None:
            return self._stop(number, Outcome(State.PRUNED, f"diverged: {name} is {metrics.get(name)}"))
        decision = self._scheduler.report(number, epoch, metrics, self._situation)
        for other in self._scheduler.dismissed():
            self._endings.dismiss(other)
        if epoch >= spec.training.epochs:
            return self._stop(number, Outcome(State.COMPLETE))
        if (reason := self.limits.completes(metrics)) is not None:
            return self._stop(number, Outcome(State.COMPLETE, reason))
        if (outcome := self.wishing.stops(number)) is not None:
            return self._stop(number, outcome)
        if stalled(trial):
            told = f"no better for {spec.training.patience} epochs"
            return self._stop(number, Outcome(State.COMPLETE, told, settled=spec.training.epochs))
        if decision is Decision.STOP and number != self.limits.finalist:
            return self._stop(number, Outcome(State.PRUNED, f"stopped by {spec.scheduler.name}"))
        if decision is Decision.PAUSE:
            self._pause(number)
            return decision
        spent = None if decision is Decision.STOP else self.limits.ends(number)
        return Decision.CONTINUE if spent is None else self._stop(number, Outcome(State.PRUNED, spent))

    def _stop(self, number: int, outcome: Outcome) -> Decision:
        self._endings.end(number, outcome)
        return Decision.STOP

    def _pause(self, number: int) -> None:
        """Records that a trial waits; its slot is free."""
        self.slots.free(self._live[number], Phase.PAUSED)
        self._retries.succeeded()
        self._recording.pause(number)


def _scheduler(study: Study, left: Left) -> Scheduler:
    """A new scheduler of the study's spec, which may ask the study's sampler."""
    resume, explore = samplers.resumption(study.record), explorer(study.spec)
    return schedulers.build(
        study.spec, study.goal, resume, explore, left.by_trials, study.reference, study.writer.clock
    )
