"""Distillation: one model learns what an ensemble says (Hinton et al. 2015, "Distilling the Knowledge in a Network").

The student itself is trained at temperature 1, other than theirs: it learns one mixed target a row, so that every
objective that takes target probabilities can train it. A temperature above 1 softens the teacher, which was trained on
these rows and is too sure of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml.error import YAMLError

from hpo import models, tasks
from hpo import spec as specs
from hpo.engine.ray.member_training import Job
from hpo.ensemble.calibration import temper
from hpo.ensemble.retrain.retrained import Retrained, join, survivors, uniform
from hpo.ensemble.retrain.trainer import Trainer
from hpo.ensemble.score import Predictions, Targets
from hpo.errors import InputError, SpecError, first_line
from hpo.files import read_regular
from hpo.spec import Config, StudySpec
from hpo.spec.families import NAME, family_of
from hpo.training import rehearsal

METHOD = "distillation"

_SECTIONS = ("model", "training", "optimizer")
"""Sections of the spec whose settings a student may have of its own."""
_AUGMENTATION = ("augment", "crop_padding", "cutout_size", "mixup_alpha", "token_dropout", "time_mask", "band_mask")
"""The settings of `data` that it may have too; the others say which data these are."""


@dataclass(frozen=True)
class Student:
    """What is to learn from an ensemble: `config`, laid over `spec`, which may have another model than the study."""

    name: str
    trial: int | None
    config: Config
    spec: StudySpec


def distill(
    trainer: Trainer, student: Student, teacher: Predictions, *, share: float = 0.9, temperature: float = 2.0
) -> Retrained:
    """Trains a student on the training rows, whose targets are the mean of what they are and what the ensemble says.

    Args:
        trainer: of the study.
        student: see `read_student`.
        teacher: the ensemble's predictions of all training rows `(rows, outputs)`.
        share: of the ensemble's word in the mean, above 0 and at most 1.
        temperature: of the ensemble's probabilities, above 0.

    Returns:
        An ensemble of one member.

    Raises:
        InputError: a number is out of range, or the predictions are not of the training rows.
        HpoError: its training failed.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of the ensemble's word must be above 0 and at most 1, got {share:g}")
    if not temperature > 0:
        raise InputError(f"the temperature of distillation must be above 0, got {temperature:g}")
    expected = (trainer.rows, len(trainer.dataset.outputs))
    if teacher.shape != expected:
        raise InputError(f"the ensemble's predictions must be of the training rows, {expected}, got {teacher.shape}")
    targets = soft_targets(teacher, trainer.dataset.train.targets, student.spec.base, share, temperature)
    name, seed = _told(trainer, student), trainer.seed(METHOD, 0)
    job = Job(0, name, student.config, seed, student.trial, targets=targets)
    members, _ = survivors(trainer.train(METHOD, [job], student.spec), student.spec, trainer.dataset)
    return join(METHOD, members, uniform(1, student.spec.base), trainer.dataset)


def _told(trainer: Trainer, student: Student) -> str:
    """The student's name; where the study has several model families, with its own."""
    family = student.spec.apply(student.config).model.name
    return f"student ({student.name}{f', {family}' if len(trainer.spec.families) > 1 else ''})"


def soft_targets(teacher: Predictions, targets: Targets, task: str, share: float, temperature: float) -> Predictions:
    """The mean of targets and of the teacher's predictions, float32 `(rows, outputs)`.

    Args:
        teacher: predictions `(rows, outputs)`.
        targets: of the same rows, as the task has them.
        task: values of regression have no temperature.
        share: of the teacher.
        temperature: of the teacher's probabilities.
    """
    if task == "classification":
        targets = np.eye(teacher.shape[1])[targets]
    teacher = temper(teacher, temperature, task)
    return (share * teacher.astype(np.float64) + (1 - share) * targets).astype(np.float32)


def read_student(trainer: Trainer, wanted: str) -> Student:
    """The student that a user named.

    Args:
        trainer: of the study.
        wanted: a trial's number, or a YAML or JSON file with a `config` (dotted name -> value, of the model, training,
            optimizer or augmentation) or a `model` section; what it does not say is as in the best trial. Another
            `model.name` of the study's families begins with what the study has fixed for that family.

    Raises:
        StudyError: there is no such trial.
        InputError: there is no such file, or it holds something else.
        SpecError: a value breaks a rule; every problem at once.
    """
    study, spec = trainer.study, trainer.spec
    if wanted.isascii() and wanted.isdigit():
        return Student(f"trial {int(wanted)}", int(wanted), study.trial(int(wanted)).config, spec)
    document = _read(wanted)
    config, own = dict(trainer.best().config), document.get("config", {})
    overrides: dict[str, Any] = {"parameters": {}, "forbidden": [], "configs": []}  # which are of trials
    family = spec.apply(config).model.name
    if "model" in document:
        config = {name: value for name, value in config.items() if not name.startswith("model.")}
        overrides["model"], family = document["model"], ""
    elif own.get(NAME, family) != family and own[NAME] in spec.families:
        family = own[NAME]
        config = {name: value for name, value in config.items() if not name.startswith("model.")}
        spec = spec.of_family(family)
    config, own = _of_one_family(config, family), _of_one_family(own, family)
    build = partial(rehearsal.problems, dataset=trainer.dataset)
    try:
        made = specs.load(spec.apply(config), {**overrides, **own}, (tasks.check, models.check), build)
    except SpecError as error:  # a line names `--set` or the spec as the place
        raise SpecError([f"{wanted}: {line.partition(': ')[2]}" for line in error.lines]) from None
    return Student(Path(wanted).name, None, config | own, made)


def _of_one_family(config: Config, family: str) -> Config:
    """A config in which the settings of a family have the names that they have without others."""
    return {
        f"model.{name.rpartition('.')[2]}" if family_of(name) == family else name: it for name, it in config.items()
    }


def _read(path: str) -> Mapping[str, Any]:
    try:
        document: Any = specs.parse_plain(read_regular(path, 2**20, follow=True).decode())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--distill must be a trial's number, or a YAML or JSON file with `config:` or `model:`, got '{path}':"
            f" {error}"
        ) from None
    except (YAMLError, ValueError) as error:
        raise InputError(f"{path}: is neither YAML nor JSON: {first_line(error)}") from None
    known = isinstance(document, dict) and document and document.keys() <= {"config", "model"}
    if not known or not isinstance(document.get("config", {}), dict):
        raise InputError(
            f"{path}: a student is a mapping with `config:` (dotted name: value), `model:` or both,"
            f" got {document!r:.60}"
        )
    for name in document.get("config", {}):
        if not _settable(name):
            raise InputError(
                f"{path}: config: a key must be section.setting with a section of {', '.join(_SECTIONS)}, or one of"
                f" {', '.join(f'data.{setting}' for setting in _AUGMENTATION)}, got {name!r}"
            )
    return dict(document)


def _settable(name: object) -> bool:
    if not isinstance(name, str):
        return False
    section, _, setting = name.partition(".")
    setting = name.rpartition(".")[2] if family_of(name) is not None else setting
    return setting in _AUGMENTATION if section == "data" else section in _SECTIONS and setting.isidentifier()
