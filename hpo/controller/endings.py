"""How a trial gives up its slot: it ends, waits to restart, or is replaced by a child."""

from collections import deque
from dataclasses import dataclass, field

from hpo.controller.limits import Limits
from hpo.controller.live_trial import RESTING, LiveTrial, LiveTrials, Phase
from hpo.controller.recording import Recording
from hpo.controller.retries import Retries
from hpo.controller.slots import Slots
from hpo.controller.trouble import Trouble
from hpo.schedulers import Scheduler
from hpo.study import ranking
from hpo.study.study import Study
from hpo.study.trial import Failure, Outcome, State, TrialRecord


@dataclass(frozen=True)
class Endings:
    """Takes trials out of the table and records their ends, or sets them aside.

    Args:
        study: that is searched.
        live: its trials that have not ended.
        scheduler: is told of ends.
        recording: writes them.
        limits: count what they used.
        slots: are freed.
        retries: says what failures lead to.
        trouble: may explain a failure.
    """

    study: Study
    live: LiveTrials
    scheduler: Scheduler
    recording: Recording
    limits: Limits
    slots: Slots
    retries: Retries
    trouble: Trouble
    dropped: deque[int] = field(default_factory=deque)
    """Paused trials that have ended and that the engine is to drop."""

    def end(self, number: int, outcome: Outcome, comparable: bool | None = None) -> None:
        """Records the end of a trial.

        Args:
            number: the trial's.
            outcome: how it ended.
            comparable: whether others are still compared with it; where None, if it has not failed and its last
                report is finite.
        """
        if comparable is None:
            trial = self.study.trial(number)
            finite = ranking.diverged(self.study.spec, trial.reports.get(trial.epoch, {})) is None
            comparable = finite and outcome.state is not State.FAILED
        self.scheduler.ended(number, comparable)
        self.slots.leave(number)
        record = self.recording.end(number, outcome)
        self.limits.ended(record)
        if (told := self.retries.count_end(record)) is not None:
            command = self.study.command("trials")
            self.trouble.failing = f"{told}; `{command}` shows all, failures.max_failures says how many it takes"

    def fail(self, live: LiveTrial, kind: Failure, reason: str) -> None:
        """Ends a trial that has failed, or sets it aside to try again."""
        if self.trouble.explains(reason):
            self.set_aside(live)
            return
        outcome = self.retries.after_failure(live, self.study.trial(live.number).retries, kind, reason)
        if outcome is None:
            self.recording.retry(live.number)
        self._restart_or_end(live, outcome)

    def lose(self, live: LiveTrial) -> None:
        """Sets a trial aside whose machine was lost; after too many losses it ends."""
        self._restart_or_end(live, self.retries.after_loss(live))

    def set_aside(self, live: LiveTrial) -> None:
        """Frees a trial's slot until it restarts."""
        live.recorded = self.study.trial(live.number).epoch
        self.slots.free(live, Phase.PAUSED_LOST if live.phase in RESTING else Phase.LOST)

    def cut(self, number: int) -> None:
        """Ends a trial within an epoch, for the time limit; one without a report is left to the next search."""
        self.limits.late = True
        if self.study.trial(number).reports:
            self.end(number, Outcome(State.PRUNED, self.limits.over))
        else:
            self.scheduler.ended(number, comparable=False)
            self.slots.leave(number)

    def close(self, reason: str) -> None:
        """Ends all live trials that have reported, for a limit of the budget."""
        for live in sorted(self.live, key=lambda live: live.number):
            if self.study.trial(live.number).reports:
                resting = live.phase in RESTING
                self.end(live.number, self._not_promoted(live) if resting else Outcome(State.PRUNED, reason))

    def end_paused(self) -> None:
        """Ends all paused trials: nothing runs, nothing new will come, and the scheduler resumes none of them."""
        paused = list(self.live.among(*RESTING))
        if any(live.phase is Phase.PAUSED and not live.stored for live in paused):
            return
        for live in sorted(paused, key=lambda live: live.number):
            self.dismiss(live.number)

    def replace(self, child: TrialRecord, number: int) -> None:
        """Ends a paused trial, whose child has its place."""
        assert child.lineage is not None
        reason = f"replaced by a child of trial {child.lineage['parents'][0]}"
        self.dismiss(number, Outcome(State.PRUNED, reason), comparable=True)

    def dismiss(self, number: int, outcome: Outcome | None = None, comparable: bool = False) -> None:
        """Ends a paused trial, and has the engine drop it where the engine has it."""
        live = self.live[number]
        if live.phase is Phase.PAUSED:
            self.dropped.append(number)
        self.end(number, outcome or self._not_promoted(live), comparable)

    def _restart_or_end(self, live: LiveTrial, outcome: Outcome | None) -> None:
        if outcome is None:
            self.set_aside(live)
        else:
            self.end(live.number, outcome)

    def _not_promoted(self, live: LiveTrial) -> Outcome:
        """The outcome of a paused trial that was never resumed."""
        lost = "; its machine was lost before it was stored" if live.losses and live.phase is Phase.PAUSED_LOST else ""
        return Outcome(State.PRUNED, f"paused by {self.study.spec.scheduler.name} and not promoted{lost}")
