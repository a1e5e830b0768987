"""Data sets, and the one split that all trials of a study share."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import get_args

import numpy as np

from hpo.datasets.dataset import Dataset, Encoding, Examples, Source
from hpo.datasets.notes import Notes
from hpo.datasets.ragged import Ragged
from hpo.datasets.split import check_folds, split_validation
from hpo.errors import DataError, InputError, Problem
from hpo.files.pretrained import read_pretrained
from hpo.plugins import Registry
from hpo.spec import OF_SEQUENCES, TASKS, Augmentation, DataSettings, StudySpec
from hpo.tasks.features import Tokens, sequence

__all__ = ["DATASETS", "Dataset", "Encoding", "Examples", "Ragged", "Source", "check", "load", "of", "rows_of"]

DATASETS = Registry(
    "data set",
    {
        "digits": "hpo.datasets.digits:digits",
        "breast_cancer": "hpo.datasets.tables:breast_cancer",
        "wine": "hpo.datasets.tables:wine",
        "diabetes": "hpo.datasets.tables:diabetes",
        "cifar10": "hpo.datasets.downloads:cifar10",
        "mnist": "hpo.datasets.downloads:mnist",
        "fashion_mnist": "hpo.datasets.downloads:fashion_mnist",
        "npz": "hpo.datasets.npz:npz",
        "image_folder": "hpo.datasets.image_folder:image_folder",
        "table": "hpo.datasets.table:table",
    },
)
"""A data set is a function `(settings: DataSettings, data_dir: Path) -> Source`, found by name.

One with a third argument `task` is given the name of the task there.
"""

DOWNLOADED = ("cifar10", "mnist", "fashion_mnist")
_NEED_A_PATH = ("npz", "image_folder", "table")
_OF_TABLES = (
    *("target", "columns", "missing", "header", "test", "groups", "time", "split"),
    *("length", "vocabulary", "tokens", "mels"),
)
"""Settings of the data set `table`."""
_OF_SERIES = ("horizon", "window", "series", "known", "stride", "season", "normalize")
"""Settings of a table whose rows are steps of series."""


def check(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the data set that the spec names, before anything is read."""
    try:
        DATASETS.load(spec.data.name)
    except InputError as error:
        yield Problem(("data", "name"), str(error))
        return
    if spec.data.name in _NEED_A_PATH:
        if spec.data.path is None:
            yield Problem(("data", "path"), f"is required for data set '{spec.data.name}'")
        elif not _exists(spec.data.path):
            yield Problem(("data", "path"), f"no such file or folder: {spec.data.path:.200}")
        elif not Path(spec.data.path).is_file() and not Path(spec.data.path).is_dir():
            yield Problem(("data", "path"), f"is a pipe or a device, and no file or folder: {spec.data.path:.200}")
    yield from _check_table(spec) if spec.data.name == "table" else _check_no_table(spec)
    yield from _check_series(spec)


