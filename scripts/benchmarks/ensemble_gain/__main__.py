"""Does a search that knows its end product is an ensemble find a better one?

Replays searches over pools of trained configs (`train_pool.py`) in simulated time, with `target: single` and with
`target: ensemble`, all else equal, and compares the test NLL of the greedy ensembles of what each has trained.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from pool import Pool

import hpo
from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.methods.greedy import greedy
from hpo.ensemble.score import nll, true_class
from hpo.spec import Config
from hpo.study.trial import Metrics, TrialRecord

_TOP = 10
"""Members of the final ensemble at most."""
_TARGETS = ("single", "ensemble")


@dataclass
class Replay:
    """A pool as the trials of one search: every trial stands for another stored config, the nearest one left.

    It is the search's observer, its curve and the source of its predictions.
    """

    pool: Pool
    index: dict[int, int] = field(default_factory=dict)
    """Trial -> stored config."""
    _current: dict[str, int] = field(default_factory=dict)

    def trial_started(self, trial: TrialRecord) -> None:
        """Finds the trial's stored config."""
        place = self.pool.nearest(trial.config, taken=set(self.index.values()))
        self.index[trial.number] = self._current[json.dumps(trial.config, sort_keys=True)] = place

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Nothing to do."""

    def trial_paused(self, number: int) -> None:
        """Nothing to do."""

    def trial_resumed(self, number: int) -> None:
        """Nothing to do."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Nothing to do."""

    def curve(self, config: Config, epoch: int) -> tuple[dict[str, float], float]:
        """The stored metrics and seconds."""
        return self.pool.curve(self._current[json.dumps(config, sort_keys=True)], epoch)

    def validation(self, trial: TrialRecord) -> NDArray[np.float32] | None:
        """The stored predictions at the trial's best epoch."""
        if trial.best_epoch is None:
            return None
        return self.pool.validation(self.index[trial.number], trial.best_epoch)


def final_nll(replay: Replay, trials: list[TrialRecord]) -> dict[str, float]:
    """The test NLL of the greedy ensemble of all trials, and of the trial that is best on validation rows."""
    pool, members = replay.pool, [trial for trial in trials if trial.best_epoch is not None]
    validation = [replay.validation(trial) for trial in members]
    labels = pool.labels["validation"]
    temperatures = [fit_temperature(rows, labels) for rows in validation if rows is not None]
    tempered = np.stack([temper(rows, t) for rows, t in zip(validation, temperatures, strict=True) if rows is not None])
    test = np.stack(
        [
            temper(pool.test(replay.index[trial.number], trial.best_epoch or 0), t)
            for trial, t in zip(members, temperatures, strict=True)
        ]
    )
    chosen = greedy(tempered, labels, _TOP)
    best = int(nll(true_class(tempered, labels)).argmin())
    own = pool.labels["test"]
    return {
        "ensemble": float(nll(true_class(chosen.combine(test[list(chosen.members)]), own))),
        "single": float(nll(true_class(test[best], own))),
        "members": float(len(chosen.members)),
    }


def run(pool: Pool, target: str, sampler: str, scheduler: str, trials: int, seed: int) -> dict[str, float]:
    """One search and its end product."""
    replay = Replay(pool)
    overrides = {"study": "replay", "target": target, "sampler": sampler, "scheduler": scheduler}
    result = hpo.simulate(
        pool.spec,
        replay.curve,
        workers=4,
        trials=trials,
        seed=seed,
        overrides=overrides,
        observers=[replay],
        predictions=(pool.labels["validation"], replay.validation) if target == "ensemble" else None,
    )
    return final_nll(replay, result.study.trials())


def main() -> None:
    """Runs all, prints the table, writes the JSON."""
    options = _options()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows, runs = [], []
    for path in options.pools:
        pool = Pool.load(path)
        for sampler in options.samplers:
            found: dict[str, list[dict[str, float]]] = {target: [] for target in _TARGETS}
            started = time.perf_counter()
            for seed in range(options.first, options.first + options.seeds):
                for target in _TARGETS:
                    found[target].append(run(pool, target, sampler, options.scheduler, options.trials, seed))
                print(f"{pool.spec.study} {sampler} seed {seed}", file=sys.stderr)
            row = _row(pool, sampler, found, time.perf_counter() - started)
            rows.append(row)
            runs.append({"pool": pool.spec.study, "sampler": sampler, "runs": found})
            print(_as_text(row), flush=True)
    if options.out is not None:
        record = {"command": " ".join(["python", "scripts/benchmarks/ensemble_gain", *_shown(sys.argv[1:])])}
        packages = ("optuna", "ray", "numpy", "deap", "torch")
        versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
        machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        options.out.write_text(
            json.dumps({**record, "versions": versions, "machine": machine, "rows": rows, "runs": runs}, indent=1)
        )


def _row(pool: Pool, sampler: str, found: dict[str, list[dict[str, float]]], seconds: float) -> dict[str, Any]:
    """Paired differences of test NLL, ensemble less single; below 0 the target ensemble is better."""
    single, ensemble = (np.array([run["ensemble"] for run in found[target]]) for target in _TARGETS)
    differences = ensemble - single
    drawn = np.random.default_rng(0).choice(differences, (10_000, len(differences))).mean(axis=1)
    return {
        "pool": pool.spec.study,
        "configs": len(pool),
        "sampler": sampler,
        "seeds": len(differences),
        "best single": float(np.mean([run["single"] for run in found["single"]])),
        "target single": float(single.mean()),
        "target ensemble": float(ensemble.mean()),
        "difference": float(differences.mean()),
        "interval": [float(bound) for bound in np.quantile(drawn, (0.025, 0.975))],
        "wins": int((differences < 0).sum()),
        "seconds": seconds,
    }


def _as_text(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{row['pool']} ({row['configs']} configs), {row['sampler']}: test NLL of the ensemble"
        f" {row['target single']:.4f} by target single, {row['target ensemble']:.4f} by target ensemble;"
        f" difference {row['difference']:+.4f} [{low:+.4f}, {high:+.4f}], better in {row['wins']} of {row['seeds']}"
        f" (best single trial {row['best single']:.4f})"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ensemble_gain", description=__doc__)
    parser.add_argument("pools", nargs="+", type=Path, help="what train_pool.py packed: pool.npz")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trials", type=int, default=40, help="budget of each search")
    parser.add_argument(
        "--samplers", type=lambda text: text.split(","), default=["tpe"], help="by name, comma-separated"
    )
    parser.add_argument("--scheduler", default="none", help="by name")
    parser.add_argument("--out", type=Path, help="a .json")
    return parser.parse_args()


def _shown(arguments: list[str]) -> list[str]:
    """The arguments without the folders of this machine."""
    return [Path(argument).name if "/" in argument else argument for argument in arguments]


if __name__ == "__main__":
    main()
