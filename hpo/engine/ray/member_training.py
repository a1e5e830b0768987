"""Members of an ensemble, trained anew side by side: a config, a seed and its own view of the training rows each.

    <folder>/00003/
        epoch-0005/    what the member left at its best epoch
        done.json      written last: its fingerprint, best epoch, metrics and seconds

A member with a `done.json` of its own fingerprint is found and not trained again, so that a run that was killed goes on
member by member.
"""

import dataclasses
import hashlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from hpo.datasets import Dataset, Examples
from hpo.engine.ray.best_epoch import BestEpoch
from hpo.engine.ray.cluster import cluster, started_here, trial_resources
from hpo.engine.ray.lifeline import lifeline
from hpo.engine.ray.machines import Machines
from hpo.engine.ray.pickling import Sent
from hpo.engine.ray.worker_settings import WorkerSettings
from hpo.errors import HpoError, StudyError
from hpo.spec import Config, Resources, StudySpec
from hpo.study.artifacts import Artifacts, Folder, Place, Split, Stored, Unseen
from hpo.study.code import TrainingCode
from hpo.study.storage.lock import LOCKING, locked
from hpo.training import Context, TrainingFunction
from hpo.training.reports import reports_of

_DONE = "done.json"
_MOST_BYTES = 2**20
_LOOK_SECONDS = 2.0
"""The time between two looks at the machines while no job ends."""
_DEPENDS = {"task", "data", "model", "training", "optimizer", "objective", "constraints"}
"""The sections of a spec that a member's training, or the choice of its best epoch, depends on."""

_LEFT_OUT: dict[str, set[str]] = {"data": {"path"}, "training": {"patience", "min_delta", "folds", "seeds"}}
"""The keys of these on which it does not: members are trained for the epochs of their job."""


@dataclass(frozen=True, eq=False)
class Job:
    """A member to train: what it is, and what it sees of the study's training rows."""

    number: int
    """Names its folder."""
    name: str
    """The member's name in messages, such as `bag 3`."""
    config: Config
    seed: int
    trial: int | None = None
    """The trial that the config is of; None where it is of none."""
    rows: NDArray[np.intp] | None = field(default=None, repr=False)
    """Training rows, in this order, perhaps some of them twice; all where None."""
    weights: NDArray[np.float32] | None = field(default=None, repr=False)
    """Weights of these rows in the loss, 1 on average."""
    targets: NDArray[np.float32] | None = field(default=None, repr=False)
    """Targets of these rows `(n, outputs)`, instead of the data's own: probabilities or values."""
    held_out: NDArray[np.intp] | None = field(default=None, repr=False)
    """Training rows whose predictions are stored too."""
    last_epoch: int | None = None
    """Training stops after it, though the learning rate falls as over `training.epochs`; None trains all of them."""
    all_rows: bool = False
    """Validation rows are trained on too. Then none is left to choose an epoch by: the last one is taken."""

    def view(self, dataset: Dataset) -> Dataset:
        """The study's data as this member sees them; validation and test rows stay."""
        train = dataset.train if self.rows is None else dataset.train.take(self.rows)
        if self.all_rows and dataset.validation is not dataset.train:
            train = train.joined(dataset.validation)
        if self.targets is not None:
            train = dataclasses.replace(train, targets=self.targets)
        if self.weights is not None:
            train = dataclasses.replace(train, weights=self.weights)
        held_out = None if self.held_out is None else dataset.train.take(self.held_out)
        return dataclasses.replace(dataset, train=train, held_out=held_out)


@dataclass(frozen=True, eq=False)
class Trained:
    """How a job ended: what it left and its metrics at its best epoch, or the reason why there is nothing."""

    job: Job
    stored: Stored | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str | None = None
    found: bool = False
    """Trained in an earlier run."""


Observer = Callable[[Trained], None]
"""Is told of every job when it has ended."""


@dataclass(frozen=True)
class _Shared:
    function: Sent
    spec: StudySpec
    artifacts: Artifacts
    settings: WorkerSettings


