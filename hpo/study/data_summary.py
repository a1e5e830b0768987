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
from hpo.datasets.dataset import Encoding, Inputs, input_shape
from hpo.files.arrays import open_arrays
from hpo.study.artifacts import Split

DATA_FILE = "data.npz"
"""The file of a study's data summary in its folder."""


@dataclass(frozen=True, eq=False)
class DataSummary:
    """What a study keeps of its data, so that ensembles need neither the data set nor a network.

    `targets` are as `hpo.datasets.dataset.Targets` has them, `example` is one input: an image `(1, h, w, c)` uint8 or a
    row of a table `(1, features)` of floats.
    """

    outputs: tuple[str, ...]
    """The name of each class by its number, of each label, or of each regression target."""
    targets: Mapping[Split, NDArray[Any]] = field(repr=False)
    example: Inputs = field(repr=False)
    fingerprint: str
    """Fingerprint of all rows: a study that goes on must find the data that it began with."""
    encoding: Encoding = field(default_factory=Encoding)
    """How further inputs are read."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example as a model sees it: (channels, height, width) or (features,)."""
        return input_shape(self.example)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads them from a file, without pickle.

        Raises:
            OSError, ValueError, KeyError, EOFError, BadZipFile: it is damaged, or of another version.
        """
        with open_arrays(path, follow=False) as file:
            files.checked_size(file.fileno())
            return cls._of(file)

    @classmethod
    def _of(cls, file: IO[bytes]) -> Self:
        with np.load(file, allow_pickle=False) as archive:
            targets: dict[Split, NDArray[Any]] = {
                "validation": archive["validation_targets"],
                "test": archive["test_targets"],
            }
            for split, values in targets.items():
                if values.ndim not in (1, 2) or values.dtype.kind not in "biuf":
                    raise ValueError(f"the {split} targets are no numbers (rows,) or (rows, outputs)")
            if archive["outputs"].ndim != 1:
                raise ValueError("the outputs are no list of names")
            outputs = tuple(str(name) for name in archive["outputs"])
            fingerprint = str(archive["fingerprint"])
            known = json.loads(str(archive["encoding"])) if "encoding" in archive else None  # older studies have none
            try:
                encoding = Encoding() if known is None else Encoding.from_json(known)
            except (AttributeError, TypeError, RecursionError) as error:
                raise ValueError(f"its encoding is none: {error}") from error
            return cls(outputs, targets, archive["example"], fingerprint, encoding)

    def write(self, path: Path) -> None:
        """Into a file."""
        content = io.BytesIO()
        np.savez(
            content,
            outputs=np.array(self.outputs),
            example=self.example,
            validation_targets=self.targets["validation"],
            test_targets=self.targets["test"],
            fingerprint=self.fingerprint,
            encoding=np.array(json.dumps(self.encoding.to_json())),
        )
        files.write(path.parent, path.name, content.getbuffer())
