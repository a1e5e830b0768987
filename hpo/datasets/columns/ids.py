"""Names of the rows: no model is told them, and predictions are written with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import Cells
from hpo.spec import DataSettings
from hpo.tasks.features import Feature


@dataclass(frozen=True)
class Ids:
    """A column that names the rows."""

    kind: ClassVar[str] = "ids"
    name: str
    features: ClassVar[tuple[Feature, ...]] = ()

    def encode(self, cells: Cells) -> NDArray[np.float64]:
        """No numbers, `(rows, 0)`."""
        return np.zeros((len(cells), 0))

    def decode(self, numbers: Sequence[float]) -> None:
        """No name: an example needs none."""

    def told(self) -> str:
        """What it is."""
        return "names the rows of predictions"

    def to_json(self) -> dict[str, Any]:
        """Nothing was learned."""
        return {}

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> Self:
        """There is nothing to learn."""
        return cls(name)

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """Back from JSON."""
        return cls(name)