def train_members(
    jobs: Sequence[Job],
    function: TrainingFunction,
    *,
    spec: StudySpec,
    dataset: Dataset,
    artifacts: Artifacts,
    resources: Resources,
    observer: Observer | None = None,
    lock: Folder | None = None,
) -> list[Trained]:
    """Trains each job to the end, as many at once as the cluster has room for, and stores its best epoch.

    The best epoch is by the study's objective and constraints on validation rows, as it is of a trial. A job that fails
    costs the others nothing. Ctrl-C ends what is running; what has ended stays, and the next run goes on from there.

    Args:
        jobs: with a number each.
        function: what is trained.
        spec: over which each job lays its config.
        dataset: the study's own split; every worker maps the same copy of it.
        artifacts: where the members are stored, by number.
        resources: what one job gets.
        observer: is told of each job as it ends.
        lock: a folder that only one process trains for; that of the artifacts where None.

    Returns:
        How each job ended, in the order of `jobs`.

    Raises:
        InputError: a model of the user's own cannot be imported.
        ResourceError: no node of the cluster has what one job asks for, or one does not see the artifacts.
        HpoError: the folder of the artifacts is gone.
        StudyError: another process trains members into the same folder.
    """
    ended: dict[int, Trained] = {}

    def end(trained: Trained) -> None:
        ended[trained.job.number] = trained
        if observer is not None:
            observer(trained)

    with _alone(lock or artifacts.place):
        prints = {job.number: _fingerprint(job, function, spec, dataset) for job in jobs}
        for job in jobs:
            found = _found(job, prints[job.number], artifacts, dataset)
            if found is not None:
                end(found)
        missing = [job for job in jobs if job.number not in ended]
        if missing:
            with cluster(), lifeline():
                for trained in _train_all(missing, function, spec, dataset, artifacts, resources, prints):
                    end(trained)
    return [ended[job.number] for job in jobs]


def _train_all(
    jobs: Sequence[Job],
    function: TrainingFunction,
    spec: StudySpec,
    dataset: Dataset,
    artifacts: Artifacts,
    resources: Resources,
    prints: Mapping[int, str],
) -> Iterator[Trained]:
    """The jobs as they end; one on a machine that does not see the artifacts is trained on another."""
    each = trial_resources(resources)
    artifacts = artifacts.marked()
    there = Machines(each, sys.maxsize, artifacts.mark)
    shared = _Shared(Sent(function), spec, artifacts, WorkerSettings.here(each))
    put = ray.put(shared), ray.put(dataset.sent())
    task = ray.remote(_train).options(num_cpus=each["cpu"], num_gpus=each["gpu"], max_retries=0)
    running = {task.remote(job, prints[job.number], *put): job for job in jobs}
    try:
        while running:
            done, _ = ray.wait(list(running), timeout=_LOOK_SECONDS)
            there.slots()  # machines that have joined are asked
            for ref in done:
                job = running.pop(ref)
                trained = _outcome(job, ref, artifacts)
                if trained is not None:
                    yield trained
                elif (gone := there.doubt()) is not None:
                    raise HpoError(f"{gone}; put it back, and the same command goes on")
                else:
                    running[task.remote(job, prints[job.number], *put)] = job
    finally:
        if not started_here():  # a Ray of our own is stopped next; by `force` Ray may abort this process
            for ref in running:
                ray.cancel(ref)
        there.close()


def _outcome(job: Job, ref: Any, artifacts: Artifacts) -> Trained | None:
    """How a job has ended; None where its machine does not see the artifacts."""
    try:
        done = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Unseen):
            return None
        return Trained(job, reason=f"its worker has failed: {error.cause}")
    except ray.exceptions.RayError as error:  # what a training function raises comes as a reason
        return Trained(job, reason=f"its worker process died: {type(error).__name__}")
    if "reason" in done:
        return Trained(job, seconds=done["seconds"], reason=done["reason"].strip().splitlines()[-1])
    return Trained(job, artifacts.read(job.number), done["metrics"], done["seconds"])


