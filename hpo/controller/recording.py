"""What happens to trials goes into the study, then observers hear of it."""

import logging
from collections.abc import Callable, Sequence

from hpo.schedulers import Child
from hpo.spec import Config
from hpo.study.study import Study
from hpo.study.trial import Metrics, Observer, Outcome, TrialRecord

_log = logging.getLogger(__name__)


class Recording:
    """Writes into a study and tells observers, in this order.

    Args:
        study: has its sampler.
        observers: are told what has been recorded.
    """

    def __init__(self, study: Study, observers: Sequence[Observer]) -> None:
        self._study, self._observers = study, observers

    def take_up(self) -> list[TrialRecord]:
        """The trials that an earlier search has left, of which observers hear as if they began."""
        unfinished = self._study.writer.unfinished()
        for trial in unfinished:
            self._tell_start(trial)
        return unfinished

    def propose(self) -> TrialRecord:
        """A new trial, with a config of the sampler's."""
        return self._tell_start(self._study.writer.ask())

    def try_config(self, config: Config, wish: str, retry_of: int | None) -> TrialRecord:
        """A new trial with a config that somebody wishes.

        Args:
            config: may lack parameters, which the sampler fills in.
            wish: the name of the wish.
            retry_of: the failed trial that is begun again; None where it is a config of the user's.
        """
        return self._tell_start(self._study.writer.try_config(config, wish, retry_of))

    def bear(self, child: Child) -> TrialRecord:
        """A new trial that goes on with the training of its parent."""
        return self._tell_start(self._study.writer.bear(child.config, child.parent, child.epoch, child.replaces))

    def report(self, number: int, epoch: int, metrics: Metrics, machine: str | None = None) -> None:
        """The metrics of an epoch, and the process that has trained it."""
        self._study.writer.report(number, epoch, metrics, machine)
        _log.debug("trial %d, epoch %d: %s", number, epoch, metrics)
        self._tell(lambda observer: observer.trial_reported(number, epoch, metrics))

    def pause(self, number: int) -> None:
        """A trial waits."""
        self._study.writer.pause(number)
        _log.info("trial %d is paused", number)
        self._tell(lambda observer: observer.trial_paused(number))

    def resume(self, number: int) -> None:
        """A paused trial goes on."""
        self._study.writer.resume(number)
        _log.info("trial %d goes on", number)
        self._tell(lambda observer: observer.trial_resumed(number))

    def retry(self, number: int) -> None:
        """A trial that has failed is to restart."""
        _log.info("trial %d has failed and restarts", number)
        self._study.writer.retry(number)

    def end(self, number: int, outcome: Outcome) -> TrialRecord:
        """A trial has ended."""
        trial = self._study.writer.end(number, outcome)
        _log.info("trial %d has ended, %s at epoch %d: %s", number, trial.state.value, trial.epoch, _how(trial))
        self._tell(lambda observer: observer.trial_ended(trial))
        return trial

    def _tell_start(self, trial: TrialRecord) -> TrialRecord:
        _log.info("trial %d starts: %s", trial.number, trial.config)
        self._tell(lambda observer: observer.trial_started(trial))
        return trial

    def _tell(self, event: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            event(observer)


def _how(trial: TrialRecord) -> str:
    """Why a trial has ended, or its value."""
    return trial.cause or trial.reason or f"{trial.metric} {trial.value}"
