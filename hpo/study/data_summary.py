"""What a study keeps of its data."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from hpo import files
from hpo.datasets.columns import is_whole
from hpo.datasets.dataset import Encoding, input_shape
from hpo.files.arrays import NUMBERS, open_arrays, told_damaged
from hpo.study.artifacts import Split
from hpo.study.truth import Truth

DATA_FILE = "data.npz"
"""The file of a study's data summary in its folder."""


@dataclass(frozen=True, eq=False)
class DataSummary(Truth):
    """What a study keeps of its data, so that ensembles need neither the data set nor a network.

    `example` is one input: an image `(1, h, w, c)` uint8, a row of a table `(1, features)` or a series `(1, steps,
    channels)` of floats, a text or a clip `(1, length)` with padding behind its end.
    """

    example: NDArray[Any] = field(repr=False)
    fingerprint: str
    """Fingerprint of all rows: a study that goes on must find the data that it began with."""
    encoding: Encoding = field(default_factory=Encoding)
    """How further inputs are read."""
    weights: str = ""
    """A hash of the file of weights that training begins from; empty where there is none."""
    spreads: Mapping[Split, NDArray[np.floating[Any]]] = field(default_factory=dict, repr=False)
    """How far off forecasts of each row may be `(rows,)`, as `hpo.datasets.series.Series.spread` says."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example as a model sees it, which `hpo.datasets.dataset.input_shape` says."""
        return input_shape(self.example)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads them from a file, without pickle.

        Raises:
            OSError, ValueError: it is damaged, or of another version.
        """
        with open_arrays(path, follow=False) as file, told_damaged():
            files.checked_size(file.fileno())
            return cls._of(file)

    def check(self, task: str) -> None:
        """Holds what was read to be of a task.

        Raises:
            ValueError: targets are not of the task and the outputs, or the example is no input of a model.
        """
        super().check(task)
        shape, dtype, named = self.example.shape, self.example.dtype, len(self.encoding.features)
        if len(shape) not in (2, 3, 4) or shape[0] != 1 or not self.example.size or not _is_tensors(self.example):
            raise ValueError(f"its example is no image, row, series, text or clip, but {shape} {dtype}")
        row = self.encoding.columns and not any(is_whole(column) for column in self.encoding.columns)
        if row and shape[1:] != (len(self.encoding.layout),):
            raise ValueError(f"its columns have {len(self.encoding.layout)} features, but its example is {shape}")
        self.encoding.check_series(shape[1:], self.outputs)
        for split, values in self.spreads.items():
            if values.shape != self.targets[split].shape[:1] or not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(f"its {split} spreads must be above 0, one a row")
        if named and shape[1:] != (named,):
            raise ValueError(f"{named} features are named, but its example is {shape}")

    @classmethod
    def _of(cls, file: IO[bytes]) -> Self:
        with np.load(file, allow_pickle=False) as archive:
            targets: dict[Split, NDArray[Any]] = {
                "validation": archive["validation_targets"],
                "test": archive["test_targets"],
            }
            for split, values in targets.items():
                if values.ndim not in (1, 2) or not _is_tensors(values):
                    raise ValueError(f"the {split} targets are no numbers (rows,) or (rows, outputs)")
            if archive["outputs"].ndim != 1:
                raise ValueError("the outputs are no list of names")
            outputs = tuple(str(name) for name in archive["outputs"])
            fingerprint = str(archive["fingerprint"])
            known = json.loads(str(archive["encoding"])) if "encoding" in archive else None  # older studies have none
            encoding = Encoding() if known is None else Encoding.from_json(known)
            weights = str(archive["weights"]) if "weights" in archive else ""
            spreads = {split: archive[f"{split}_spreads"] for split in targets if f"{split}_spreads" in archive}
            if not all(_is_tensors(values) for values in spreads.values()):
                raise ValueError("the spreads are no numbers")
            return cls(outputs, targets, archive["example"], fingerprint, encoding, weights, spreads)

    def write(self, path: Path) -> None:
        """Into a file."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {
            "outputs": np.array(self.outputs),
            "example": self.example,
            "validation_targets": self.targets["validation"],
            "test_targets": self.targets["test"],
            "fingerprint": self.fingerprint,
            "encoding": np.array(json.dumps(self.encoding.to_json())),
            **{f"{split}_spreads": values for split, values in self.spreads.items()},
        }
        if self.weights:
            arrays["weights"] = np.array(self.weights)
        np.savez(content, **arrays)
        files.write(path.parent, path.name, content.getbuffer())


def _is_tensors(values: NDArray[Any]) -> bool:
    """Whether torch has numbers of this type: of 64 bits at most, in this machine's order of bytes."""
    return values.dtype.kind in NUMBERS and values.dtype.itemsize <= 8 and values.dtype.isnative
