"""The configs that a study has, so that no sampler proposes them again."""

from collections import defaultdict
from dataclasses import dataclass, field

import optuna
from optuna.trial import TrialState

from hpo.history.history import history_of
from hpo.history.measured import Yardstick
from hpo.history.table import Table
from hpo.spec import Config
from hpo.spec.space import ConfigKey, config_key

_KNOWN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
"""The config of a trial that failed may be tried again."""


@dataclass
class KnownConfigs:
    """The trials of a study by their configs; a trial that had fewer values once is found by these too."""

    table: Table = field(default_factory=Table)
    told: int = 0
    """How many of the table's changes are entered."""
    numbers: defaultdict[ConfigKey, set[int]] = field(default_factory=lambda: defaultdict(set))

    def update(self, table: Table) -> None:
        """Enters what has changed."""
        for number in dict.fromkeys(table.touched[self.told :]):
            self.numbers[config_key(table.trials[number].params)].add(number)
        self.table, self.told = table, len(table.touched)

    def was(self, config: Config, own: int) -> bool:
        """Whether another trial than this one has the config, or had it and failed."""
        key, trials = config_key(config), self.table.trials
        others = self.numbers.get(key, set()) - {own}
        return any(config_key(trials[number].params) == key for number in others)

    def has(self, config: Config, own: int | None = None) -> bool:
        """Whether a trial that did not fail has this config.

        Args:
            config: an empty one is never known, since there is no other.
            own: the number of a trial that does not count.
        """
        if not config:
            return False
        key, trials = config_key(config), self.table.trials
        return any(
            number != own and trials[number].state in _KNOWN and config_key(trials[number].params) == key
            for number in self.numbers.get(key, ())
        )


def known_configs(study: optuna.Study, metrics: tuple[str, ...] | None = None) -> KnownConfigs:
    """The configs that a study has now; the next call changes it.

    Args:
        study: whose trials.
        metrics: names of the objectives in the trials' reports, where there are several.
    """
    history = history_of(study, Yardstick(tuple(study.directions), metrics))
    known = history.part(KnownConfigs, KnownConfigs)
    known.update(history.table)
    return known
