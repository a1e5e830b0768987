"""Records what simulated searches decide, and compares two such records: `python scripts/decisions.py --help`.

Whoever changes how the code is laid out shows with it that no decision has changed:

    python scripts/decisions.py record before.json     # with the old code
    python scripts/decisions.py record after.json      # with the new code
    python scripts/decisions.py compare before.json after.json

Both records must come from one machine: the last bits of a number may differ between kinds of CPUs.
"""

import argparse
import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import hpo

EPOCHS = 27
TRIALS = 40
SEEDS = (0, 1, 2)
NUMERIC = {
    "x": {"min": 0, "max": 1},
    "rate": {"min": 1.0e-4, "max": 1, "log": True},
    "depth": {"type": "int", "min": 1, "max": 64, "log": True},
}
CATEGORICAL = {
    "kind": {"values": ["plain", "deep", "wide"]},
    "size": {"values": [8, 16, 32, 64]},
    "switch": {"values": [True, False]},
    "x": {"min": 0, "max": 1},
}
CONDITIONAL = {
    "kind": {"values": ["plain", "deep"]},
    "x": {"min": 0, "max": 1},
    "rate": {"min": 1.0e-4, "max": 1, "log": True, "when": {"kind": "deep"}},
    "width": {"type": "int", "min": 1, "max": 9, "when": {"kind": "plain"}},
}
ONE = {"objective": {"metric": "loss", "goal": "minimize"}}
SPACES: dict[str, dict[str, Any]] = {
    "numeric": {"parameters": NUMERIC, **ONE},
    "categorical": {"parameters": CATEGORICAL, **ONE},
    "conditional": {"parameters": CONDITIONAL, **ONE},
    "objectives": {
        "parameters": NUMERIC,
        "objective": [{"metric": "loss", "goal": "minimize"}, {"metric": "seconds", "goal": "minimize"}],
    },
}
SCHEDULERS = ("freeze_thaw", "asha", "hyperband", "pbt", "median")


class Killed(Exception):
    """A search was ended in its middle."""


@dataclass
class Decisions:
    """Everything that a search decides, in its order.

    Args:
        most: how many decisions it makes before it is killed.
    """

    most: float = math.inf
    made: list[str] = field(default_factory=list)

    def _note(self, decision: str) -> None:
        self.made.append(decision)
        if len(self.made) >= self.most:
            raise Killed

    def trial_started(self, trial: Any) -> None:
        """Notes a trial and its config."""
        self._note(f"{trial.number} start {json.dumps(trial.config, sort_keys=True)}")

    def trial_reported(self, number: int, epoch: int, metrics: dict[str, float]) -> None:
        """Notes a report."""
        self._note(f"{number} report {epoch} {metrics.get('loss')!r}")

    def trial_paused(self, number: int) -> None:
        """Notes a pause."""
        self._note(f"{number} pause")

    def trial_resumed(self, number: int) -> None:
        """Notes that a trial goes on."""
        self._note(f"{number} resume")

    def trial_ended(self, trial: Any) -> None:
        """Notes an end."""
        lines = (trial.reason or "").strip().splitlines()
        self._note(f"{trial.number} end {trial.state.value} at {trial.epoch}: {lines[-1] if lines else ''}")


def curve(config: dict[str, Any], epoch: int) -> tuple[dict[str, float], float]:
    """A loss that falls with a speed and to a floor of its own; some configs fail or diverge.

    Raises:
        ValueError: of every config in a small part of the space, after a few epochs.
    """
    x, rate = float(config.get("x", 0.5)), float(config.get("rate", 0.01))
    late = {"plain": 0.0, "deep": 0.3, "wide": 0.1}[config.get("kind", "plain")]
    depth = float(config.get("depth", config.get("size", 8)))
    if x > 0.97 and epoch > 2:
        raise ValueError("this part of the space fails")
    if rate > 0.9 and epoch > 1:
        return {"loss": math.nan, "seconds": depth}, 1 + x
    floor = (x - 0.3) ** 2 + 0.02 * abs(math.log10(rate) + 2) + 0.01 * abs(math.log2(depth) - 4)
    speed = 0.1 + late + 0.2 * x
    return {"loss": floor + math.exp(-speed * epoch), "seconds": depth}, 1 + 9 * x


def searches() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every search by its name: a space, a scheduler, a seed, and whether the budget is of epochs or trials."""
    for (space, changes), scheduler, seed in product(SPACES.items(), SCHEDULERS, SEEDS):
        if space == "objectives" and scheduler in ("freeze_thaw", "pbt"):
            continue  # refused: they compare by one objective
        document = {
            "study": "decisions",
            "training": {"epochs": EPOCHS},
            "scheduler": scheduler,
            "budget": {"trials": 8 if scheduler == "pbt" else TRIALS},
            "failures": {"max_failures": TRIALS},
            "seed": seed,
            **changes,
        }
        yield f"{space} {scheduler} {seed}", document
        if seed == 0:
            budget = {"epochs": 8 * EPOCHS, **({"trials": 8} if scheduler == "pbt" else {})}
            yield f"{space} {scheduler} epochs", {**document, "budget": budget}


def run(document: dict[str, Any]) -> dict[str, list[str]]:
    """What a search decides in one go, and what it decides when it is killed in its middle and goes on."""
    whole = Decisions()
    result = hpo.simulate(document, curve, workers=4, observers=[whole])
    with tempfile.TemporaryDirectory() as storage:
        first, second = Decisions(len(whole.made) // 2), Decisions()
        with contextlib.suppress(Killed):
            hpo.simulate(document, curve, workers=4, observers=[first], storage=storage)
        hpo.simulate(document, curve, workers=4, observers=[second], storage=storage)
    found = {"whole": whole.made, "parts": first.made + second.made}
    found["clock"] = [f"{result.seconds!r}"]
    return found


def record(file: Path) -> None:
    """Runs all searches and writes what they decide."""
    found = {}
    for name, document in searches():
        found[name] = run(document)
        sys.stderr.write(f"{name}: {len(found[name]['whole'])} decisions\n")
    file.write_text(json.dumps(found, indent=0))


def compare(before: Path, after: Path) -> int:
    """Prints the first decision of each search that differs; 1 where there is one."""
    old, new = (json.loads(file.read_text()) for file in (before, after))
    differ = 0
    for name in old.keys() | new.keys():
        for part in ("whole", "parts", "clock"):
            one, other = (list(made.get(name, {}).get(part, [])) for made in (old, new))
            if one != other:
                differ += 1
                at = next((n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
                at = min(len(one), len(other)) if at is None else at
                sys.stdout.write(f"{name}, {part}, decision {at}:\n  {one[at : at + 1]}\n  {other[at : at + 1]}\n")
    total = sum(len(made["whole"]) + len(made["parts"]) for made in old.values())
    sys.stdout.write(f"{len(old)} searches, {total} decisions before, {differ} parts differ\n")
    return int(differ > 0)


def main() -> None:
    """Records, or compares."""
    parser = argparse.ArgumentParser(
        prog="decisions", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record", help="run all searches").add_argument("file", type=Path)
    comparing = commands.add_parser("compare", help="compare two records")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.command == "record":
        record(options.file)
    else:
        sys.exit(compare(options.before, options.after))


if __name__ == "__main__":
    main()
