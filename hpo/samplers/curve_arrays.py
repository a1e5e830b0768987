"""The learning curves of a study as arrays, from which a model is told a part before each decision."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.history import History
from hpo.history.measured import Measured
from hpo.history.rows import with_room
from hpo.history.table import Table
from hpo.samplers.curve_model import Array, Inputs


class CurveArrays:
    """Trials by number, in rows: a trial without a value is NaN.

    Args:
        inputs: of the search space.
        ladder: the rungs; a trial is known at those that it has passed and at its last epoch. Few points carry a curve.
    """

    def __init__(self, inputs: Inputs, ladder: Sequence[int]) -> None:
        self._inputs, self._ladder = inputs, tuple(float(rung) for rung in ladder)
        parameters, points = len(inputs.distributions), len(ladder) + 1
        self._parts = np.cumsum([parameters, points, points, 1])
        self._rows = np.empty((0, self._parts[-1] + 1))
        self._told = 0
        """How many of the table's changes are entered."""

    @property
    def units(self) -> Array:
        """(n, parameters), of the configs."""
        return self._rows[:, : self._parts[0]]

    @property
    def epochs(self) -> Array:
        """(n, points)."""
        return self._rows[:, self._parts[0] : self._parts[1]]

    @property
    def costs(self) -> Array:
        """(n, points), the best until then; infinite where a constraint is broken."""
        return self._rows[:, self._parts[1] : self._parts[2]]

    @property
    def reached(self) -> Array:
        """(n,), the last epoch."""
        return self._rows[:, self._parts[2]]

    @property
    def best(self) -> Array:
        """(n,), the cost so far, whatever the constraints."""
        return self._rows[:, self._parts[3]]

    def measured(self) -> NDArray[np.intp]:
        """The numbers of the trials with a value."""
        return np.flatnonzero(~np.isnan(self.best))

    def update(self, table: Table) -> None:
        """Enters what has changed."""
        self._rows = with_room(self._rows, len(table.trials))
        news = sorted(set(table.changes[self._told :]))
        self._told = len(table.changes)
        if not news:
            return
        self.units[news] = self._inputs.units([table.trials[number].params for number in news])
        for number in news:
            self._rows[number, self._parts[0] :] = np.nan
            if (known := table.measured[number]) is not None:
                self._enter(number, known)

    def _enter(self, number: int, known: Measured) -> None:
        last = min(known.trained, self._ladder[-1])
        passed = self._ladder[: bisect_left(self._ladder, last)]
        worst = np.inf if known.violation else 0.0
        self.reached[number], self.best[number] = known.trained, known.best[-1][0]
        for place, epoch in [*enumerate(passed), (-1, last)]:
            worth = known.at(known.trained if place < 0 else epoch)
            if worth is not None:
                self.epochs[number, place], self.costs[number, place] = epoch, worth.costs[0] + worst


def curves_of(history: History, inputs: Inputs, ladder: Sequence[int]) -> CurveArrays:
    """The curves of a study's history as they stand; who asks again about the same space gets the same ones."""
    key = CurveArrays, tuple(ladder), tuple(inputs.distributions.items())
    curves = history.part(key, lambda: CurveArrays(inputs, ladder))
    curves.update(history.table)
    return curves
