"""What a method that trains has made: members, how they are joined, and how good they are on rows not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets import Dataset
from hpo.engine.ray.member_training import Trained
from hpo.ensemble.calibration import Calibration, Interval, calibration, conformal, fit_temperature, temper
from hpo.ensemble.combiner import Average, Calibrated, Combiner
from hpo.ensemble.score import SCORES, Predictions, Targets, costs
from hpo.errors import HpoError, InputError
from hpo.spec import Config, Named, StudySpec
from hpo.study.artifacts import Split, Stored
from hpo.tasks.measuring import measured

FOLDER = "retrained"
"""The folder in a study's own that has members which were trained, a folder for each method."""


@dataclass(frozen=True, eq=False)
class TrainedMember:
    """A trained member of an ensemble: where its weights are, of which model they are, and its calibration."""

    name: str
    """For messages and tables, such as `bag 3` or `trial 12`."""
    trial: int | None
    """The trial whose config it has; None for a student with one of its own."""
    config: Config
    model: Named
    stored: Stored
    temperature: float
    """Fitted on validation rows; 1 leaves predictions as they are."""
    task: str
    shapes: Mapping[Split, tuple[int, int]]
    """The shape `(rows, outputs)` of its predictions."""
    copies: int = 1
    """How many trainings of the config it is the mean of."""

    def predictions(self, split: Split) -> Predictions:
        """Calibrated predictions `(rows, outputs)`.

        Raises:
            HpoError: the file is missing or corrupt, or has another shape.
        """
        return _calibrated(self.name, self.stored, split, self.shapes[split], self.temperature, self.task)


@dataclass(frozen=True)
class Estimate:
    """Metrics of training rows, each predicted by members that were not trained on it."""

    kind: str
    """Such as `out-of-bag`."""
    rows: int
    """How many rows were predicted so."""
    of: int
    """How many training rows there are."""
    metrics: Mapping[str, float]
    """The task's own metrics, and the score that ensembles are chosen by, under its name."""

    def to_json(self) -> dict[str, Any]:
        """The document of it in the result of an ensemble."""
        return {"kind": self.kind, "rows": self.rows, "of": self.of, "metrics": dict(self.metrics)}


@dataclass(frozen=True, eq=False)
class Retrained:
    """Members and their combiner.

    `validation` is float32 `(members, rows, outputs)`, calibrated; the combiner's members are places in it.
    `calibration` says what its last temperature does, `interval` is of regression values; nothing else of the combiner
    is fitted on validation rows. `failed` has a line for each member that could not be trained.
    """

    method: str
    members: tuple[TrainedMember, ...]
    validation: Predictions = field(repr=False)
    combiner: Combiner
    calibration: Calibration
    interval: Interval | None = None
    estimate: Estimate | None = None
    failed: tuple[str, ...] = ()


def survivors(
    trained: Sequence[Trained], spec: StudySpec, dataset: Dataset
) -> tuple[list[TrainedMember], tuple[str, ...]]:
    """The members that were trained, calibrated on validation rows, and a line for each that failed.

    Raises:
        HpoError: all failed.
    """
    members, failed = calibrated(trained, spec, dataset), failures(trained)
    if not members:
        raise HpoError(f"no member could be trained. {failed[0]}")
    return members, failed


def calibrated(trained: Sequence[Trained], spec: StudySpec, dataset: Dataset) -> list[TrainedMember]:
    """The members that were trained, calibrated on validation rows."""
    return [
        calibrated_member(
            *(one.job.name, one.job.trial, one.job.config, one.stored, spec, dataset),
            held_out=0 if one.job.held_out is None else len(one.job.held_out),
        )
        for one in trained
        if one.stored is not None
    ]


def failures(trained: Sequence[Trained]) -> tuple[str, ...]:
    """A line for each member that was not."""
    return tuple(f"{one.job.name} failed: {one.reason}" for one in trained if one.stored is None)


