"""Examples in memory: images or rows of a table, with what is to be predicted of them."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpo.datasets import columns as kinds
from hpo.datasets.columns import Column
from hpo.datasets.filed import blocks
from hpo.datasets.moments import Moments, moments
from hpo.datasets.ragged import Ragged, joined
from hpo.datasets.series import Series
from hpo.datasets.windows import Windows
from hpo.errors import DataError
from hpo.files.pretrained import Pretrained
from hpo.tasks.features import Feature

Inputs: TypeAlias = Any
"""An array, `Ragged`, `Windows` or `Filed`: who uses one kind knows which; a union would have them say it everywhere.

Images `(n, h, w, c)` uint8, rows of a table `(n, features)`, series `(n, steps, channels)`, windows over series, texts
or clips (ragged).

In rows and series NaN is a missing value. Rows are float32, or float64 where float32 would blur what tells them apart
(`hpo.datasets.precision`), and so are windows; other series are float32, texts codes of tokens in int32, clips samples
in int16.
"""
FloatType = type[np.float32] | type[np.float64]
"""The type of a table's rows."""
Targets = NDArray[Any]
"""Targets: classes int64 `(n,)`, independent labels uint8 `(n, labels)`, 0 or 1, or values float32 `(n, targets)`."""


_AT_ONCE = 4096
"""Windows that are looked at together."""
Ranges = Mapping[str, tuple[float, float]]
"""The kind of deep pictures (`16-bit`, `integer`, `float`) -> the values that become 0 and 255."""


