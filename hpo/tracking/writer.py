"""A batching writer: a thread of its own tells MLflow what happens; no trial ever waits for MLflow or fails with it.

What MLflow was not told, because it could not be reached or the search died, is in the study: it is told when MLflow is
there again, in this search or the next one.
"""

import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hpo.study.study import Study
from hpo.study.trial import Metrics, TrialRecord
from hpo.tracking.problems import Unusable, one_line, reason
from hpo.tracking.updates import Update

if TYPE_CHECKING:
    from hpo.tracking.runs import Runs

_GATHER_SECONDS = 1.0
"""How long records gather before they are written together."""
_TRIES = 3
"""How often a trial is tried whose records MLflow refuses while it takes others; and all, once the search is over."""
_PAUSE_SECONDS = 1.0
"""Seconds before the second try of these; then longer."""
_LONGEST_SECONDS = 15.0
"""Seconds at most between two tries while the search goes on."""


class Tracker:
    """An observer that writes a study and its trials to MLflow in the background.

    `problem` is why records are missing in MLflow, once the tracker was closed; the study itself has them all.

    Args:
        study: what it has already is told first, as far as MLflow does not know it.
        storage: the folder of all studies.
        say: is told once, in a line, when MLflow takes nothing.
    """

    def __init__(self, study: Study, storage: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self._study, self._storage, self._say = study, storage, say
        self._before = study.trials()
        self._news: queue.SimpleQueue[Update | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._runs: Runs | None = None
        self._behind: dict[int, Update] = {}
        """What MLflow is still to be told."""
        self._failures: Counter[int] = Counter()
        self._given_up: set[int] = set()
        self._problem: Exception | None = None
        self._lost = 0
        self._over = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._news.put(None)
        self._thread.join()

    @property
    def problem(self) -> str | None:
        """One sentence, or None where MLflow has everything."""
        if not self._lost or self._problem is None:
            return None
        return (
            f"MLflow lacks {self._lost} records of this search: {reason(self._problem)}; the study has them, and the"
            " same command tells MLflow"
        )

    def trial_started(self, trial: TrialRecord) -> None:
        """Queued."""
        self._news.put(Update(trial.number, started=trial))

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Queued."""
        moment = self._study.trial(number).reported[epoch]
        self._news.put(Update(number, reports={epoch: (metrics, moment)}))

    def trial_paused(self, number: int) -> None:
        """MLflow has no such state; the run goes on."""

    def trial_resumed(self, number: int) -> None:
        """Tells nothing: to MLflow the trial was never paused."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Queued."""
        self._news.put(Update(trial.number, ended=trial))

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with one_line():
            try:
                self._follow()
            except Unusable as error:
                self._problem = error
                self._say(f"MLflow is left out of this search: {error}")
                while not self._over:
                    self._gather(None)
            self._lost += sum(updates.records for updates in self._behind.values())
            if not self._closed():
                self._lost = max(1, self._lost)  # the run of the search itself

    def _follow(self) -> None:
        """Tells MLflow what happens until the search is over, and then what it would not take before."""
        failed = 0
        while not self._over:
            self._gather(min(_PAUSE_SECONDS * 2**failed, _LONGEST_SECONDS) if failed else None)
            failed = 0 if self._told() else failed + 1
        for attempt in range(1, _TRIES):
            if not failed and not self._behind:
                break
            time.sleep(_PAUSE_SECONDS * attempt)
            failed = not self._told()

    def _gather(self, patience: float | None) -> None:
        """Waits for what happens next and for what follows at once, or just for so many seconds."""
        until = math.inf if patience is None else time.monotonic() + patience
        while (left := until - time.monotonic()) > 0:
            try:
                updates = self._news.get(timeout=None if patience is None and until == math.inf else left)
            except queue.Empty:
                break
            if updates is None:
                self._over = True
                return
            self._hear(updates)
            if patience is None:
                until = min(until, time.monotonic() + _GATHER_SECONDS)

    def _hear(self, updates: Update) -> None:
        """Something that MLflow is to be told, after what it is to be told already."""
        if updates.number in self._behind:
            self._behind[updates.number].add(updates)
        else:
            self._behind[updates.number] = updates

    def _told(self) -> bool:
        """Tells MLflow what it does not know; False where it takes nothing, and is to be tried again."""
        try:
            if self._runs is None:
                from hpo.tracking.runs import Runs  # MLflow takes seconds to import, for which nobody should wait

                self._runs = Runs(self._study, self._storage)
                behind, self._behind = self._behind, self._runs.unknown(self._before)
                for updates in behind.values():
                    self._hear(updates)
        except Unusable:
            raise
        except Exception as error:  # MLflow's clients raise whatever their transport raises
            self._missed(error)
            return False
        return self._tell_trials(self._runs)

    def _missed(self, error: Exception) -> None:
        """MLflow takes nothing now."""
        if self._problem is None:
            self._say(f"MLflow cannot be told: {reason(error)}; the search goes on, and tells it later.")
        self._problem = error

    def _closed(self) -> bool:
        try:
            if self._runs is not None:
                self._runs.close()
        except Exception as error:
            self._problem = error
            return False
        return self._runs is not None

    def _tell_trials(self, runs: "Runs") -> bool:
        """Tells MLflow of each trial; False where it takes nothing.

        A trial that is refused waits behind the others, and is given up where those are taken.
        """
        taken = 0
        for number in list(self._behind):
            updates = self._behind[number]
            if number in self._given_up:  # nor is its end told, or nobody would look for the rest
                self._lost += updates.records
                del self._behind[number]
                continue
            try:
                runs.write(updates)
            except Exception as error:
                self._missed(error)
                del self._behind[number]
                self._failures[number] += bool(taken)
                if self._failures[number] >= _TRIES:
                    self._lost += updates.records
                    self._given_up.add(number)
                else:
                    self._behind[number] = updates
                if not taken:
                    return False
            else:
                taken += 1
                del self._behind[number]
        return True
