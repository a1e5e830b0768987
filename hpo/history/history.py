"""The trials of a study as samplers read them, brought up to date by what has changed.

A sampler has no memory: one is made for every proposal. A long study must not be read from its beginning each time, so
its history outlives the samplers, for as long as the storage that it is of.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import compress, count
from operator import is_not
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hpo.history.measured import Yardstick
from hpo.history.table import Table
from hpo.study.storage.cached import CachedStorage

Part = TypeVar("Part")


class History:
    """The trials of a study as a table, and what samplers have made of that.

    Args:
        yardstick: by which the trials are measured.
    """

    def __init__(self, yardstick: Yardstick) -> None:
        self.yardstick = yardstick
        self.table = Table()
        self._read = 0
        """How many changes of a cached storage are entered."""
        self._parts: dict[Hashable, Any] = {}

    def part(self, key: Hashable, make: Callable[[], Part]) -> Part:
        """What was made of the table under a key, or is made now; who asks brings it up to date."""
        if key not in self._parts:
            self._parts[key] = make()
        part: Part = self._parts[key]
        return part

    def update(self, study: optuna.Study) -> None:
        """Measures the trials that have changed since the last call."""
        if isinstance(study._storage, CachedStorage):
            trials, log = study._storage.log(study._study_id)
            self.table.update(trials, list(dict.fromkeys(log[self._read :])), self.yardstick)
            self._read = len(log)
        else:
            trials = study.get_trials(deepcopy=False)
            self.table.update(trials, _changed(trials, self.table.trials), self.yardstick)


def history_of(study: optuna.Study, yardstick: Yardstick) -> History:
    """The history of a study as it stands; the next call changes it.

    Args:
        study: whose trials.
        yardstick: by which they are measured.
    """
    histories, key = _HISTORIES.setdefault(study._storage, {}), (study._study_id, yardstick)
    if key not in histories:
        histories[key] = History(yardstick)
    history = histories[key]
    history.update(study)
    return history


def _changed(trials: Sequence[FrozenTrial], before: Sequence[FrozenTrial]) -> list[int]:
    """Numbers of the trials that are not what they were, new ones included: storages never change a trial in place."""
    return [*compress(count(), map(is_not, trials, before)), *range(len(before), len(trials))]


_HISTORIES: WeakKeyDictionary[BaseStorage, dict[tuple[int, Yardstick], History]] = WeakKeyDictionary()
"""Storage -> (study, yardstick) -> its history."""
