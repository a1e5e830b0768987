"""What a failure leads to: the same trial again, its end, or the end of the search."""

import time
from collections import Counter

from hpo.controller.live_trial import LiveTrial
from hpo.spec import Failures
from hpo.study.trial import Failure, Outcome, State, TrialRecord

_FIRST_DELAY, _DOUBLINGS = 1.0, 6
"""Seconds before the first retry of a trial, and how often the delay doubles."""
_MOST_LOSSES = 3
"""How many machines one trial may lose: it may take more memory than they have."""
_MACHINES_LOST = f"its machine was lost {_MOST_LOSSES + 1} times: perhaps by this trial, which takes too much memory"


class Retries:
    """Decides what a failure of each kind leads to.

    Args:
        rules: how many failures are taken.
        delay: seconds before the first retry of a trial; each further one waits twice as long.
    """

    def __init__(self, rules: Failures, delay: float = _FIRST_DELAY) -> None:
        self._rules = rules
        self._delay = delay
        self._causes: list[str] = []
        """Causes of the trials that failed one after another."""

    def after_failure(self, live: LiveTrial, earlier: int, failure: Failure, reason: str) -> Outcome | None:
        """The trial's end, or None where it is to restart; then `live` says when, and whether alone.

        A trial that ran out of memory restarts once alone, whatever the rules say.

        Args:
            live: the trial that has failed.
            earlier: how often it was retried before.
            failure: the kind.
            reason: the whole message.
        """
        lonely = failure is Failure.MEMORY and not live.alone
        if not lonely and earlier >= self._rules.max_retries:
            return Outcome(State.FAILED, reason, failure)
        live.alone |= lonely
        live.not_before = time.monotonic() + self._delay * 2 ** min(earlier, _DOUBLINGS)
        return None

    def after_loss(self, live: LiveTrial) -> Outcome | None:
        """The end of a trial whose machine was lost, or None where it is to restart."""
        live.losses += 1
        return Outcome(State.FAILED, _MACHINES_LOST, Failure.MACHINE) if live.losses > _MOST_LOSSES else None

    def hangs(self, live: LiveTrial) -> bool:
        """Whether the trial has been silent for as long as it may be."""
        timeout = self._rules.trial_timeout
        return timeout is not None and time.monotonic() - live.heard >= timeout

    def succeeded(self) -> None:
        """Ends a row of failures: some trial has paused or ended well."""
        self._causes.clear()

    def count_end(self, trial: TrialRecord) -> str | None:
        """Counts a trial that has ended: a sentence once too many have failed one after another, else None."""
        if trial.state is not State.FAILED:
            self.succeeded()
            return None
        self._causes.append(trial.cause or "")
        count = len(self._causes)
        if count < self._rules.max_failures:
            return None
        (cause, often), *_ = Counter(self._causes).most_common()
        return f"the last {count} trials failed one after another, so the search has ended; {often} of them: {cause}"
