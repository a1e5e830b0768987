"""Numbers that stand for the trials of a study, a row a trial: what a model reads in place of the trials themselves.

Those lie all over the memory. Of a study of 10,000 a proposal that looks at 400 waits for the memory most of its time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.history.table import Table
from hpo.spec import Config

Array = NDArray[np.float64]


def with_room(rows: Array, count: int) -> Array:
    """These rows, and new ones of NaN, at least `count` in all: twice as many, so each moves a few times only."""
    if count <= len(rows):
        return rows
    return np.concatenate([rows, np.full((max(count - len(rows), len(rows)), rows.shape[1]), np.nan)])


class Configs:
    """The configs of a study.

    Args:
        encode: configs -> (configs, width) numbers.
        width: of a row.
    """

    def __init__(self, encode: Callable[[Sequence[Config]], Array], width: int) -> None:
        self._encode, self._rows = encode, np.empty((0, width))
        self._told = 0
        """How many of the table's changes are entered."""

    def update(self, table: Table) -> Array:
        """Enters what has changed; returns the rows, of which there may be more than trials."""
        self._rows = with_room(self._rows, len(table.trials))
        news = list(dict.fromkeys(table.touched[self._told :]))
        self._told = len(table.touched)
        if news:
            configs: list[dict[str, Any]] = [table.trials[number].params for number in news]
            self._rows[news] = self._encode(configs)
        return self._rows