@dataclass(frozen=True)
class Encoding:
    """What must be known to read further inputs as those of the training were read."""

    features: tuple[str, ...] = ()
    """The names of a table's columns, in their order; empty where nobody has named them."""
    ranges: Ranges = field(default_factory=dict)
    """The ranges by which image files of more than 8 bits are scaled."""
    columns: tuple[Column, ...] = ()
    """What the columns of a table file mean, where its cells are no numbers yet."""
    series: Series | None = None
    """What the columns of a table file mean, where its rows are the steps of series that are forecast."""
    missing: tuple[str, ...] = ()
    """Texts that mean a missing value in the cells of these columns."""
    header: bool = True
    """Whether files with these columns name them in their first line."""

    laid_out: tuple[Feature, ...] = ()
    """What the numbers of a row are, where the columns stay behind: see `Dataset.sent`."""

    @property
    def named(self) -> bool:
        """Whether inputs are rows of a table whose columns are known by their names."""
        return bool(self.columns) or self.series is not None

    @property
    def layout(self) -> tuple[Feature, ...]:
        """What the numbers of an example are, where columns say so; empty where all are quantities."""
        if self.series is not None:
            return self.series.features
        return self.laid_out or tuple(feature for column in self.columns for feature in column.features)

    def to_json(self) -> dict[str, Any]:
        """Writes the encoding as JSON has it."""
        document: dict[str, Any] = {
            "features": list(self.features),
            "ranges": {kind: list(ends) for kind, ends in self.ranges.items()},
        }
        if self.columns:
            document["columns"] = [
                {"name": column.name, "kind": column.kind, **column.to_json()} for column in self.columns
            ]
        if self.series is not None:
            document["series"] = self.series.to_json()
        if self.named:
            document |= {"missing": list(self.missing), "header": self.header}
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Back from JSON.

        Raises:
            ValueError, TypeError, KeyError: it is damaged.
        """
        features = tuple(document["features"])
        ranges = {str(kind): (float(low), float(high)) for kind, (low, high) in document["ranges"].items()}
        if not all(isinstance(name, str) for name in features) or len(set(features)) < len(features):
            raise ValueError("names of features must be different texts")
        if not all(-math.inf < low < high < math.inf for low, high in ranges.values()):
            raise ValueError("ranges must go from a smaller to a larger finite number")
        columns = tuple(_column(entry) for entry in document.get("columns", ()))
        missing, header = tuple(document.get("missing", ())), document.get("header", True)
        names = [column.name for column in columns]
        if len(set(names)) < len(names) or not all(isinstance(text, str) for text in missing):
            raise ValueError("names of columns must be different, and missing values texts")
        if not isinstance(header, bool):
            raise TypeError("header must be true or false")
        series = Series.from_json(document["series"]) if "series" in document else None
        if columns and series is not None:
            raise ValueError("columns are of rows or of series")
        return cls(features, ranges, columns, series, missing, header)

    def check_series(self, shape: tuple[int, ...], outputs: Sequence[str]) -> None:
        """Holds inputs and outputs to the series, where there are any.

        Args:
            shape: of one input.
            outputs: names of a model's outputs.

        Raises:
            ValueError: they are of other windows, or of other steps.
        """
        if self.series is not None:
            window = self.series.window, len(self.series.channels)
            if shape != window or len(outputs) != self.series.horizon:
                raise ValueError(f"encoding.series has windows {window} and {self.series.horizon} steps, not {shape}")

    def decode(self, row: Sequence[float]) -> dict[str, Any]:
        """The cells by column that give the numbers of a row, where there are `columns`."""
        cells, first = {}, 0
        for column in self.columns:
            if kinds.is_whole(column):
                cells[column.name] = column.decode(row)
                continue
            cells[column.name] = column.decode(row[first : first + len(column.features)])
            first += len(column.features)
        return cells


def _column(entry: Mapping[str, Any]) -> Column:
    name, kind = entry["name"], entry["kind"]
    if not isinstance(name, str) or not (kind in kinds.COLUMNS.names or (isinstance(kind, str) and ":" in kind)):
        raise ValueError(f"a column must have a name and a kind, one of {', '.join(kinds.COLUMNS.names)}")
    return kinds.column(kind).from_json(name, entry)


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and their targets."""

    inputs: Inputs
    targets: Targets
    weights: NDArray[np.float32] | None = None
    """Weights of the rows in the training loss `(n,)`, 1 on average; all alike where None."""
    groups: NDArray[np.intp] | None = None
    """The number of each row's group `(n,)`, which no split parts; each row is its own where None."""

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The examples of these rows, in this order."""
        weights = None if self.weights is None else self.weights[rows]
        groups = None if self.groups is None else self.groups[rows]
        return type(self)(self.inputs[rows], self.targets[rows], weights, groups)

    def joined(self, others: Self) -> Self:
        """These examples and others behind them, all with the same weight."""
        pairs = ((self.inputs, others.inputs), (self.targets, others.targets))
        return type(self)(*(joined(pair) for pair in pairs))


@dataclass(frozen=True, eq=False)
class Source:
    """What a data set provides: training and test examples, before validation rows are split off."""

    train: Examples
    test: Examples
    outputs: tuple[str, ...]
    """What a model's outputs are of: the name of each class by its number, of each label, or of each target."""
    name: str
    """The data set's name or path, for messages."""
    encoding: Encoding = Encoding()
    notes: Sequence[str] = ()
    """What was left out or changed when the data were read, a line each."""
    validation: Examples | None = None
    """Validation examples that the user has given; they are split off the training ones where None."""
    times: NDArray[np.float64] | None = None
    """When each training example was `(n,)`: then the latest are validated."""

    @property
    def task(self) -> str:
        """The task that the targets are of."""
        return "forecasting" if self.encoding.series is not None else task_of(self.train.targets)

    def check(self) -> None:
        """Holds the examples to the rules that training relies on.

        Raises:
            DataError: a split is empty, sizes differ, or a target is out of range.
        """
        given = {"train": self.train, "test": self.test}
        if self.validation is not None:
            given["validation"] = self.validation
        if len({(task_of(split.targets), split.inputs.dtype) for split in given.values()}) > 1:
            raise DataError(f"{self.name}: {' and '.join(given)} must have inputs and targets of the same types")
        for split, examples in given.items():
            where = f"{self.name}: {split}"
            if len(examples) == 0:
                raise DataError(f"{where}: there are no examples")
            if examples.inputs.dtype.kind not in "fiub":
                raise DataError(f"{where}: inputs must be numbers, got {examples.inputs.dtype}")
            if examples.inputs.size == 0:
                raise DataError(f"{where}: inputs are empty, of shape {examples.inputs.shape}")
            if len(examples.inputs) != len(examples.targets):
                raise DataError(f"{where}: {len(examples.inputs)} inputs but {len(examples.targets)} targets")
            self._check_targets(where, examples.targets)
        features = self.encoding.features
        if features and self.train.inputs.shape[1:] != (len(features),):
            shape = self.train.inputs.shape
            raise DataError(f"{self.name}: {len(features)} features are named, but inputs are {shape}")
        shapes = {split: examples.inputs.shape[1:] for split, examples in given.items()}
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{split} inputs are {shape}" for split, shape in shapes.items())
            raise DataError(f"{self.name}: {found}; they must have one shape")

    def _check_targets(self, where: str, targets: Targets) -> None:
        if self.task == "classification":
            wrong = targets[(targets < 0) | (targets >= len(self.outputs))]
            if len(wrong):
                raise DataError(
                    f"{where}: labels out of range: must be 0 to {len(self.outputs) - 1}, got {int(wrong[0])}"
                    f" ({len(wrong)} of {len(targets)} rows); data.classes sets the number of classes"
                )
            return
        if targets.shape[1:] != (len(self.outputs),):
            raise DataError(f"{where}: targets must be (n, {len(self.outputs)}), got {targets.shape}")
        if self.task == "multilabel" and targets.max() > 1:
            raise DataError(f"{where}: targets of several labels must be 0 or 1, got {int(targets.max())}")
        if not np.isfinite(targets).all():
            rows = int((~np.isfinite(targets)).any(axis=1).sum())
            raise DataError(f"{where}: {rows} rows have a target that is not a finite number; leave these rows out")


