"""What predictions are compared with: the names of outputs, and the truth of the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.study.artifacts import Split

_KINDS = {"classification": ("i", 1), "multilabel": ("u", 2), "regression": ("fiu", 2)}
"""Task -> numpy's kinds of types that its targets have, and their dimensions."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of a study's rows; `targets` are as `hpo.datasets.dataset.Targets` has them."""

    outputs: tuple[str, ...]
    """The name of each class by its number, of each label, or of each regression target."""
    targets: Mapping[Split, NDArray[Any]] = field(repr=False)

    def shape(self, split: Split) -> tuple[int, int]:
        """The shape of predictions of a split: (rows, outputs)."""
        return len(self.targets[split]), len(self.outputs)

    def check(self, task: str) -> None:
        """Holds it to be of a task.

        Raises:
            ValueError: targets are not of the task and the outputs.
        """
        for split, values in self.targets.items():
            _check_targets(split, values, task, len(self.outputs))


def _check_targets(split: Split, values: NDArray[Any], task: str, outputs: int) -> None:
    """Holds the targets of a split to the task and its number of outputs."""
    kinds, dimensions = _KINDS[task]
    wide = values.ndim == 1 or values.shape[1] == outputs
    if values.dtype.kind not in kinds or values.ndim != dimensions or not wide:
        raise ValueError(f"its {split} targets are {values.shape} {values.dtype}: not of {task}, {outputs} outputs")
    least, most = {"classification": (0, outputs - 1), "multilabel": (0, 1)}.get(task, (-np.inf, np.inf))
    if not (np.isfinite(values) & (least <= values) & (values <= most)).all():
        raise ValueError(f"its {split} targets are out of range: {outputs} outputs")
