"""Ray Tune runs the trials of a study."""

import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from signal import Signals

from ray import tune

from hpo.controller import SPENT_TIME, Controller, Retries
from hpo.datasets import Dataset
from hpo.engine.ray import machines
from hpo.engine.ray.cluster import cluster, environment, trial_resources
from hpo.engine.ray.driver import Driver, TuneScheduler, TuneSearcher, TuneStopper
from hpo.engine.ray.lifeline import lifeline
from hpo.engine.ray.pickling import Sent
from hpo.engine.ray.worker import Shared, Worker
from hpo.engine.ray.worker_settings import WorkerSettings
from hpo.errors import HpoError, last_line
from hpo.signals import Interruption, interruptions
from hpo.spec import Failures, Resources, SearchSpec, StudySpec
from hpo.study.artifacts.seal import Seal, canonical, claim
from hpo.study.budget import Left
from hpo.study.code import TrainingCode
from hpo.study.differences import fixed_settings
from hpo.study.secret import VARIABLE
from hpo.study.study import Study
from hpo.study.trial import LIVE, Observer
from hpo.training import TrainingFunction, train

GRACE_PERIOD = 30.0
"""Seconds that trials have to store their state once a signal has come, where nothing else is said."""
_LATE_SECONDS = 10.0
"""Seconds after the deadline for a worker to give its epoch up."""
_SECONDS = ("train_seconds", "epoch_seconds")
"""Metrics that more CPUs make better."""


def run(
    study: Study,
    function: TrainingFunction,
    *,
    resources: Resources,
    left: Left,
    dataset: Dataset | None,
    deadline: float | None = None,
    concurrency: int | None = None,
    until: Callable[[], str | None] = lambda: None,
    observers: Sequence[Observer] = (),
    failures: Failures | None = None,
    grace_period: float = GRACE_PERIOD,
    say: Callable[[str], object] = lambda line: None,
) -> Signals | None:
    """Runs trials of a study until its budget is spent, or time is up.

    Args:
        study: has its sampler; everything that happens is recorded in it.
        function: what is trained.
        resources: what one trial gets; a study that goes on elsewhere may ask for other ones.
        left: what the budget leaves.
        dataset: what the trials train on, one copy a machine; None where the training function has its own.
        deadline: on the clock of `time.monotonic`; trials then running are stopped, and kept as they last reported.
        concurrency: how many trials at once at most; by default as many as the cluster has room for.
        until: says why the search is to end, when it is.
        observers: are told what has been recorded.
        failures: what is done about trials that fail; what the study's spec says where None.
        grace_period: seconds that running trials have, once a signal has come, to end their epoch and be stored.
        say: is told that a signal has come, and that trials begin again.

    Returns:
        The signal that has ended it (Ctrl-C, SIGTERM, SIGHUP); None where none has.

    Raises:
        ResourceError: no node of the cluster has what one trial asks for, or one does not see the artifacts' folder.
        HpoError: Ray Tune failed, a sampler or scheduler raised, or too many trials have failed.
    """
    with cluster(), lifeline(), tempfile.TemporaryDirectory(prefix="hpo-") as scratch, interruptions() as interruption:
        each = trial_resources(resources)
        study.artifacts = study.artifacts.sealed(_seal(study, function))
        _tell_unproven(study, say)
        artifacts = study.artifacts.marked()
        there = machines.Machines(each, concurrency or sys.maxsize, artifacts.mark)
        rules = failures or study.spec.failures
        leaving = lambda: interruption.signal is not None  # noqa: E731
        ends = math.inf if deadline is None else deadline
        controller = Controller(
            study,
            left,
            there.slots,
            observers=observers,
            retries=Retries(rules),
            gpus=each["gpu"],
            until=lambda: SPENT_TIME if time.monotonic() >= ends else until(),
            leaving=leaving,
        )
        controller.heed_states(lambda number: study.artifacts.state_epoch(number, _claim(study, number)))
        ending = _Ending(controller, ends, interruption, grace_period, say)
        cpus = lendable(study.spec, each)
        driver = Driver(
            controller,
            over=lambda: ending.over(driver.trains),
            leaving=leaving,
            left_lately=there.left_lately,
            lends=lambda: cpus if there.own else 0.0,
            doubt=there.doubt,
            miss=there.miss,
        )
        shared = Shared(
            function=Sent(function),
            spec=study.spec,
            dataset=None if dataset is None else dataset.sent(),
            artifacts=artifacts,
            timeout=rules.trial_timeout,
            deadline=None if deadline is None else time.time() + deadline - time.monotonic(),
            settings=WorkerSettings.here(each),
        )
        try:
            with environment({"TUNE_MAX_PENDING_TRIALS_PG": str(sys.maxsize)}):  # the controller knows how many start
                _tuner(study, driver, shared, each, scratch).fit()
        except Exception as error:  # Tune, or a user's sampler or scheduler in it, may raise anything
            early = _ended_early(error, controller)
            with suppress(HpoError):  # a lost database is lost here too, and the first error tells how to go on
                controller.close(ending.reason)
            raise early from error
        else:
            controller.close(ending.reason)
        finally:
            there.close()
        _check_trouble(controller, interruption)
    return interruption.signal


def _seal(study: Study, function: TrainingFunction) -> Seal | None:
    """The seal of a study's states, where code that is not hpo's own goes on from them.

    They depend on the data, on the names of that code, and on all settings in which the study never differs.
    """
    spec = study.spec
    models, data = spec.own_code("model"), ""
    if isinstance(spec, StudySpec):
        data = study.data_summary.fingerprint
    if function is train and not models:
        return None
    code = TrainingCode.of(None if function is train else function, *models)
    names = [spec.train, *(None if one is None else one.identity for one in (code.function, code.model))]
    return Seal.of(study.id, canonical([names, data, fixed_settings(spec)]))


