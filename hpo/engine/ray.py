"""Ray Tune runs the trials of a study."""

import logging
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import ray
from ray import tune
from ray.tune.stopper import Stopper

from hpo.engine.recorder import SPENT_EPOCHS, SPENT_TIME, Live, Recorder, RecordingScheduler, StudySearcher
from hpo.engine.worker import Shared, Worker
from hpo.errors import HpoError, ResourceError
from hpo.spec import Resources
from hpo.study import Left, Observer, Study
from hpo.training import Objective

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files a trial: MLflow has it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial's last word has no metrics
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # `_interruptions` does it
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the study is the record, not Ray's
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the study keeps a failed trial's traceback
    "RAY_AIR_NEW_OUTPUT": "0",  # progress is shown by our own observers
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the user's relative paths hold
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_LOCAL_OBJECT_STORE = 256 * 1024**2
"""Bytes; Ray would take a third of the memory, and trials pass only their metrics through it."""


def run(
    study: Study,
    objective: Objective,
    *,
    resources: Resources,
    left: Left,
    data_dir: Path,
    deadline: float | None = None,
    concurrency: int | None = None,
    observers: Sequence[Observer] = (),
) -> bool:
    """Runs trials of a study until its budget is spent, or time is up.

    Args:
        study: has its sampler; everything that happens is recorded in it.
        objective: what is trained.
        resources: what one trial gets; a study that goes on elsewhere may ask for other ones.
        left: what the budget leaves.
        data_dir: where downloaded data sets are.
        deadline: on the clock of `time.monotonic`; trials then running end their epoch and are kept.
        concurrency: how many trials at once at most; by default as many as the cluster has room for.
        observers: are told what has been recorded.

    Returns:
        Whether the search was interrupted (Ctrl-C).

    Raises:
        ResourceError: no node of the cluster has what one trial asks for.
        HpoError: Ray Tune failed, or a sampler or scheduler raised.
    """
    with cluster(), tempfile.TemporaryDirectory(prefix="hpo-") as scratch, _interruptions() as interrupted:
        each = trial_resources(resources)
        slots = min(_slots(each), concurrency or sys.maxsize)
        recorder = Recorder(study, observers, slots, left)
        scheduler = RecordingScheduler(recorder)
        shared = Shared(
            objective=objective,
            spec=study.study_spec,
            folder=study.artifacts.folder.resolve(),
            data_dir=data_dir.resolve(),
            working_directory=Path.cwd(),
            threads=max(1, int(each["cpu"])),
        )
        stop = _Stop(deadline, interrupted, recorder)
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
            with environment({"TUNE_MAX_PENDING_TRIALS_PG": str(slots)}):  # workers start side by side
                tuner.fit()
        except Exception as error:  # Tune, or a user's sampler or scheduler in it, may raise anything
            reason = (str(error) or type(error).__name__).strip().splitlines()[-1]
            raise HpoError(f"the search ended early, what is done is kept: {type(error).__name__}: {reason}") from error
        finally:
            recorder.close(stop.reason)
    return interrupted.is_set()


def trial_resources(wanted: Resources) -> dict[str, float]:
    """What one trial asks of the running cluster; `auto` is one GPU where there is any.

    Raises:
        ResourceError: no node has so much.
    """
    most = {kind: max((node.get(kind, 0.0) for node in _nodes()), default=0.0) for kind in ("CPU", "GPU")}
    gpu = (1.0 if most["GPU"] >= 1 else 0.0) if wanted.gpu == "auto" else float(wanted.gpu)
    for name, amount, kind in (("cpu", wanted.cpu, "CPU"), ("gpu", gpu, "GPU")):
        if amount > most[kind]:
            raise ResourceError(
                f"resources.{name}: a trial asks for {amount:g}, but the largest machine has {most[kind]:g};"
                " ask for less"
            )
    each = {"cpu": wanted.cpu, "gpu": gpu}
    if _slots(each) == 0:
        raise ResourceError(
            f"resources: no single machine has {wanted.cpu:g} CPUs and {gpu:g} GPUs together; ask for less"
        )
    return each


def _slots(resources: dict[str, float]) -> int:
    """How many trials fit on the cluster at once."""
    asked = {kind: amount for kind, amount in (("CPU", resources["cpu"]), ("GPU", resources["gpu"])) if amount > 0}
    return sum(min(int(node.get(kind, 0) / amount + 1e-9) for kind, amount in asked.items()) for node in _nodes())


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class _Stop(Live, Stopper):
    """Stops the search at its deadline, when its epochs are spent, or on Ctrl-C."""

    def __init__(self, deadline: float | None, interrupted: threading.Event, recorder: Recorder) -> None:
        self._deadline = math.inf if deadline is None else deadline
        self._interrupted = interrupted
        self._recorder = recorder

    @property
    def reason(self) -> str | None:
        """Which limit of the budget was met; None where none was, or somebody interrupted the search before."""
        if self._interrupted.is_set():
            return None
        if self._recorder.spent:
            return SPENT_EPOCHS
        return SPENT_TIME if time.monotonic() >= self._deadline else None

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Single trials are the scheduler's business."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is over."""
        return self._interrupted.is_set() or self.reason is not None


@contextmanager
def cluster() -> Iterator[None]:
    """Ray, started here unless it is running; a Ray that was started here is stopped again."""
    with environment():
        if ray.is_initialized():
            yield
            return
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the study keeps what Tune would complain of
        joins = "RAY_ADDRESS" in os.environ  # a cluster is joined only where that is said
        ray.init(
            address=None if joins else "local",
            object_store_memory=None if joins else _LOCAL_OBJECT_STORE,
            include_dashboard=None if joins else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def environment(variables: Mapping[str, str] = _ENVIRONMENT) -> Iterator[None]:
    """What Ray reads from the environment, set for a while; what the user has set stays."""
    added = {key: value for key, value in variables.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


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
