"""The worker's side: a Ray actor that stays warm and trains one trial after another."""

import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any

import torch
from ray import tune

from hpo import datasets
from hpo.artifacts import Artifacts
from hpo.engine.words import DONE, ERROR, INHERITED, METRICS
from hpo.errors import HpoError
from hpo.fitness import Fitness, measure
from hpo.schedulers import RESOURCE
from hpo.spec import StudySpec
from hpo.study import trial_seed
from hpo.training import Context, Objective, Report


@dataclass(frozen=True)
class Shared:
    """What all trials of a search have in common; sent once to each worker.

    `folder` is where the artifacts go, `data_dir` where downloads are, `working_directory` where the user's own modules
    and paths start, `threads` how many of them torch may use.
    """

    objective: Objective
    spec: StudySpec
    folder: Path
    data_dir: Path
    working_directory: Path
    threads: int


class Worker(tune.Trainable):
    """Runs an objective, one report a step, and stores the snapshot of a trial's best epoch.

    An error of the objective is a result, not a crash: the worker lives on for the next trial.
    """

    def setup(self, config: dict[str, Any], shared: Shared | None = None) -> None:
        """Prepares the process once, then the first trial."""
        assert shared is not None, "tune.with_parameters gives it"
        self._shared = shared
        os.chdir(shared.working_directory)  # where plug-ins by `module:attribute` are looked for
        torch.set_num_threads(shared.threads)
        self._artifacts = Artifacts(shared.folder)
        self._reports: Iterator[Report] | None = None
        self._generator: Iterator[Report] | None = None
        self._report: Report | None = None
        self._best: Fitness | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial in the same process."""
        self._close()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains to the next report."""
        try:
            if self._reports is None:
                self._reports = self._start()
            report = next(self._reports, None)
            if report is None:
                return {DONE: True}
            self._report = report
            self._store_if_best(report)
        except Exception:  # whatever a user's model raises must not cost the warm worker
            self._reports = None
            return {DONE: True, ERROR: traceback.format_exc()}
        return {RESOURCE: report.epoch, METRICS: dict(report.metrics)}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Stores what the trial needs to go on after a pause; Ray keeps where it stood."""
        report = self._report
        assert report is not None, "a trial is paused after a report"
        if report.state is not None:
            file = self._artifacts.state_file(self._number)
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_name(f".{file.name}")
            torch.save(dict(report.state()), draft)
            draft.rename(file)
        return {RESOURCE: report.epoch, "best": self._best and tuple(self._best)}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Lets the trial go on where it stood; its training resumes with the next step."""
        assert checkpoint is not None
        self._resumes_at = int(checkpoint[RESOURCE])
        self._best = None if checkpoint["best"] is None else Fitness(*checkpoint["best"])

    def cleanup(self) -> None:
        """Stops the objective."""
        self._close()

    def _begin(self, config: dict[str, Any]) -> None:
        self._number: int = config["number"]
        self._config: dict[str, Any] = config["config"]
        self._reports = None
        self._report = None
        self._inherited = self._resumes_at = int(config[INHERITED])
        self._best = None

    def _start(self) -> Iterator[Report]:
        spec = self._shared.spec
        dataset = datasets.load(spec.data, self._shared.data_dir, spec.seed)
        seed, state = trial_seed(spec, self._number), None
        file = self._artifacts.state_file(self._number)
        if self._resumes_at and file.exists():
            state = torch.load(file, map_location="cpu", weights_only=True)
        reports = self._generator = self._shared.objective(self._config, Context(spec, dataset, seed, state))
        if self._inherited and state is None:
            raise HpoError("a child goes on with its parent's state, but the objective's reports have no `state`")
        if self._resumes_at and state is None:  # the objective keeps no state: the same epochs are trained again
            return dropwhile(lambda report: report.epoch <= self._resumes_at, reports)
        return reports

    def _store_if_best(self, report: Report) -> None:
        worth = measure(self._shared.spec, report.metrics)
        if worth.finite and (self._best is None or worth < self._best):
            self._best = worth
            snapshot = report.snapshot()
            self._artifacts.write(self._number, report.epoch, snapshot.weights, snapshot.predictions)

    def _close(self) -> None:
        close = getattr(self._generator, "close", None)
        if close is not None:
            close()
        self._reports = self._generator = None