@dataclass(frozen=True, eq=False)
class Dataset:
    """The three splits that all trials of a study share: choose on validation, score once on test.

    Where trials are cross-validated (`training.folds`), the training rows are the validation rows too, and `folded`
    makes the data of a fold.
    Where a member of an ensemble is trained anew, `train` may be some of the rows, with weights, or with target
    probabilities `(n, classes)` in place of labels.
    """

    train: Examples
    validation: Examples
    test: Examples
    outputs: tuple[str, ...]
    held_out: Examples | None = None
    """Training rows that a member is not trained on, and predicts."""
    encoding: Encoding = Encoding()
    notes: Sequence[str] = ()
    """What was left out or changed when the data were read, a line each."""
    pretrained: Pretrained | None = None
    """Weights that training begins from, which travel with the data; None where the search names none."""

    @property
    def task(self) -> str:
        """The task that the targets are of."""
        return "forecasting" if self.encoding.series is not None else task_of(self.validation.targets)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all rows and targets in their splits."""
        digest = hashlib.blake2b(digest_size=16)
        for examples in (self.train, self.validation, self.test):
            digest.update(repr(examples.inputs.shape).encode())
            inputs = examples.inputs
            for array in _arrays(inputs):
                digest.update(np.ascontiguousarray(array).data)
            digest.update(np.ascontiguousarray(examples.targets).data)
        if self.encoding.named:  # codes say nothing of the categories that they are of
            digest.update(json.dumps([self.encoding.to_json(), self.outputs]).encode())
        return digest.hexdigest()

    def sent(self) -> Self:
        """The data as workers are sent them: without the columns, whose code may be the user's.

        A worker imports that only when it stands in the folder of the search.
        """
        return replace(self, encoding=Encoding(laid_out=self.encoding.layout))

    @cached_property
    def input_moments(self) -> Moments:
        """Means and standard deviations of the training inputs, which are images, rows, series or windows."""
        inputs = self.train.inputs
        assert not isinstance(inputs, Ragged), "their first layer measures texts and clips"
        return moments(inputs.covered if isinstance(inputs, Windows) else inputs)

    def spreads(self, examples: Examples) -> NDArray[np.float32] | None:
        """How far off forecasts of each example may be, `(n,)`, as `Series.spread` says; None where none are made."""
        series = self.encoding.series
        if series is None:
            return None
        parts = (examples.inputs[first : first + _AT_ONCE] for first in range(0, len(examples), _AT_ONCE))
        return np.concatenate([series.spread(dense(part)) for part in parts]).astype(np.float32)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example as a model sees it, which `input_shape` of this module says."""
        return input_shape(self.train.inputs)


def dense(inputs: Inputs) -> NDArray[Any]:
    """Inputs as one array: windows step by step, texts and clips with padding up to the most that is kept of one."""
    if isinstance(inputs, Windows):
        return inputs.dense()
    return inputs.padded(inputs.limit) if isinstance(inputs, Ragged) else np.asarray(inputs)


def _arrays(inputs: Inputs) -> Iterable[NDArray[Any]]:
    """The arrays that inputs are made of."""
    if isinstance(inputs, Windows):
        return inputs.values, inputs.begins
    return (inputs.values, inputs.offsets) if isinstance(inputs, Ragged) else blocks(inputs)


def task_of(targets: Targets) -> str:
    """The task that targets are of, by their type."""
    if targets.dtype == np.int64 and targets.ndim == 1:
        return "classification"
    return "multilabel" if targets.dtype == np.uint8 else "regression"


def input_shape(inputs: Inputs) -> tuple[int, ...]:
    """The shape of one example as a model sees it.

    It is (channels, height, width) of images, (features,) of a table, (steps, channels) of series, and (length,) of
    texts and clips, the most tokens or samples of one.
    """
    if inputs.ndim < 4:
        return tuple(inputs.shape[1:])
    height, width, channels = inputs.shape[1:]
    return channels, height, width
