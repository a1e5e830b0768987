"""The product's methods by name, each with the signature of a peer: `hpo.simulate` over the same curves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import optuna
from lcbench import EPOCHS, LCBench
from peers import Method
from simulator import Trace

import hpo
from hpo.study.trial import Metrics, TrialRecord

_METRIC = "val_accuracy"


@dataclass
class Incumbent:
    """An observer that keeps the trace."""

    trace: Trace = field(default_factory=list)
    epochs: int = 0

    def trial_started(self, trial: TrialRecord) -> None:
        """Nothing to do."""

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Counts the epoch and compares its value."""
        self.epochs += 1
        if not self.trace or metrics[_METRIC] > self.trace[-1][1]:
            self.trace.append((self.epochs, metrics[_METRIC]))

    def trial_paused(self, number: int) -> None:
        """Nothing to do."""

    def trial_resumed(self, number: int) -> None:
        """Nothing to do."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Nothing to do."""


def run(settings: Mapping[str, Any], lcbench: LCBench, seed: int, workers: int, budget_epochs: int) -> Trace:
    """A search of the product with these settings of the spec; without any it is the default."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def curve(config: Mapping[str, Any], epoch: int) -> tuple[dict[str, float], float]:
        accuracies, seconds = lcbench.curve(config)
        return {_METRIC: float(accuracies[epoch - 1])}, float(seconds[epoch - 1])

    spec = {
        "study": "lcbench",
        "training": {"epochs": EPOCHS},
        "objective": {"metric": _METRIC, "goal": "maximize"},
        "parameters": {
            name: {"type": kind, "min": low, "max": high, "log": log}
            for name, (kind, low, high, log) in lcbench.space.items()
        },
        "seed": seed * 1_000_003 + lcbench.task,  # a task is a problem of its own, with its own random start
        **settings,
    }
    incumbent = Incumbent()
    hpo.simulate(spec, curve, workers=workers, epochs=budget_epochs, observers=[incumbent])
    return [*incumbent.trace, (incumbent.epochs, incumbent.trace[-1][1])]


PRODUCT: dict[str, Method] = {
    "hpo": partial(run, {}),
    "hpo curves+asha": partial(run, {"sampler": "curves", "scheduler": "asha"}),
    "hpo tpe+asha": partial(run, {"sampler": "tpe", "scheduler": "asha"}),
    "hpo random+asha": partial(run, {"sampler": "random", "scheduler": "asha"}),
    "hpo evolution+asha": partial(run, {"sampler": {"name": "evolution"}, "scheduler": "asha"}),
    "hpo portfolio+asha": partial(run, {"sampler": "portfolio", "scheduler": "asha"}),
    "hpo de+asha": partial(run, {"sampler": {"name": "evolution", "strategy": "differential"}, "scheduler": "asha"}),
}
