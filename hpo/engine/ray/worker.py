"""The worker's side: a Ray actor that stays warm and trains one trial after another."""

import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from ray import tune
from ray.air.constants import TRAINING_ITERATION
from ray.train._internal.session import _TrainingResult

from hpo.datasets import Dataset
from hpo.engine.ray.best_epoch import BestEpoch
from hpo.engine.ray.messages import DONE, ERROR, INHERITED, LATE, MEMORY, METRICS, THREADS
from hpo.engine.ray.pickling import Sent
from hpo.engine.ray.threads import Threads
from hpo.engine.ray.watchdog import OutOfTime, until, watched
from hpo.engine.ray.worker_settings import WorkerSettings
from hpo.errors import HpoError, TrainingError, first_line
from hpo.models.devices import release_memory
from hpo.schedulers import RESOURCE
from hpo.spec import SearchSpec
from hpo.study.artifacts import Artifacts, Unseen
from hpo.study.artifacts.seal import claim
from hpo.study.ranking import Fitness
from hpo.training import Context, Report
from hpo.training.function import TrainingState
from hpo.training.reports import reports_of
from hpo.training.trial_context import copied_to_host

_CHECKPOINT_SECONDS = 60.0
"""A trial that trains on for so long is stored meanwhile, for when its machine is lost."""
_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch and what it calls say."""
_KEPT = "kept"
_NOWHERE = "/"
"""Ray wants a place for a checkpoint; nothing is read from there."""


@dataclass(frozen=True, eq=False)
class Shared:
    """What all trials of a search have in common; sent once to each worker, which maps the data of its machine."""

    function: Sent
    spec: SearchSpec
    dataset: Dataset | None
    """None where a training function of the user's own has its own data."""
    artifacts: Artifacts
    settings: WorkerSettings
    timeout: float | None = None
    """Seconds for an epoch, after which its process is killed."""
    deadline: float | None = None
    """Deadline of the search in seconds since 1970: an epoch that is not done by then is given up."""