def calibrated_member(
    name: str,
    trial: int | None,
    config: Config,
    stored: Stored,
    spec: StudySpec,
    dataset: Dataset,
    held_out: int = 0,
) -> TrainedMember:
    """A member with the temperature that validation rows want.

    Args:
        name: for messages.
        trial: whose config it has.
        config: laid over the spec.
        stored: what its training left.
        spec: that it was trained by.
        dataset: the study's own split.
        held_out: how many training rows it was not trained on, and has predicted.

    Raises:
        HpoError: its predictions cannot be read.
    """
    task, outputs = spec.base, len(dataset.outputs)
    rows: dict[Split, int] = {"validation": len(dataset.validation), "test": len(dataset.test), "held_out": held_out}
    shapes = {split: (count, outputs) for split, count in rows.items()}
    raw = _calibrated(name, stored, "validation", shapes["validation"], 1.0, task)
    temperature = fit_temperature(raw, dataset.validation.targets, task)
    model = spec.apply(config).model
    return TrainedMember(name, trial, config, model, stored, temperature, task, shapes, spec.training.copies)


def join(
    method: str,
    members: Sequence[TrainedMember],
    combiner: Combiner,
    dataset: Dataset,
    estimate: Estimate | None = None,
    failed: tuple[str, ...] = (),
) -> Retrained:
    """The members and their combiner, with a last temperature or an interval from validation rows.

    Args:
        method: its name.
        members: in the order of their places.
        combiner: not fitted on validation rows.
        dataset: the study's own split.
        estimate: of rows that members were not trained on.
        failed: a line for each member that is missing.

    Raises:
        HpoError: predictions cannot be read.
    """
    task, targets = members[0].task, dataset.validation.targets
    validation = np.stack([member.predictions("validation") for member in members])
    combined = combiner.combine(validation[list(combiner.members)])
    last = calibration(combined, targets, task)
    if last.temperature != 1.0:
        combiner = Calibrated(combiner, last.temperature, task)
    spreads = dataset.spreads(dataset.validation)
    interval = _interval(combined, targets, spreads) if task == "regression" else None
    return Retrained(method, tuple(members), validation, combiner, last, interval, estimate, failed)


def uniform(members: int, task: str) -> Average:
    """The mean of all members."""
    return Average(tuple(range(members)), (1 / members,) * members, task)


def measure(
    kind_: str, spec: StudySpec, dataset: Dataset, predictions: Predictions, targets: Targets, of: int
) -> Estimate:
    """The estimate from predictions `(rows, outputs)` of `of` training rows, and their targets."""
    metrics = measured(spec, dataset.outputs, predictions, targets, dataset.encoding.layout)
    metrics[SCORES[spec.base].name] = float(costs(predictions, targets, spec.base))
    return Estimate(kind_, len(targets), of, metrics)


def _interval(combined: Predictions, targets: Targets, spreads: NDArray[np.floating[Any]] | None) -> Interval | None:
    """None where there are too few rows for one."""
    try:
        return conformal(combined - targets, spreads=spreads)
    except InputError:
        return None


def _calibrated(
    name: str, stored: Stored, split: Split, shape: tuple[int, int], temperature: float, task: str
) -> Predictions:
    try:
        predictions: NDArray[np.float32] = stored.predictions(split, shape)
        if predictions.shape != shape:
            raise ValueError(f"they are {predictions.shape}, and {shape} are wanted")
    except (OSError, ValueError, EOFError) as error:
        again = "; remove this folder and run the same command again" if _is_retrained(stored) else ""
        raise HpoError(f"{name}: its {split} predictions in '{stored.place}' cannot be read: {error}{again}") from error
    return predictions if temperature == 1.0 else temper(predictions, temperature, task)


def _is_retrained(stored: Stored) -> bool:
    """Whether it is no trial of the study and can be made again: `<study>/retrained/<method>/00003/epoch-0005`."""
    return str(stored.place).split("/")[-4] == FOLDER
