"""Ray Tune runs the trials of a study."""

import math
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ray import tune
from ray.tune.stopper import Stopper

from hpo.budget import Left
from hpo.datasets import Dataset
from hpo.engine import machines
from hpo.engine.cluster import cluster, environment, trial_resources
from hpo.engine.hooks import RecordingScheduler, StudySearcher
from hpo.engine.lifeline import lifeline
from hpo.engine.pickling import Sent
from hpo.engine.recorder import SPENT_TIME, Live, Recorder, is_full
from hpo.engine.worker import Shared, Worker
from hpo.engine.workplace import Workplace
from hpo.errors import HpoError
from hpo.spec import Failures, Resources, SearchSpec
from hpo.study import Study
from hpo.training import Objective
from hpo.trial import Observer

_GRACE_SECONDS = 10.0
"""After the deadline, for a worker to give its epoch up."""
_SECONDS = ("train_seconds", "epoch_seconds")
"""Metrics that more CPUs make better."""
_NO_ROOM = (
    "a disk is full, so the search has ended: {reason}; what is done is kept: make room, with `hpo gc` if you like,"
    " then `hpo resume --study {study}` goes on"
)
_GONE = (
    "the search has ended: {reason}; what the study's record has is kept: put the folder back, then"
    " `hpo resume --study {study}` goes on"
)


def run(
    study: Study,
    objective: Objective,
    *,
    resources: Resources,
    left: Left,
    dataset: Dataset,
    deadline: float | None = None,
    concurrency: int | None = None,
    until: Callable[[], str | None] = lambda: None,
    observers: Sequence[Observer] = (),
    failures: Failures | None = None,
) -> bool:
    """Runs trials of a study until its budget is spent, or time is up.

    Args:
        study: has its sampler; everything that happens is recorded in it.
        objective: what is trained.
        resources: what one trial gets; a study that goes on elsewhere may ask for other ones.
        left: what the budget leaves.
        dataset: what the trials train on; every machine gets one copy of it.
        deadline: on the clock of `time.monotonic`; trials then running are stopped, and kept as they last reported.
        concurrency: how many trials at once at most; by default as many as the cluster has room for.
        until: says why the search is to end, when it is.
        observers: are told what has been recorded.
        failures: what is done about trials that fail; what the study's spec says where None.

    Returns:
        Whether the search was interrupted (Ctrl-C).

    Raises:
        ResourceError: no node of the cluster has what one trial asks for, or one does not see the artifacts' folder.
        HpoError: Ray Tune failed, a sampler or scheduler raised, or too many trials have failed.
    """
    with cluster(), lifeline(), tempfile.TemporaryDirectory(prefix="hpo-") as scratch, _interruptions() as interrupted:
        each = trial_resources(resources)
        artifacts = study.artifacts.marked()
        there = machines.Machines(each, concurrency or sys.maxsize, artifacts.mark)
        recorder = Recorder(study, observers, there.slots, left, failures, each["gpu"])
        cpus = lendable(study.spec, each)
        scheduler = RecordingScheduler(recorder, there.left_lately, lambda: cpus if there.own else 0.0, there.doubt)
        scheduler.heed_states(study.artifacts.state_epoch)
        shared = Shared(
            objective=Sent(objective),
            spec=study.study_spec,
            dataset=dataset,
            artifacts=artifacts,
            timeout=recorder.rules.trial_timeout,
            deadline=None if deadline is None else time.time() + deadline - time.monotonic(),
            workplace=Workplace.here(each),
        )
        stop = _Stop(deadline, interrupted, recorder, until)
        recorder.until, recorder.over = stop.limit, stop.stop_all
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(Worker, shared=shared), each),
            tune_config=tune.TuneConfig(
                num_samples=-1,  # the searcher says when there are enough
                search_alg=StudySearcher(recorder, scheduler),
                scheduler=scheduler,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=study.name,
                storage_path=scratch,
                stop=stop,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the worker stores what is kept
                verbose=0,
            ),
        )
        try:
            with environment({"TUNE_MAX_PENDING_TRIALS_PG": str(sys.maxsize)}):  # the recorder knows how many start
                tuner.fit()
        except Exception as error:  # Tune, or a user's sampler or scheduler in it, may raise anything
            reason = (str(error) or type(error).__name__).strip().splitlines()[-1]
            if is_full(reason):
                raise HpoError(_NO_ROOM.format(reason=reason, study=study.name)) from error
            raise HpoError(f"the search ended early, what is done is kept: {type(error).__name__}: {reason}") from error
        finally:
            recorder.close(stop.reason)
            there.close()
        if recorder.full is not None:
            raise HpoError(_NO_ROOM.format(reason=recorder.full, study=study.name))
        if recorder.gone is not None:
            raise HpoError(_GONE.format(reason=recorder.gone, study=study.name))
        if recorder.failing is not None and not interrupted.is_set():
            raise HpoError(recorder.failing)
    return interrupted.is_set()


def lendable(spec: SearchSpec, each: dict[str, float]) -> float:
    """The CPUs of a slot that stays empty, which other trials may have; none where sums must keep their order.

    Nor where trials are compared by how long their epochs take.

    Args:
        spec: of the search.
        each: what a trial gets; where that is a GPU, CPUs make it no faster.
    """
    asked = {objective.metric for objective in spec.objectives} | {rule.metric for rule in spec.constraints}
    fixed = spec.training.deterministic or not asked.isdisjoint(_SECONDS)
    return 0.0 if each["gpu"] or fixed else each["cpu"]


class _Stop(Live, Stopper):
    """Stops the search at its deadline, when its epochs are spent, for another reason, or on Ctrl-C."""

    def __init__(
        self,
        deadline: float | None,
        interrupted: threading.Event,
        recorder: Recorder,
        until: Callable[[], str | None],
    ) -> None:
        self._deadline = math.inf if deadline is None else deadline
        self._interrupted = interrupted
        self._recorder = recorder
        self._until = until

    @property
    def reason(self) -> str | None:
        """Which limit of the budget was met; None where none was, or something else has ended the search."""
        if self._at_once:
            return None
        return self._recorder.spent or self.limit()

    def limit(self) -> str | None:
        """Which limit of this search is met: trials that run end their epoch."""
        return SPENT_TIME if self._recorder.late or time.monotonic() >= self._deadline else self._until()

    @property
    def _at_once(self) -> bool:
        """Whether all that runs is left to the next search."""
        return self._interrupted.is_set() or self._recorder.hopeless

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Single trials are the scheduler's business."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is over: at once where all is left to the next one, else when no trial runs."""
        if self._at_once:
            return True
        if time.monotonic() >= self._deadline + _GRACE_SECONDS:  # a worker is somewhere where it hears nothing
            return True
        return self.reason is not None and not self._recorder.busy


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event and the search stops cleanly; the second raises KeyboardInterrupt."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _trial_name(trial: "tune.experiment.Trial") -> str:
    return f"trial-{trial.config['number']:05d}"
