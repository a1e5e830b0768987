"""The worker's side: a Ray actor that stays warm and trains one trial after another."""

import math
import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from hpo import datasets
from hpo.artifacts import Artifacts
from hpo.schedulers import RESOURCE
from hpo.spec import StudySpec
from hpo.study import trial_seed
from hpo.tasks import cost, goal
from hpo.training import Context, Objective, Report

METRICS, ERROR, DONE = "metrics", "error", "done"
"""Keys of what a worker returns to Ray: a report has RESOURCE and metrics; its last word is done, perhaps an error."""


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
            self._store_if_best(report)
        except Exception:  # whatever a user's model raises must not cost the warm worker
            self._reports = None
            return {DONE: True, ERROR: traceback.format_exc()}
        return {RESOURCE: report.epoch, METRICS: dict(report.metrics)}

    def cleanup(self) -> None:
        """Stops the objective."""
        self._close()

    def _begin(self, config: dict[str, Any]) -> None:
        self._number: int = config["number"]
        self._config: dict[str, Any] = config["config"]
        self._reports = None
        self._best = math.inf

    def _start(self) -> Iterator[Report]:
        spec = self._shared.spec
        dataset = datasets.load(spec.data, self._shared.data_dir, spec.seed)
        return self._shared.objective(self._config, Context(spec, dataset, trial_seed(spec, self._number)))

    def _store_if_best(self, report: Report) -> None:
        spec = self._shared.spec
        value = cost(goal(spec), report.metrics[spec.objective.metric])
        if value < self._best:  # never true of NaN
            self._best = value
            snapshot = report.snapshot()
            self._artifacts.write(self._number, report.epoch, snapshot.weights, snapshot.predictions)

    def _close(self) -> None:
        close = getattr(self._reports, "close", None)
        if close is not None:
            close()
        self._reports = None
