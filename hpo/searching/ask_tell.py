"""A search whose trials are trained by the caller's own loop: it asks for trials, and tells what became of them."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from hpo import samplers
from hpo.controller import (
    SPENT_TIME,
    Controller,
    Drop,
    Failed,
    Finished,
    NothingLeft,
    Resume,
    Retries,
    Start,
    Wait,
)
from hpo.controller.live_trial import IN_SLOT
from hpo.errors import HpoError, InputError
from hpo.schedulers import Decision
from hpo.spec import Config, SearchSpec
from hpo.study.storage.lock import this_process
from hpo.study.study import Study
from hpo.study.trial import Failure, Observer, TrialRecord
from hpo.tracking.writer import Tracker
from hpo.training.reports import checked_metrics, epoch_number


@dataclass(frozen=True)
class AskedTrial:
    """A trial that the caller is to train."""

    number: int
    """The number of the trial in the study."""
    config: Config
    """Parameter name -> value."""
    epoch: int = 0
    """Epochs that it was trained already. Go on after this one from a state of your own, or train all again: what is
    reported once more is not recorded again."""
    parent: int | None = None
    """The trial whose state after `epoch` this one begins with, where `pbt` has bred it; else None."""


class AskAndTell:
    """A search in progress; `hpo.ask_and_tell` makes it. Threads may share it.

    Args:
        study: is held for this search, and has its sampler.
        controller: of the study.
    """

    def __init__(self, study: Study, controller: Controller) -> None:
        self.study = study
        """All that was recorded so far."""
        self._controller = controller
        self._lock = threading.RLock()
        self._nothing_left = False

    @property
    def epochs(self) -> int:
        """The full resource: epochs after which a trial is complete."""
        return self.study.spec.training.epochs

    @property
    def over(self) -> bool:
        """Whether nothing is left to train: the budget is used up, and no trial is being trained."""
        with self._lock:
            met = self._controller.limits.met is not None or self.stopped
            return self._nothing_left or (met and not self._controller.slots.busy)

    @property
    def stopped(self) -> bool:
        """Whether the search is to end since somebody wishes it (`hpo stop`): `ask` gives nothing more."""
        return self._controller.wishing.stopped

    @property
    def best(self) -> TrialRecord | None:
        """The incumbent; None before the first report."""
        with self._lock:
            return self.study.best()

    def ask(self) -> AskedTrial | None:
        """The trial to train next: a new one, one that goes on after a pause, or one that failed or was interrupted.

        Returns:
            None where nothing is to be trained now: all is over, or every worker has a trial.

        Raises:
            HpoError: too many trials have failed one after another, a disk is full, or the study's folder is gone.
        """
        with self._lock:
            self._check()
            while True:
                match self._controller.next():
                    case Start(trial):
                        return _asked(trial)
                    case Resume(number):
                        return _asked(self.study.trial(number))
                    case NothingLeft():
                        self._nothing_left = True
                        return None
                    case Drop():
                        continue
                    case Wait():
                        return None

    def report(self, trial: AskedTrial | int, epoch: int, metrics: Mapping[str, float]) -> Decision:
        """Records the metrics of an epoch.

        Args:
            trial: that was asked for.
            epoch: that it has trained, from 1.
            metrics: name -> number, with the objectives and what constraints are on. NaN says that it has diverged.

        Returns:
            `CONTINUE`; `PAUSE`: keep the trial's state, since `ask` may give it again; `STOP`: it has ended.

        Raises:
            InputError: the trial is not being trained, or the epoch is no later one.
            TrainingError: a metric is missing, or is no number.
        """
        with self._lock:
            number = self._trained(trial)
            epoch = self._epoch(number, epoch)
            checked = checked_metrics(metrics, self.study.spec, epoch)
            decision = self._controller.report(number, epoch, checked, this_process())
            if decision is Decision.PAUSE:
                self._controller.stored(number)
            return decision

    def tell(
        self,
        trial: AskedTrial | int,
        result: float | Mapping[str, float] | None = None,
        *,
        error: BaseException | str | None = None,
    ) -> None:
        """Records that a trial has ended by itself. One that `report` has paused or stopped needs no word more.

        Args:
            trial: that was asked for.
            result: the objective, or all metrics, of a trial trained in full; None where all was reported.
            error: why it has failed. `ask` gives it again as often as `failures.max_retries` allows.

        Raises:
            InputError: the trial is not being trained, or ends without a report.
            TrainingError: a metric is missing, or is no number.
        """
        with self._lock:
            number = self._trained(trial)
            if error is not None:
                told = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
                self._controller.ended(number, Failed(Failure.ERROR, told))
            elif result is not None:
                metrics = result if isinstance(result, Mapping) else {self.study.spec.objective.metric: result}
                self.report(number, self.epochs, metrics)
            elif not self.study.trial(number).reports:
                raise InputError(f"trial {number} ends without a report; tell its result, or error=")
            else:
                self._controller.ended(number, Finished())

    def close(self, interrupted: bool) -> None:
        """Ends the trials that are live where the budget has ended the search; else the next search goes on with them.

        Args:
            interrupted: whether the caller's loop has raised.
        """
        with self._lock:
            stays = interrupted or self.stopped or bool(self._controller.trouble)
            self._controller.close(None if stays else self._controller.limits.met)

    def _check(self) -> None:
        trouble = self._controller.trouble
        trouble.misses_folder()
        if (told := trouble.told("the same loop")) is not None:
            raise HpoError(told)

    def _trained(self, trial: AskedTrial | int) -> int:
        number = trial.number if isinstance(trial, AskedTrial) else trial
        live = self._controller.live(number)
        if live is None or live.phase not in IN_SLOT:
            raise InputError(
                f"trial {number!r} is not being trained: report and tell take trials that `ask` gave, until they pause"
                " or end"
            )
        return number

    def _epoch(self, number: int, epoch: int) -> int:
        trial, live = self.study.trial(number), self._controller.live(number)
        last = max(trial.epoch, trial.inherited)
        if live is not None and last <= live.recorded:  # recorded epochs may be reported once more
            last = trial.inherited
        whole = epoch_number(epoch)
        if not last < whole <= self.epochs:
            raise InputError(
                f"epoch must be a whole number from {last + 1} to {self.epochs} for trial {number}, got {epoch!r:.80}"
            )
        return whole


def _asked(trial: TrialRecord) -> AskedTrial:
    parent = trial.lineage["parents"][0] if trial.inherited and trial.lineage else None
    return AskedTrial(trial.number, deepcopy(trial.config), max(trial.epoch, trial.inherited), parent)


@contextmanager
def searching(
    study: Study, spec: SearchSpec, storage: Path | None, workers: int, observers: Sequence[Observer]
) -> Iterator[tuple[AskAndTell, Tracker | None]]:
    """Holds a study for a search by the caller's loop.

    Args:
        study: that is searched until the budget is spent.
        spec: of this search, whose budget and rules for failures may be others than the study's.
        storage: the folder of all studies, whose MLflow is told; none is where the study is in memory.
        workers: how many trials may be asked for before one has ended.
        observers: are told what has been recorded.
    """
    limit = spec.budget.time_limit
    deadline = None if limit is None else time.monotonic() + limit
    with ExitStack() as held:
        held.enter_context(study.hold.searching(budget=spec.budget))
        study.writer.use(samplers.build(study.spec, len(study.trials())))
        tracker = None if storage is None else held.enter_context(Tracker(study, storage))
        controller = Controller(
            study,
            study.spent().left(spec.budget),
            lambda: workers,
            observers=[*observers, *([] if tracker is None else [tracker])],
            retries=Retries(spec.failures, delay=0.0),
            until=lambda: SPENT_TIME if deadline is not None and time.monotonic() >= deadline else None,
        )
        search = AskAndTell(study, controller)
        try:
            yield search, tracker
        except BaseException:
            search.close(interrupted=True)
            raise
        search.close(interrupted=False)
