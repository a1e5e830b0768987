"""What happens in a study, written into its record: proposals, reports, pauses, ends."""

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from itertools import count
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from hpo.spec.space import ConfigKey, Space, config_key, possible_configs
from hpo.study import ranking
from hpo.study.artifacts.seal import claim
from hpo.study.optuna_study import GPU_SECONDS
from hpo.study.optuna_trial import (
    BEGAN,
    CONSTRAINT,
    FAILURE,
    INHERITED,
    LINEAGE,
    MACHINE,
    PAUSED,
    REASON,
    REPLACES,
    REPORT,
    RETRIES,
    RETRY_OF,
    SETTLED,
    TO_OPTUNA,
    WISH,
    written,
)
from hpo.study.storage.cached import CachedStorage
from hpo.study.trial import LIVE, NEVER, Metrics, Moment, Outcome, State, TrialRecord

if TYPE_CHECKING:
    from hpo.study.study import Study


class Writer:
    """Writes what happens in one study; a search that holds the study is the only one to.

    Args:
        study: that is written to.
    """

    def __init__(self, study: "Study") -> None:
        self._study = study
        self._space = Space.of(study.spec)
        self.clock: Callable[[], float] = time.time
        """What moments are taken from; a simulated search has its own."""
        self._order: Iterator[int] | None = None
        self._running: dict[int, int] = {}
        """Trials of this search: number -> Optuna's id."""
        self._machines: dict[int, str] = {}
        """Trial -> the process that has trained it last, as recorded by this search."""

    # ---- proposals -----------------------------------------------------------------------------------------------

    def use(self, sampler: optuna.samplers.BaseSampler) -> None:
        """Sets who proposes."""
        self._study.record.sampler = sampler

    def ask(self) -> TrialRecord:
        """A new trial with a proposed config."""
        with self._together():
            trial = self._proposed(self._study.record.ask)
        self._running[trial.number] = trial._trial_id
        return self._study.trial(trial.number)

    def try_config(self, config: Mapping[str, Any], wish: str, retry_of: int | None = None) -> TrialRecord:
        """A new trial with a config that somebody wishes; the sampler fills in what it lacks.

        Args:
            config: of the new trial.
            wish: the name of the wish.
            retry_of: the failed trial that is begun again; None where it is a config of the user's.
        """
        attributes = {WISH: wish} if retry_of is None else {WISH: wish, RETRY_OF: retry_of}
        with self._together():
            self._study.record.enqueue_trial(self._space.recorded(config), user_attrs=attributes)
            return self.ask()

    def bear(self, config: Mapping[str, Any], parent: int, epoch: int, replaces: int) -> TrialRecord:
        """A new trial with a given config that begins where another one's stored state stands.

        Args:
            config: of the new trial.
            parent: number of the other.
            epoch: after which its state was stored.
            replaces: number of a third, which ends for the new one.
        """
        lineage = {"strategy": self._study.spec.scheduler.name, "parents": [parent], "operator": "explore"}
        with self._together():
            attributes = {LINEAGE: lineage, INHERITED: epoch, REPLACES: replaces}
            self._study.record.enqueue_trial(self._space.recorded(config), user_attrs=attributes)
            child = self.ask()
        return self._lend(child)

    def unfinished(self) -> list[TrialRecord]:
        """The trials that an earlier search has left running or paused; from now on they are this one's.

        Where that search died in the middle of what it wrote of a trial, the rest is written: a proposal is made again
        by the sampler, which makes the same one.
        """
        study, record = self._study, self._study.record
        study.trials()  # nothing is written where one of them is damaged
        for frozen in record.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._running[frozen.number] = frozen._trial_id
            with self._together():
                if BEGAN not in frozen.user_attrs:
                    self._proposed(partial(optuna.Trial, record, frozen._trial_id))
                trial = study.trial(frozen.number)
                if trial.reports:
                    self._tell_optuna(frozen._trial_id, trial.epoch, trial.reports[trial.epoch])
        for frozen in record.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if INHERITED in frozen.user_attrs:
                self.ask()
        trials = [study.trial(number) for number in self._running]
        return [self._lend(trial) if trial.inherited and not trial.reports else trial for trial in trials]

    @property
    def exhausted(self) -> bool:
        """Whether nothing more is to be proposed: the sampler has nothing, or no config is left."""
        return self._study.record.exhausted or self.used_up is not None

    @property
    def used_up(self) -> int | None:
        """How many configs the space has, once each of them has been tried; None before, and where they may repeat."""
        if self._possible is None or len(self._tried) < self._possible:
            return None
        return self._possible

    @cached_property
    def _possible(self) -> int | None:
        return possible_configs(self._study.spec)

    @cached_property
    def _tried(self) -> set[ConfigKey]:
        """The configs of all trials that have begun; those that failed were tried too."""
        begun = (trial for trial in self._study.trials() if trial.began is not None or trial.state not in LIVE)
        return {config_key(trial.config) for trial in begun}

    def _proposed(self, make: Callable[[], optuna.Trial]) -> optuna.Trial:
        """A trial whose config is whole."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a default between two steps of a range is wanted as it is
            trial = make()
            self._space.suggest(trial)
        trial.set_user_attr(BEGAN, self._moment())
        if self._possible is not None:
            self._tried.add(config_key(self._space.config(trial.params)))
        return trial

    def _lend(self, child: TrialRecord) -> TrialRecord:
        """Copies the parent's stored state to a child that has none.

        A parent that trains meanwhile may have stored a later one than it had when it was chosen. So the child is
        returned with `inherited` set to the epoch of that state.
        """
        assert child.lineage is not None
        study, artifacts = self._study, self._study.artifacts
        parent = study.trial(child.lineage["parents"][0])
        lender, own = (claim(trial.number, trial.config) for trial in (parent, child))
        if not artifacts.has_state(child.number):  # an earlier search may have died before or after
            artifacts.lend_state(parent.number, child.number, lender, own)
        stands = artifacts.state_epoch(child.number, own, parent.number)
        if stands is None or stands == child.inherited:
            return child
        with self._together():
            self._set(child.number, INHERITED, stands)
        return self._study.trial(child.number)

    # ---- what becomes of trials ----------------------------------------------------------------------------------

    def report(self, number: int, epoch: int, metrics: Metrics, machine: str | None = None) -> None:
        """Records one report of a running trial, and the process that has trained it where that is another one now."""
        with self._together():
            if machine is not None and self._machines.get(number) != machine:
                self._set(number, MACHINE, machine)
                self._machines[number] = machine
            self._set(number, f"{REPORT}{epoch}", written(metrics, self._moment()))
            self._tell_optuna(self._running[number], epoch, metrics)

    def pause(self, number: int) -> None:
        """Records that a running trial waits."""
        with self._together():
            self._set(number, PAUSED, True)

    def resume(self, number: int) -> None:
        """Records that a paused trial goes on."""
        with self._together():
            self._set(number, BEGAN, self._moment())
            self._set(number, PAUSED, False)

    def retry(self, number: int) -> int:
        """Records that a running trial begins again after it had failed; returns how often it has by now."""
        again = self._study.trial(number).retries + 1
        with self._together():
            self._set(number, RETRIES, again)
        return again

    def end(self, number: int, outcome: Outcome) -> TrialRecord:
        """Records a trial's outcome: Optuna is told COMPLETE, PRUNED at its last step, or FAIL."""
        with self._together():
            self._end(number, outcome)
        with contextlib.suppress(OSError):  # `hpo gc` removes what stays
            self._study.artifacts.drop_state(number)
        return self._study.trial(number)

    def note_gpu_seconds(self, seconds: float) -> None:
        """Records how long the study's trials have held GPUs, in all searches."""
        with self._together():
            self._study.record.set_user_attr(GPU_SECONDS, seconds)

    def _end(self, number: int, outcome: Outcome) -> None:
        if outcome.reason:
            self._set(number, REASON, outcome.reason)
        if outcome.failure is not None:
            self._set(number, FAILURE, outcome.failure.value)
        if outcome.settled is not None:
            self._set(number, SETTLED, outcome.settled)
        record, trial_id = self._study.trial(number), self._running.pop(number)
        self._machines.pop(number, None)
        if record.best_epoch is not None:
            self._set_constraints(trial_id, record.reports[record.best_epoch])
        if outcome.state is State.COMPLETE:
            self._study.record.tell(number, list(record.values.values()), state=TrialState.COMPLETE)
        else:
            self._study.record.tell(number, state=TO_OPTUNA[outcome.state], skip_if_finished=False)

    def _tell_optuna(self, trial_id: int, epoch: int, metrics: Metrics) -> None:
        """A report, as Optuna's samplers read it."""
        value = metrics.get(self._study.spec.objective.metric, math.nan)
        self._study.record._storage.set_trial_intermediate_value(trial_id, epoch, float(value))
        self._set_constraints(trial_id, metrics)  # the last's; `end` writes the best's

    def _set_constraints(self, trial_id: int, metrics: Metrics) -> None:
        for name, excess in ranking.excesses(self._study.spec, metrics).items():
            self._study.record._storage.set_trial_system_attr(trial_id, f"{CONSTRAINT}:{name}", excess)

    def _set(self, number: int, name: str, value: Any) -> None:
        """Writes an attribute of a running trial."""
        self._study.record._storage.set_trial_user_attr(self._running[number], name, value)

    # ---- moments -------------------------------------------------------------------------------------------------

    @property
    def last(self) -> Moment:
        """The time when something was recorded last."""
        moments = (moment for trial in self._study.trials() for moment in (trial.began, trial.last) if moment)
        return max(moments, default=NEVER, key=lambda moment: moment.order)

    def _moment(self) -> Moment:
        """Now."""
        if self._order is None:
            self._order = count(1 + self.last.order)
        return Moment(next(self._order), self.clock())

    def _together(self) -> AbstractContextManager[None]:
        """What is written within is flushed once, while a search holds the study."""
        storage = self._study.record._storage
        return storage.together() if isinstance(storage, CachedStorage) else nullcontext()
