"""What trials are worth beside each other: compared at the last epoch that enough of them have reached."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from heapq import nsmallest

import numpy as np
import optuna
from numpy.typing import NDArray

from hpo.history.history import history_of
from hpo.history.measured import Measured, Yardstick
from hpo.history.table import Table
from hpo.study.ranking import Fitness


class Population(list[Measured]):
    """Measured trials by number; `table` is where they are all from."""

    def __init__(self, trials: Iterable[Measured], table: Table | None = None) -> None:
        super().__init__(trials)
        self.table = table

    @cached_property
    def reached(self) -> NDArray[np.float64]:
        """(n,) the last epoch of each."""
        return np.array([trial.reached for trial in self] if self.table is None else self.table.reached, np.float64)


def measure_all(study: optuna.Study, yardstick: Yardstick) -> Population:
    """The study's trials that have a fitness, by number.

    What has not changed since the last call is the same object, whoever asked then: to save time, not to remember.
    """
    table = history_of(study, yardstick).table
    return Population(table.known, table)


def resource(trials: Sequence[Measured], least: int) -> float:
    """The last epoch that at least `least` of the trials have reached, or all of them where they are fewer.

    Raises:
        ValueError: there are no trials.
    """
    if not trials:
        raise ValueError("no trials, so no resource that they have reached")
    if isinstance(trials, Population) and trials.table is not None:
        return trials.table.resource(least)
    place = len(trials) - min(least, len(trials))
    return float(np.partition(_population(trials).reached, place)[place])


def _population(trials: Sequence[Measured]) -> Population:
    return trials if isinstance(trials, Population) else Population(trials)


def compared(trials: Sequence[Measured], least: int) -> list[tuple[Fitness, Measured]]:
    """The trials that have reached the resource of at least `least` of them, with their fitness there."""
    if not trials:
        return []
    population = _population(trials)
    common = resource(population, least)
    there = (population[place] for place in np.flatnonzero(population.reached >= common))
    return [(fitness, trial) for trial in there if (fitness := trial.at(common)) is not None]


def ranked(trials: Sequence[Measured], least: int, most: int | None = None) -> list[Measured]:
    """These trials, or the best `most` of them, the best first; ties go to the older one. One objective."""
    if most is not None and isinstance(trials, Population) and trials.table is not None and trials:
        table = trials.table
        best = (table.measured[number] for _, number in table.ranked(resource(trials, least))[:most])
        return [trial for trial in best if trial is not None]
    rows = compared(trials, least)
    return [trial for _, trial in nsmallest(len(rows) if most is None else most, rows, key=_standing)]


def _standing(row: tuple[Fitness, Measured]) -> tuple[Fitness, int]:
    return row[0], row[1].number
