"""What schedulers that pause have in common: trials stop at rungs, and somebody says which of them goes on."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import TrialScheduler

from hpo.numbers import Numbers

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class Pausing(TrialScheduler, ABC):
    """A scheduler under which trials wait at rungs. Trials are known by `config["number"]`."""

    def __init__(self) -> None:
        super().__init__()
        self._paused: dict[int, Trial] = {}
        self._numbers = Numbers()
        """Numbers of the paused trials; long studies have thousands."""
        self._pending: deque[Trial] = deque()
        """Those that were added or promoted, some of which have begun since."""
        self.no_new = False
        """Told by the engine: the last trial of the budget has started."""
        self.idle = False
        """Told by the engine: nothing runs."""
        self.reserved_for: int | None = None
        """Told by the engine: the trial that all epochs that are left are kept for; it pauses no more."""

    @property
    def paused(self) -> Collection[int]:
        """The trials that wait, as they stand."""
        return self._paused.keys()

    @abstractmethod
    def pauses(self, number: int, epoch: int, metrics: dict[str, Any]) -> bool:
        """Whether a trial that has just reported waits now."""

    @abstractmethod
    def note(self, number: int, epoch: int, metrics: dict[str, Any]) -> object:
        """What a trial is worth; nothing is decided."""

    def recall(self, trial: "Trial", epoch: int, metrics: dict[str, Any], waits: bool) -> None:
        """A report of which nothing is decided here, as of an earlier search: the trial waits since, or went on."""
        number = int(trial.config["number"])
        self.promote(number)  # or it would not have trained
        self.note(number, epoch, metrics)
        if waits:
            self._keep(number, trial)

    @property
    def next(self) -> int | None:
        """The paused trial that is to go on before a new one starts, once a part of the budget may be reserved."""
        if self.reserved_for is None:
            return self.waiting()
        return self.reserved_for if self.reserved_for in self._paused else None

    @abstractmethod
    def waiting(self) -> int | None:
        """The paused trial that is to go on before a new one starts; None where a new one is to start.

        With `no_new` and `idle`, None ends the search.
        """

    def promote(self, number: int) -> None:
        """A paused trial goes on."""

    def forget(self, number: int) -> None:
        """A trial failed, diverged, or was taken out: it must not stand before others."""

    def on_trial_add(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """It is to start; a trial counts from its first rung."""
        self._pending.append(trial)

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Pauses the trial, or lets it go on."""
        number = int(trial.config["number"])
        if number == self.reserved_for:
            self.recall(trial, int(result["epoch"]), result, waits=False)
            return TrialScheduler.CONTINUE
        if not self.pauses(number, int(result["epoch"]), result):
            return TrialScheduler.CONTINUE
        self._keep(number, trial)
        return TrialScheduler.PAUSE

    def on_trial_complete(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> None:
        """It waits no more."""
        self._release(int(trial.config["number"]))

    def on_trial_error(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """It waits no more, and is compared no more."""
        self._release(int(trial.config["number"]))
        self.forget(int(trial.config["number"]))

    def on_trial_remove(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """It waits no more, and is compared no more."""
        self._release(int(trial.config["number"]))
        self.forget(int(trial.config["number"]))

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """A paused trial that is to go on, else a new one."""
        number = self.next
        if number is not None:
            trial = self._paused[number]
            if trial.status != "PAUSED":  # its checkpoint is being stored; it goes on when that is done
                return None
            self.promote(number)
            self._pending.append(trial)
            self._release(number)
            return trial
        while self._pending and self._pending[0].status != "PENDING":
            self._pending.popleft()
        return next((trial for trial in self._pending if trial.status == "PENDING"), None)

    def _keep(self, number: int, trial: "Trial") -> None:
        self._paused[number] = trial
        self._numbers.add(number)

    def _release(self, number: int) -> None:
        self._paused.pop(number, None)
        self._numbers.discard(number)

    def debug_string(self) -> str:
        """A line for Ray's logs."""
        return f"{type(self).__name__}: {len(self._paused)} trials paused"