def _claim(study: Study, number: int) -> str:
    return claim(number, study.trial(number).config)


def _tell_unproven(study: Study, say: Callable[[str], object]) -> None:
    """Says that trials of an earlier search begin again, if the first of their states is not proven."""
    live = (trial.number for trial in study.trials() if trial.state in LIVE)
    with suppress(OSError):  # what cannot be read is told where it is needed
        first = next((number for number in live if study.artifacts.has_state(number)), None)
        if first is not None and not study.artifacts.takes_up(first, _claim(study, first)):
            say(
                "trials that were running or paused begin again: their states are not proven to be stored by a search"
                f" of yours. The secret of that search, in ~/.config/hpo/secret or {VARIABLE}, lets them go on"
            )


def _tuner(study: Study, driver: Driver, shared: Shared, each: dict[str, float], scratch: str) -> tune.Tuner:
    """Tune, which starts and ends workers as the driver says.

    Args:
        study: whose trials run.
        driver: stands between Tune and the controller.
        shared: what all workers are sent.
        each: what a trial gets.
        scratch: the folder of what Tune writes for itself.
    """
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(Worker, shared=shared), each),
        tune_config=tune.TuneConfig(
            num_samples=-1,  # the searcher says when there are enough
            search_alg=TuneSearcher(driver),
            scheduler=TuneScheduler(driver, study.spec.objective.metric),
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=scratch,
            stop=TuneStopper(driver),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the worker stores what is kept
            verbose=0,
        ),
    )


def _check_trouble(controller: Controller, interruption: Interruption) -> None:
    """Raises what has ended a search that was not to end, where Tune itself has ended well."""
    trouble = controller.trouble
    told = trouble.told(_again(controller))
    interrupted = interruption.signal is not None and not (trouble.full or trouble.gone)
    if told is not None and not interrupted:
        raise HpoError(told)


def _again(controller: Controller) -> str:
    return f"`{controller.study.command('resume')}`"


def _ended_early(error: Exception, controller: Controller) -> HpoError:
    """What has ended a search that was not to end, as a sentence that says how to go on."""
    own = _of_ours(error)
    reason, again = last_line(own or error), _again(controller)
    if controller.trouble.explains(reason):
        return HpoError(controller.trouble.told(again) or reason)
    if own is not None:
        return HpoError(f"{reason}; what is done is kept: {again} goes on")
    return HpoError(f"the search ended early, what is done is kept: {type(error).__name__}: {reason}")


def _of_ours(error: BaseException | None) -> HpoError | None:
    """The error that was raised in a hook, where Tune has made one of its own from it."""
    while error is not None and not isinstance(error, HpoError):
        error = error.__cause__ or error.__context__
    return error


def lendable(spec: SearchSpec, each: dict[str, float]) -> float:
    """The CPUs of a slot that stays empty, which other trials may have; none where sums must keep their order.

    Nor where trials are compared by how long their epochs take, or a program has threads of its own.

    Args:
        spec: of the search.
        each: what a trial gets; where that is a GPU, CPUs make it no faster.
    """
    asked = {objective.metric for objective in spec.objectives} | {rule.metric for rule in spec.constraints}
    fixed = spec.training.deterministic or not asked.isdisjoint(_SECONDS)
    return 0.0 if each["gpu"] or fixed or spec.command is not None else each["cpu"]


class _Ending:
    """Says when a search is over: at its deadline, when its epochs are spent, for another reason, or after a signal.

    Args:
        controller: of the search.
        deadline: on the clock of `time.monotonic`.
        interruption: has the signal.
        grace_period: seconds that running trials have once a signal has come.
        say: is told once that a signal has come.
    """

    def __init__(
        self,
        controller: Controller,
        deadline: float,
        interruption: Interruption,
        grace_period: float,
        say: Callable[[str], object],
    ) -> None:
        self._controller, self._deadline = controller, deadline
        self._interruption, self._grace_period = interruption, grace_period
        self._say: Callable[[str], object] | None = say

    @property
    def reason(self) -> str | None:
        """The limit of the budget that was met; None where none was, or something else has ended the search."""
        if self._interruption.signal is not None or self._controller.trouble:
            return None
        return self._controller.limits.met

    def over(self, trains: Callable[[float], bool]) -> bool:
        """Whether the search is over: at once where it is hopeless, else when no trial runs.

        After a signal, trials have a while to store their state; the next search goes on with them.

        Args:
            trains: says whether a trial trains or is being stored, for which there are so many seconds.
        """
        if self._controller.trouble or self._controller.trouble.misses_folder():
            return True
        self._controller.wishing.look()
        if self._controller.wishing.stopped and self._interruption.signal is None:
            self._interruption.ask()
        if self._interruption.signal is not None:
            self._tell()
            left = self._grace_period - self._interruption.seconds
            return left <= 0 or not trains(left)
        if time.monotonic() >= self._deadline + _LATE_SECONDS:  # a worker is somewhere where it hears nothing
            return True
        return self.reason is not None and not self._controller.slots.busy

    def _tell(self) -> None:
        """Says once why trials end."""
        say, self._say = self._say, None
        if say is not None and self._interruption.signal is not None:
            say(
                f"{self._interruption.name}: the search ends when its running trials have stored their state, in"
                f" {self._grace_period:g} s at most; a second signal ends it at once."
            )


def _trial_name(trial: "tune.experiment.Trial") -> str:
    return f"trial-{trial.config['number']:05d}"
