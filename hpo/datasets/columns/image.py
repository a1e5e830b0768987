"""Pictures in files that a column names, as their pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import CellError, Cells, text
from hpo.datasets.images import SUFFIXES, ranges_of, read_image
from hpo.errors import DataError
from hpo.spec import DataSettings
from hpo.tasks.features import Feature, Picture

_MOST = 4096
"""The most pixels of a side."""


@dataclass(frozen=True)
class Image:
    """A column of paths of image files: a model is given them as RGB, scaled and centre-cropped to a square."""

    kind: ClassVar[str] = "image"
    whole: ClassVar[bool] = True
    lists: ClassVar[bool] = True
    ends: ClassVar[tuple[str, ...]] = SUFFIXES
    name: str
    size: int
    """Pixels of a side."""
    ranges: tuple[tuple[str, float, float], ...] = ()
    """Kinds of deep pictures, and the values that become 0 and 255."""
    folder: str = ""
    """Where relative paths of the training began."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """The picture as a whole."""
        return (Picture(self.name),)

    def encode(self, cells: Cells) -> NDArray[np.uint8]:
        """Pixels `(rows, size, size, 3)`.

        Raises:
            CellError: a cell names no image file.
            DataError: it is given as pixels, and not of this size.
        """
        pixels: NDArray[np.uint8] = np.empty((len(cells), self.size, self.size, 3), np.uint8)
        for row, cell in enumerate(cells):
            pixels[row] = self._pixels(row, cell)
        return pixels

    def decode(self, numbers: Sequence[Any]) -> list[Any]:
        """A picture as its pixels, which stand for a file in what `Ensemble.predict` takes."""
        return list(numbers)

    def told(self) -> str:
        """What it is."""
        return f"pictures, {self.size} pixels square"

    def to_json(self) -> dict[str, Any]:
        """How pictures are read."""
        return {"size": self.size, "ranges": [list(entry) for entry in self.ranges]}

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> Self:
        """Measures the ranges of deep pictures, and keeps where relative paths begin.

        Raises:
            CellError: a cell names no image file.
        """
        found = cls(name, settings.size, (), str(Path(settings.path or ".").parent))
        files = [found._file(row, cell) for row, cell in enumerate(cells)]
        ranges = tuple((kind, *ends) for kind, ends in ranges_of(files).items())
        return cls(name, found.size, ranges, found.folder)

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """Back from JSON; relative paths begin in the current folder then.

        Raises:
            ValueError, TypeError, KeyError: it is damaged.
        """
        if type(document["size"]) is not int or not 0 < document["size"] <= _MOST:
            raise ValueError(f"the size must be 1 to {_MOST} pixels")
        ranges = tuple((str(kind), float(low), float(high)) for kind, low, high in document["ranges"])
        if not all(-math.inf < low < high < math.inf for _, low, high in ranges):
            raise ValueError("ranges must go from a smaller to a larger finite number")
        return cls(name, document["size"], ranges)

    def _pixels(self, row: int, cell: Any) -> NDArray[np.uint8]:
        """A picture that is given as its pixels, or as a path."""
        if not isinstance(cell, list | np.ndarray):
            ranges = {kind: (low, high) for kind, low, high in self.ranges}
            try:
                return read_image(self._file(row, cell), (self.size, self.size), 3, ranges)
            except DataError as error:
                raise CellError(row, f"column {self.name!r}: {error}") from None
        given, shape = np.asarray(cell), (self.size, self.size, 3)
        if given.shape != shape or given.dtype.kind not in "iu" or given.min() < 0 or given.max() > 255:
            raise DataError(f"a picture must be pixels {shape} of 0 to 255, got {given.dtype} of shape {given.shape}")
        return given.astype(np.uint8)

    def _file(self, row: int, cell: Any) -> Path:
        """The file that a cell names."""
        if cell is None:
            raise CellError(row, f"column {self.name!r} names no file here; leave the row out")
        file = Path(self.folder) / Path(text(cell)).expanduser()
        if not file.is_file():
            raise CellError(row, f"column {self.name!r}: '{file}' is no file")
        return file