def _check_table(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the settings of a table, before it is read."""
    data = spec.data
    if not data.target:
        yield Problem(("data", "target"), "is required of a table: the column that is to be predicted")
    for key in ("test", "validation"):
        value = getattr(data, key)
        if isinstance(value, str) and not Path(value).is_file():
            yield Problem(("data", key), f"must be a share such as 0.2, or a file, and there is no file {value:.200}")
    ordered = ("split",) if spec.task == "forecasting" else ("split", "time")  # a forecast has times in any case
    said = [key for key in (*ordered, "groups") if getattr(data, key) is not None]
    if "split" in said and (len(said) > 1 or isinstance(data.test, str) or isinstance(data.validation, str)):
        yield Problem(("data", "split"), "says which rows validate and test: leave time, groups and files out")
    elif len(said) > 1:
        yield Problem(("data", "groups"), "parts the rows otherwise than data.time does: write one of them")
    if (
        spec.task != "forecasting"
        and spec.training.folds is not None
        and (data.time is not None or data.split is not None)
    ):
        key = "time" if data.time is not None else "split"
        yield Problem(("training", "folds"), f"validates each row once, which data.{key} does not allow: leave one out")


def _check_series(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the settings of series, before they are read."""
    data = spec.data
    if spec.task != "forecasting":
        for key in _OF_SERIES:
            if spec.written(f"data.{key}") and spec.data.name == "table":
                yield Problem(("data", key), f"is of forecasts, and the task is {spec.task}; write `task: forecasting`")
        return
    if data.name != "table":
        if data.name in DATASETS.names:
            yield Problem(("task",), f"forecasting is of series in a table's file, and data set '{data.name}' is none")
        return
    for key, what in (("time", "the column that says when each row was"), ("horizon", "how many steps are forecast")):
        if getattr(data, key) is None:
            yield Problem(("data", key), f"is required where task is forecasting: {what}")
    if isinstance(data.target, tuple) and len(data.target) > 1:
        yield Problem(
            ("data", "target"),
            f"names {len(data.target)} columns, and a forecast is of one; write several series below one another, with"
            " data.series",
        )
    if data.groups is not None:
        yield Problem(("data", "groups"), "parts rows at random, and forecasts are parted by time; leave it out")
    if spec.training.folds is not None:
        yield Problem(
            ("training", "folds"), "would validate the past by its future; forecasts are validated by what follows"
        )


def _check_no_table(spec: StudySpec) -> Iterable[Problem]:
    """Problems with settings that only a table has."""
    for key in (*_OF_TABLES, *_OF_SERIES):
        if spec.written(f"data.{key}") and spec.data.name in DATASETS.names:
            yield Problem(
                ("data", key), f"is of tables in files, and data set '{spec.data.name}' is none; leave it out"
            )
    if isinstance(spec.data.validation, str) and spec.data.name in DATASETS.names:
        yield Problem(("data", "validation"), f"must be a share such as 0.1 for data set '{spec.data.name}'")


def check_fit(spec: StudySpec, dataset: Dataset) -> Iterable[Problem]:
    """Problems between the spec and the data that it names, once they are read."""
    task = _read_as(spec)
    if dataset.task != task:
        found = {
            "classification": "classes",
            "multilabel": "0 and 1 of several labels",
            "regression": "numbers",
            "forecasting": "steps of series",
        }
        yield Problem(
            ("task",),
            f"is {task}, but the targets of data set '{spec.data.name}' are {found[dataset.task]};"
            f" write `task: {dataset.task}`, or store other targets",
        )
    searched = spec.parameters.get("data.augment")
    probes = [] if searched is None else searched.probes()
    mixed = any("mixup" in names for names in (spec.data.augment, *probes))
    if mixed and any(feature.categories for feature in dataset.encoding.layout):
        yield Problem(("data", "augment"), "'mixup' mixes numbers, and these data have categories; leave it out")
    what, taken = _augmented(dataset)
    for key, values in ((("data", "augment"), [spec.data.augment]), (("parameters", "data.augment"), probes)):
        wanted = [name for names in values for name in names if name not in taken]
        if wanted:
            known = f"they take {' and '.join(taken)}" if taken else "they take none"
            yield Problem(key, f"'{wanted[0]}' is not for {what}: {known}; leave it out")


def _read_as(spec: StudySpec) -> str:
    """The task of ours that data are read for; a task of the user's own has data as its base has."""
    return spec.task if spec.task in TASKS else spec.base


def _augmented(dataset: Dataset) -> tuple[str, tuple[str, ...]]:
    """What the inputs of a data set are, and which augmentations they take."""
    feature = sequence(dataset.encoding.layout)
    if feature is not None:
        return ("texts", ("token_dropout",)) if isinstance(feature, Tokens) else ("clips", ("time_mask", "band_mask"))
    others = [name for name in get_args(Augmentation) if name not in OF_SEQUENCES]
    return {
        1: ("tables", ("mixup",)),
        2: ("series", ("mixup", "time_mask")),
    }.get(len(dataset.input_shape), ("images", tuple(others)))


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name that no file system takes
        return False


def of(spec: StudySpec, data_dir: Path) -> Dataset:
    """The data of a search, with the weights that its training begins from; `rows_of` says what else it raises.

    Raises:
        DataError: the file of weights is not there, or damaged.
    """
    rows = rows_of(spec, data_dir)
    return rows if spec.model.weights is None else replace(rows, pretrained=read_pretrained(spec.model.weights))


def rows_of(spec: StudySpec, data_dir: Path) -> Dataset:
    """The data of a search without the weights that its training begins from; `load` says what it raises."""
    return load(spec.data, data_dir, spec.seed, spec.training.folds, _read_as(spec))


@lru_cache(maxsize=2)  # a warm worker keeps the data set of its study
def load(
    settings: DataSettings, data_dir: Path, seed: int, folds: int | None = None, task: str = "classification"
) -> Dataset:
    """Reads a data set and splits validation rows off its training rows.

    With folds no row is split off: each training row is a validation row of one fold.

    Args:
        settings: the `data` section.
        data_dir: where downloads are kept.
        seed: of the split; the same seed gives the same split on every machine.
        folds: of cross-validation; one split where None.
        task: of the search, for data whose targets may be read in several ways.

    Raises:
        DataError: it cannot be read or downloaded, or its contents break a rule.
    """
    function = DATASETS.load(settings.name)
    try:
        source = function(settings, data_dir, task) if _takes_task(function) else function(settings, data_dir)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        if settings.name in DATASETS.names:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"data set '{settings.name}', a function (settings, data_dir), failed with {reason:.300}"
        ) from error
    if not isinstance(source, Source):
        raise DataError(f"data set '{settings.name}' must return a hpo.datasets.Source, got {type(source).__name__}")
    source.check()
    if folds is None and source.validation is not None:
        train, validation = source.train, source.validation
    elif folds is None:
        assert not isinstance(settings.validation, str), "a source gives the validation rows of a file"
        train, validation = split_validation(source.train, settings.validation, seed, source.outputs, source.times)
    else:
        check_folds(source.train, folds, source.outputs)
        train = validation = source.train
    return Dataset(
        train,
        validation,
        source.test,
        source.outputs,
        encoding=source.encoding,
        notes=(*source.notes, *_unseen(source)),
    )


def _takes_task(function: Callable[..., object]) -> bool:
    try:
        return "task" in signature(function).parameters
    except (TypeError, ValueError):
        return False


def _unseen(source: Source) -> Iterable[str]:
    """What to say of classes without training rows, which a model can only learn never to predict."""
    if source.task == "classification":
        counts = np.bincount(source.train.targets, minlength=len(source.outputs))
        notes = Notes()
        for place in np.flatnonzero(counts == 0):
            notes.add("classes without training rows, which are never predicted", source.outputs[place])
        yield from notes.lines()