def _train(job: Job, fingerprint: str, shared: _Shared, dataset: Dataset) -> dict[str, Any]:
    """The worker's side: trains one job, and returns what `done.json` holds, or the reason why there is none."""
    started = time.monotonic()
    shared.settings.enter()
    shared.artifacts.check()
    try:
        shared.artifacts.trial(job.number).clear()
        best = _best_epoch(job, shared, dataset)
    except Unseen:
        raise
    except Exception:  # whatever a user's model raises is a result
        return {"reason": traceback.format_exc(), "seconds": time.monotonic() - started}
    if best is None:
        return {"reason": "diverged: no epoch has a finite objective", "seconds": time.monotonic() - started}
    epoch, metrics = best
    done = {"fingerprint": fingerprint, "epoch": epoch, "metrics": metrics, "seconds": time.monotonic() - started}
    shared.artifacts.trial(job.number).write(_DONE, json.dumps(done).encode())
    return done


def _best_epoch(job: Job, shared: _Shared, dataset: Dataset) -> tuple[int, dict[str, float]] | None:
    """Trains a job and stores its best epoch; that epoch and its metrics."""
    best = BestEpoch(shared.spec, shared.artifacts, job.number)
    for report in reports_of(shared.function.loaded(), job.config, Context(shared.spec, job.view(dataset), job.seed)):
        if job.all_rows:
            best.forget()
        best.see(report)
        if job.last_epoch is not None and report.epoch >= job.last_epoch:
            break
    if best.report is None:
        return None
    best.store(others=True)
    return best.report.epoch, dict(best.report.metrics)


def _found(job: Job, fingerprint: str, artifacts: Artifacts, dataset: Dataset) -> Trained | None:
    """What an earlier run has left of the same job, where all of it can be read."""
    stored = artifacts.read(job.number)
    try:
        done = json.loads(artifacts.trial(job.number).read(_DONE, _MOST_BYTES))
        known = done["fingerprint"], done["epoch"]
        found = Trained(job, stored, done["metrics"], done["seconds"], found=True)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if stored is None or known != (fingerprint, stored.epoch) or not _whole(stored, job.view(dataset)):
        return None
    return found


def _whole(stored: Stored, view: Dataset) -> bool:
    """Whether a member's predictions can be read, and are as many as the rows that it was to predict."""
    splits: dict[Split, Examples | None] = {
        "validation": view.validation,
        "test": view.test,
        "held_out": view.held_out,
    }
    try:
        return all(
            _fits(stored, split, (len(examples), len(view.outputs)))
            for split, examples in splits.items()
            if examples is not None
        )
    except (OSError, ValueError, EOFError):
        return False


def _fits(stored: Stored, split: Split, shape: tuple[int, int]) -> bool:
    return stored.predictions(split, shape).shape == shape


def _fingerprint(job: Job, function: TrainingFunction, spec: StudySpec, dataset: Dataset) -> str:
    """A hash of everything that the trained member depends on."""
    applied = spec.apply(job.config)
    asked = applied.model_dump_json(include=_DEPENDS, exclude=_LEFT_OUT)
    code = TrainingCode.of(function, applied.model.name, learning=applied.learning_code).to_json()
    known = [asked, code, job.seed, job.last_epoch, dataset.fingerprint, *(["all rows"] if job.all_rows else [])]
    digest = hashlib.blake2b(json.dumps(known).encode(), digest_size=16)
    for array in (job.rows, job.weights, job.targets, job.held_out):
        digest.update(b"none" if array is None else repr((array.dtype.str, array.shape)).encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@contextmanager
def _alone(folder: Place) -> Iterator[None]:
    """Holds a folder for one process; the lock goes with it, however it ends."""
    assert isinstance(folder, Folder)
    try:
        lock = folder.opened(".lock", LOCKING)
    except OSError as error:
        raise StudyError(f"members cannot be trained into '{folder}': {error}") from None
    busy = f"another process is training members into '{folder}'; wait until it has ended, or stop it"
    with locked(lock, lambda holder, told: StudyError(busy)):
        yield
