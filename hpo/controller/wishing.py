"""What other processes wish of a search: it is looked for now and then, fulfilled, recorded, and then removed."""

import logging
import math
import time
from collections import deque
from dataclasses import dataclass

from optuna.trial import TrialState

from hpo.controller.endings import Endings
from hpo.controller.live_trial import IN_SLOT, LiveTrials, Phase
from hpo.errors import StudyError
from hpo.spec import Config
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from hpo.study.wishes import RetryTrial, StopSearch, StopTrial, TryConfig, Wish

_LOOK_SECONDS = 1.0
"""Seconds between two looks into the folder of wishes."""
_STOPPED = Outcome(State.PRUNED, "stopped by the user")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A config that is to be tried next."""

    wish: str
    """The name of the wish."""
    config: Config
    retry_of: int | None = None
    """The failed trial that is begun again; None where it is a config of the user's."""


class Wishing:
    """Fulfils the wishes of a study that is searched.

    Args:
        study: whose wishes.
        live: its trials that have not ended.
        endings: end trials.
    """

    def __init__(self, study: Study, live: LiveTrials, endings: Endings) -> None:
        self._study, self._live, self._endings = study, live, endings
        self.stopped = False
        """Whether somebody wishes that this search ends."""
        self._looked = -math.inf
        self._stopping: dict[int, str] = {}
        """Trial that is to stop at its next report -> the wish."""
        self._wanted: deque[Wanted] = deque()
        self._done = study.wishes.fulfilled
        """Wishes that the record has, though their files may still be there: an earlier search died in between."""
        self._known: set[str] = set()

    def look(self) -> None:
        """Looks what is wished, if that was not done just now, and does what can be done at once.

        A controller does it whenever it is asked or told something; an engine where that may be long from now.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS and not self._study.is_in_memory:
            return
        self._looked = now
        waiting = self._study.wishes.waiting()
        self._wanted = deque(one for one in self._wanted if one.wish in waiting)  # others were taken back
        for number, name in list(self._stopping.items()):
            live = self._live.get(number)
            if live is None or live.phase not in IN_SLOT:  # it has ended, or failed: the wish is heard again
                del self._stopping[number]
                self._known.discard(name)
        for name, wish in waiting.items():
            if name in self._done:
                self._study.wishes.remove(name)
            elif name not in self._known:
                self._hear(name, wish)

    def stops(self, number: int) -> Outcome | None:
        """How a trial that has reported ends where somebody wishes that it stops; else None."""
        if (name := self._stopping.pop(number, None)) is None:
            return None
        self._study.wishes.remove(name)
        return _STOPPED

    def next(self, paid: bool) -> Wanted | None:
        """The config to try next.

        Args:
            paid: whether the budget has a trial left. A failed trial that begins again needs none.
        """
        wanted = next((one for one in self._wanted if paid or one.retry_of is not None), None)
        if wanted is None or self._study.record.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None  # what the record has enqueued, such as the default config, comes first
        return wanted

    def tried(self, wanted: Wanted) -> None:
        """A trial has begun with the config."""
        self._wanted.remove(wanted)
        self._study.wishes.remove(wanted.wish)

    def _hear(self, name: str, wish: Wish) -> None:
        """Does what is wished, or keeps it until it can be done."""
        _log.info("wished: %s", wish)
        match wish:
            case StopSearch(searcher):
                self._study.wishes.remove(name)
                self.stopped |= searcher == self._study.hold.this_process
            case StopTrial(number):
                self._stop_trial(name, number)
            case TryConfig(config):
                self._known.add(name)
                self._wanted.append(Wanted(name, config))
            case RetryTrial(number):
                self._retry(name, number)

    def _stop_trial(self, name: str, number: int) -> None:
        live = self._live.get(number)
        if live is None or number in self._stopping:  # it has ended meanwhile, or was wished before
            self._study.wishes.remove(name)
        elif live.phase in IN_SLOT:
            self._known.add(name)
            self._stopping[number] = name
        elif live.phase is Phase.LOST:
            self._endings.end(number, _STOPPED)
            self._study.wishes.remove(name)
        elif live.phase is not Phase.PAUSED or live.stored:
            self._endings.dismiss(number, _STOPPED, comparable=True)
            self._study.wishes.remove(name)

    def _retry(self, name: str, number: int) -> None:
        """Queues a failed trial, unless there is none of this number, or it was begun again already."""
        try:
            trial = self._study.trial(number)
        except StudyError:
            trial = None
        again = any(other.retry_of == number for other in self._study.trials())
        if trial is None or trial.state is not State.FAILED or again:
            self._study.wishes.remove(name)
            return
        self._known.add(name)
        self._wanted.append(Wanted(name, dict(trial.config), number))
