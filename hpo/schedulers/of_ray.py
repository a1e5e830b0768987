"""Ray Tune's schedulers behind our interface: each is shown trials and a controller that stand for the real ones."""

from collections.abc import Callable
from typing import Any, ClassVar

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from hpo.schedulers.scheduler import Decision, Scheduler, Situation
from hpo.spec import Config
from hpo.study.trial import Metrics

_DECISIONS = {
    TrialScheduler.CONTINUE: Decision.CONTINUE,
    TrialScheduler.NOOP: Decision.CONTINUE,
    TrialScheduler.PAUSE: Decision.PAUSE,
    TrialScheduler.STOP: Decision.STOP,
}


class OfRay(Scheduler):
    """Asks a scheduler of Ray Tune's.

    Such a scheduler reads the status of trials, and may stop paused ones through its controller. The trials that it
    sees are stubs, which no engine runs.

    Args:
        inner: the scheduler.
        resource: the key of a result that holds the epoch.
        clock: the study's, in seconds.
    """

    search_alg: ClassVar[None] = None
    """Some schedulers look at the searcher of their controller, which is this object."""

    def __init__(self, inner: TrialScheduler, resource: str, clock: Callable[[], float]) -> None:
        self._inner: Any = inner
        self._resource, self._clock = resource, clock
        self._trials: dict[int, Trial] = {}
        self._began: dict[int, float] = {}
        self._dismissed: list[int] = []
        self._stopped: set[int] = set()
        """Trials that it would have stopped, as it is told of them again, though their record goes on."""

    # ---- what a scheduler asks of its controller ---------------------------------------------------------------------

    def get_trials(self) -> list[Trial]:
        """The trials that have not ended; schedulers look for running and paused ones."""
        return list(self._trials.values())

    def get_live_trials(self) -> set[Trial]:
        """The same as a set."""
        return set(self._trials.values())

    def pause_trial(self, trial: Trial, should_checkpoint: bool = True) -> None:
        """Nothing: a trial pauses when it has reported."""

    def stop_trial(self, trial: Trial) -> None:
        """Takes note of a paused trial that is to end, and tells the scheduler, as Ray's controller does."""
        number = int(trial.config["number"])
        if self._trials.pop(number, None) is not None:
            self._dismissed.append(number)
            self._inner.on_trial_remove(self, trial)
            trial.set_status(Trial.TERMINATED)

    # ---- our interface -----------------------------------------------------------------------------------------------

    def started(self, number: int, config: Config, at: float) -> None:
        """Shows the scheduler a new trial."""
        self._began[number] = at
        settings = {"number": number, "config": dict(config)}
        trial = Trial("trial", config=settings, trial_id=f"{number:05d}", stub=True, _setup_default_resource=False)
        self._trials[number] = trial
        self._inner.on_trial_add(self, trial)
        trial.set_status(Trial.RUNNING)

    def report(self, number: int, epoch: int, metrics: Metrics, situation: Situation) -> Decision:
        """The scheduler's decision."""
        if number in self._stopped:
            return Decision.STOP
        trial = self._trials[number]
        result = self._result(trial, epoch, metrics, self._clock())
        decision = _DECISIONS[self._inner.on_trial_result(self, trial, result)]
        trial.run_metadata.last_result = result
        if decision is Decision.PAUSE:
            trial.set_status(Trial.PAUSED)
        return decision

    def replay(self, number: int, epoch: int, metrics: Metrics, at: float, paused: bool) -> None:
        """Lets the scheduler decide once more; what it says counts only where the record of the trial ends."""
        trial = self._trials[number]
        result = self._result(trial, epoch, metrics, at)
        if number not in self._stopped and self._inner.on_trial_result(self, trial, result) == TrialScheduler.STOP:
            self._stopped.add(number)  # some schedulers bear no further report of it
        trial.run_metadata.last_result = result
        trial.set_status(Trial.PAUSED if paused else Trial.RUNNING)

    def next(self, situation: Situation) -> int | None:
        """The paused trial that the scheduler chooses to run.

        One that only takes the first that it finds, as Ray's FIFO does, is asked when no new trial may start.
        """
        choose = type(self._inner).choose_trial_to_run
        if not situation.no_new and choose in (FIFOScheduler.choose_trial_to_run, TrialScheduler.choose_trial_to_run):
            return None
        chosen = self._inner.choose_trial_to_run(self)
        return None if chosen is None or chosen.status != Trial.PAUSED else int(chosen.config["number"])

    def resumed(self, number: int) -> None:
        """The trial runs again."""
        self._trials[number].set_status(Trial.RUNNING)

    def dismissed(self) -> list[int]:
        """The paused trials that the scheduler has stopped."""
        dismissed, self._dismissed = self._dismissed, []
        return dismissed

    def ended(self, number: int, comparable: bool) -> None:
        """Passes the end on."""
        trial = self._trials.pop(number, None)
        self._began.pop(number, None)
        self._stopped.discard(number)
        if trial is None:  # the scheduler has stopped it
            return
        if comparable and trial.status == Trial.RUNNING:
            self._inner.on_trial_complete(self, trial, trial.run_metadata.last_result)
        else:
            self._inner.on_trial_remove(self, trial)
        trial.set_status(Trial.TERMINATED)

    def _result(self, trial: Trial, epoch: int, metrics: Metrics, at: float) -> dict[str, Any]:
        """A report as Ray's schedulers see it."""
        times = {"training_iteration": epoch, "time_total_s": at - self._began[int(trial.config["number"])]}
        return {"trial_id": trial.trial_id, self._resource: epoch, **times, **metrics}
