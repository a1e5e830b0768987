"""How fast searches run in virtual time: seconds and reports per second, for random configs under several schedulers.

python scripts/benchmarks/simulate.py [TRIALS] [EPOCHS]      1000 and 52 where left out
"""

import math
import platform
import random
import sys
import time
from typing import Any

import optuna

import hpo


def curve(config: dict[str, Any], epoch: int) -> tuple[dict[str, float], float]:
    """A power law of the epoch; epochs take one to ten seconds."""
    loss = abs(math.log10(config["lr"]) + 2) + 1 / epoch + 0.01 * random.Random(f"{config} {epoch}").random()
    return {"loss": loss}, 1 + 9 * config["width"] / 256


def main() -> None:
    """Prints one line a scheduler."""
    given = [int(text) for text in sys.argv[1:]]
    trials, epochs = given + [1000, 52][len(given) :]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    document = {
        "study": "speed",
        "training": {"epochs": epochs},
        "parameters": {
            "lr": {"min": 1e-5, "max": 1, "log": True},
            "width": {"type": "int", "min": 8, "max": 256, "log": True},
            "kind": {"values": ["plain", "deep"]},
            "rate": {"min": 0, "max": 1, "when": {"kind": "deep"}},
        },
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "budget": {"trials": trials},
    }
    print(f"{trials} trials of up to {epochs} epochs, random configs, 4 workers, in memory; {platform.processor()}")
    hpo.simulate({**document, "budget": {"trials": 2}}, curve)  # imports
    for scheduler in ("none", "asha", "hyperband"):
        started = time.perf_counter()
        result = hpo.simulate({**document, "scheduler": scheduler}, curve)
        seconds = time.perf_counter() - started
        reports = result.study.spent().epochs
        print(
            f"{scheduler:>10}: {seconds:6.1f} s, {reports:6} reports, {reports / seconds:6.0f} a second;"
            f" {result.seconds / 3600:.1f} h of virtual time"
        )


if __name__ == "__main__":
    main()