class Worker(tune.Trainable):
    """Runs a training function, one report a step, and stores the snapshot of a trial's best epoch.

    It is stored when the trial leaves: when it pauses, has ended, or was stopped. An error of the training function is
    a result, not a crash: the worker lives on for the next trial.
    """

    def setup(self, config: dict[str, Any], shared: Shared | None = None) -> None:
        """Prepares the process once, then the first trial."""
        assert shared is not None, "tune.with_parameters gives it"
        self._shared = shared
        shared.settings.enter()
        self._ensemble = shared.spec.target == "ensemble"  # then the sampler reads predictions at every report
        self._reports: Iterator[Report] | None = None
        self._generator: Iterator[Report] | None = None
        self._report: Report | None = None
        self._writing: Future[None] | None = None
        self._best: BestEpoch
        self._stored_at: float
        self._epoch: int
        self._had: dict[int, int]
        """Epoch -> its threads, where it had more than its own: with as many it is trained once more."""
        self._background = ThreadPoolExecutor(1, "checkpoint")
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial in the same process."""
        self._leave()
        release_memory()  # trials that share a device find what this one no longer needs
        self._begin(new_config)
        return True

    def allow(self, threads: int) -> None:
        """Lets the trial use so many threads from its next epoch on, in place of those of its own CPUs."""
        self._threads.allow(threads)

    def step(self) -> dict[str, Any]:
        """Trains to the next report.

        Raises:
            Unseen: what the trial leaves would be lost on this machine; the driver lets it begin again on another.
        """
        self._shared.artifacts.check()
        with watched(self._shared.timeout, self._shared.artifacts.trial(self._number)):
            return self._step()

    def _step(self) -> dict[str, Any]:
        try:
            if self._reports is not None and time.monotonic() - self._stored_at >= _CHECKPOINT_SECONDS:
                self._store_beside()
            with until(self._shared.deadline):
                self._reports = self._reports or self._start()
                with self._threads.of_an_epoch(self._had.get(self._epoch + 1)) as threads:
                    report = next(self._reports, None)
            if report is not None:
                self._report = report
                self._epoch = report.epoch
                self._best.see(report)
            if report is None or report.epoch >= self._shared.spec.training.epochs or self._ensemble:
                self._store_best()
        except OutOfTime:
            self._leave()
            return {DONE: True, LATE: True}
        except Unseen:
            raise
        except Exception as error:  # whatever a user's model raises must not cost the warm worker
            told = str(error) if isinstance(error, TrainingError) else traceback.format_exc()
            self._leave()  # what it had reached stays
            self._best = self._known(None)
            return {DONE: True, ERROR: told, MEMORY: _lacks_memory(error)}
        if report is None:
            return {DONE: True}
        lent = {}
        if threads > self._shared.settings.threads:
            self._had[report.epoch] = lent[THREADS] = threads
        return {RESOURCE: report.epoch, METRICS: {**report.metrics, **lent}}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Stores what the trial needs to go on after a pause, and ends its training here; Ray keeps where it stood."""
        report = self._report
        assert report is not None, "a trial is paused after a report"
        self._store_best()
        if report.state is not None:
            self._shared.artifacts.save_state(self._number, self._saved(report, report.state()), self._claim)
        self._close()  # this worker may have to wait for its next trial
        return {RESOURCE: report.epoch, "best": self._best.worth and tuple(self._best.worth), THREADS: self._had}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Lets the trial go on where it stood; its training resumes with the next step."""
        assert checkpoint is not None
        self._resumes_at = int(checkpoint[RESOURCE])
        self._had = dict(checkpoint[THREADS])
        self._best = self._known(checkpoint["best"])

    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Answers Ray with what is kept of the trial, without a file or a folder that machines must share."""
        kept = self.save_checkpoint("")
        return _TrainingResult(tune.Checkpoint(_NOWHERE), {**(self._last_result or {}), _KEPT: kept})

    def restore(self, checkpoint_path: Any) -> None:
        """Takes what `save` returned."""
        self._iteration = checkpoint_path.metrics.get(TRAINING_ITERATION, 0)
        self.load_checkpoint(checkpoint_path.metrics[_KEPT])

    def cleanup(self) -> None:
        """Stops the training function."""
        self._leave()
        self._background.shutdown()

    def _begin(self, config: dict[str, Any]) -> None:
        self._number: int = config["number"]
        self._config: dict[str, Any] = config["config"]
        self._reports = self._report = None
        self._inherited = self._resumes_at = int(config[INHERITED])
        self._claim = claim(self._number, self._config)
        self._best = self._known(None)
        self._threads = Threads(self._shared.settings.threads)
        self._had, self._epoch = dict(config.get(THREADS, {})), 0
        self._stored_at = time.monotonic()

    def _start(self) -> Iterator[Report]:
        """The reports that are still to come.

        A stored state is of this trial, which was paused or whose worker was lost, or of the parent that it inherits.
        """
        shared, saved = self._shared, self._saved_state()
        if saved is not None and saved["number"] == self._number:
            self._resumes_at = int(saved[RESOURCE])
            self._best = self._known(saved["best"])
        if self._inherited and saved is None:
            raise HpoError(
                "a child goes on with its parent's state, and there is none: the training function has saved none, or"
                " it is not proven to be stored by a search of yours"
            )
        self._epoch = self._resumes_at
        state = None if saved is None else saved["state"]
        seed = shared.spec.trial_seed(self._number)
        inherited = saved is not None and saved["number"] != self._number
        place = shared.artifacts.trial(self._number)
        context = Context(shared.spec, shared.dataset, seed, state, inherited, self._number, place)
        reports = self._generator = reports_of(shared.function.loaded(), self._config, context)
        if self._resumes_at and state is None:  # without a state the same epochs are trained again
            return self._again(reports)
        return reports

    def _again(self, reports: Iterator[Report]) -> Iterator[Report]:
        """Reports after those that the trial has made already."""
        last = 0
        while True:
            self._threads.use(self._had.get(last + 1, self._shared.settings.threads))
            report = next(reports, None)
            if report is None:
                return
            last = report.epoch
            if last > self._resumes_at:
                break
        yield report
        yield from reports

    def _saved_state(self) -> dict[str, Any] | None:
        """What is stored of the trial; None, and then it begins anew, where that is damaged."""
        try:
            saved = self._shared.artifacts.load_state(self._number, self._claim)
            if saved is not None:
                _check_saved(saved, self._shared.spec.training.epochs)
            return saved
        except (OSError, MemoryError):
            raise
        except Exception as error:  # torch's loader raises anything of a file that is damaged
            if self._inherited:
                raise
            warnings.warn(
                f"trial {self._number} begins anew, its state is damaged: {first_line(error)}",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def _known(self, worth: Any) -> BestEpoch:
        """The best epoch of this trial, of which so much is known."""
        return BestEpoch(
            self._shared.spec, self._shared.artifacts, self._number, None if worth is None else Fitness(*worth)
        )

    def _saved(self, report: Report, state: TrainingState) -> TrainingState:
        best = self._best.worth and tuple(self._best.worth)
        return {"number": self._number, RESOURCE: report.epoch, "best": best, "state": dict(state)}

    def _store_best(self) -> None:
        self._wait()
        self._best.store()

    def _store_beside(self) -> None:
        """Writes the state of the last report while the training goes on, if the training function has one."""
        report, self._stored_at = self._report, time.monotonic()
        if report is None or report.state is None:
            return
        self._store_best()
        saved = self._saved(report, copied_to_host(report.state()))
        self._writing = self._background.submit(self._shared.artifacts.save_state, self._number, saved, self._claim)

    def _wait(self) -> None:
        """Waits for what is being written."""
        writing, self._writing = self._writing, None
        if writing is not None and (error := writing.exception()) is not None:
            warnings.warn(f"the state of trial {self._number} was not stored: {error}", RuntimeWarning, stacklevel=2)

    def _leave(self) -> None:
        """Stores what is left of a trial that was stopped; nobody would hear of an error now."""
        for last in (self._store_best, self._close):
            try:
                last()
            except Exception as error:
                warnings.warn(f"trial {self._number} may leave no predictions: {error}", RuntimeWarning, stacklevel=2)

    def _close(self) -> None:
        close = getattr(self._generator, "close", None)
        self._reports = self._generator = None
        if close is not None:
            close()


def _check_saved(saved: Mapping[str, Any], epochs: int) -> None:
    """Holds a stored state to be one that `Worker` has saved.

    Raises:
        ValueError: it lacks something, or has something else.
    """
    number, epoch, best = saved.get("number"), saved.get(RESOURCE), saved.get("best")
    if type(number) is not int or type(epoch) is not int or not 1 <= epoch <= epochs:
        raise ValueError("it lacks the numbers of its trial and epoch")
    if best is not None and not _is_fitness(best):
        raise ValueError("it lacks what its best epoch is worth")
    if "best" not in saved or not isinstance(saved.get("state"), Mapping):
        raise ValueError("it lacks what the training function has kept")


def _is_fitness(best: Any) -> bool:
    """Whether these are the parts of a `Fitness`: an excess and costs."""
    if not isinstance(best, tuple) or len(best) != 2 or not isinstance(best[1], tuple):
        return False
    return all(isinstance(cost, int | float) for cost in (best[0], *best[1]))


def _lacks_memory(error: Exception) -> bool:
    """Whether this is for want of memory, of the machine or of its accelerator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
