"""The trainer of a study's members: its data, its training function, and what a member gets of the cluster."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from hpo.datasets import Dataset
from hpo.engine.ray.member_training import Job, Observer, Trained, train_members
from hpo.ensemble.retrain.retrained import FOLDER
from hpo.errors import StudyError
from hpo.spec import Resources, StudySpec
from hpo.study import data as study_data
from hpo.study.artifacts import Artifacts, Folder
from hpo.study.study import Study
from hpo.study.trial import State, TrialRecord
from hpo.training import TrainingFunction, train


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains members on the study's own split.

    `resources` are those of a trial where None; `observer` is told of each member as it ends.
    """

    study: Study
    dataset: Dataset = field(repr=False)
    function: TrainingFunction = train
    resources: Resources | None = None
    observer: Observer | None = None

    @classmethod
    def of(
        cls, study: Study, data_dir: Path, observer: Observer | None = None, function: TrainingFunction | None = None
    ) -> Self:
        """A trainer of a training function, the built-in one where None, on the data that the study began with.

        Raises:
            DataError: the data cannot be read.
            StudyError: they have changed since, or the study was simulated.
        """
        return cls(study, study_data.load(study, data_dir, trains=True), function or train, observer=observer)

    @property
    def spec(self) -> StudySpec:
        """The spec by which members are trained: once each, however many copies of a config trials have."""
        return self.study.study_spec.once

    @property
    def rows(self) -> int:
        """How many training rows there are."""
        return len(self.dataset.train)

    def top(self, count: int) -> list[TrialRecord]:
        """The best trials that were trained and did not fail, at most `count`.

        Raises:
            StudyError: there is none.
        """
        ended = [trial for trial in self.study.leaderboard() if trial.state is not State.FAILED]
        if not ended:
            raise StudyError(f"study '{self.study.name}' has no trial to retrain yet; run `hpo search` first")
        return ended[:count]

    def best(self) -> TrialRecord:
        """The study's incumbent.

        Raises:
            StudyError: there is none.
        """
        return self.study.best() or self.top(1)[0]

    def seed(self, method: str, number: int) -> int:
        """The seed of one member, from the study's seed, the method's name and the member's number."""
        words = [self.study.spec.seed, zlib.crc32(method.encode()), number]
        return int(np.random.SeedSequence(words).generate_state(1)[0])

    def train(self, method: str, jobs: Sequence[Job], spec: StudySpec | None = None) -> list[Trained]:
        """Trains members into the method's folder.

        Args:
            method: names the folder.
            jobs: the members.
            spec: over which they lay their configs; `spec` where None.

        Raises:
            InputError: a model of the user's own cannot be imported.
            ResourceError: no machine has what a member asks for.
            StudyError: another process trains members of this method.
        """
        spec = spec or self.spec
        return train_members(
            jobs,
            self.function,
            spec=spec,
            dataset=self.dataset,
            artifacts=Artifacts(self.study.place / FOLDER / method),
            lock=Folder(self.study.folder) / FOLDER / method,
            resources=self.resources or spec.resources,
            observer=self.observer,
        )
