"""A search in virtual time: the default sampler and scheduler over learning curves that are a formula.

Run it from anywhere: `python examples/simulated_search.py`. It trains nothing and leaves nothing behind. In place of
the formula may stand a table of curves that were measured once, to try samplers and schedulers on.
"""

import math
import random
from typing import Any

import hpo

SPACE = {
    "study": "simulated",
    "training": {"epochs": 27},
    "parameters": {  # without `data` and `model` they may have any names
        "lr": {"min": 1e-4, "max": 1.0, "log": True},
        "width": {"type": "int", "min": 8, "max": 256, "log": True},
    },
    "objective": {"metric": "accuracy", "goal": "maximize"},
    "budget": {"epochs": 135},  # what 5 trials cost that are trained to the end
}


def accuracy(config: dict[str, Any], epoch: int) -> float:
    """Grows as a power law; best at a learning rate of 0.01 and at the greatest width."""
    end = 0.95 - 0.05 * math.log10(config["lr"] / 0.01) ** 2 - 0.02 * math.log2(256 / config["width"])
    return float(end * (1 - 0.6 * epoch**-0.7))


def curve(config: dict[str, Any], epoch: int) -> tuple[dict[str, float], float]:
    """The metrics after an epoch, with the noise of a few validation rows, and the seconds that the epoch takes."""
    noise = 0.01 * random.Random(f"{config} {epoch}").gauss(0, 1)
    return {"accuracy": accuracy(config, epoch) + noise}, 10 + config["width"] / 4


if __name__ == "__main__":
    result = hpo.simulate(SPACE, curve, workers=4)
    best = result.best
    assert best is not None, "a formula does not fail"
    trials = len(result.study.trials())
    print(f"{trials} trials in {result.seconds / 60:.0f} virtual minutes, workers {result.busy:.0%} busy")
    print(f"best: trial {best.number}, {best.epoch} epochs, accuracy {best.value:.3f} with {best.config}")
    print(f"test accuracy, which has no noise here: {accuracy(best.config, best.epoch):.3f}")
