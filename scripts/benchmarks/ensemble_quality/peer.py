"""AutoGluon's greedy ensemble selection, in an environment of its own: files to it, weights from it.

It is made by `python -m venv PEER && PEER/bin/pip install autogluon.core==1.6.3`.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from runs import Key, Run, scored

from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.combiner import Average
from hpo.ensemble.methods.greedy import greedy
from hpo.ensemble.pool import Pool
from hpo.ensemble.score import Predictions, Targets, costs

PEER = "autogluon"
ROUNDS = 25
"""AutoGluon's default ensemble_size."""
_PROGRAM = Path(__file__).parent / "autogluon_selection.py"
_MEMBERS, _ROWS, _CLASSES, _OUR_ROUNDS = 500, 10_000, 10, 50


@dataclass(frozen=True)
class Selected:
    """The peer's weights `(candidates,)`, and the wall seconds of its fit alone."""

    weights: Sequence[float]
    seconds: float


def replay(python: Path, pools: Mapping[tuple[str, int], Pool]) -> list[Run]:
    """Its selection from the same calibrated candidates, with a last temperature, as AutoGluon fits one too."""
    keys = list(pools)
    problems = [(pool.validation, pool.targets, pool.study.study_spec.task) for pool in pools.values()]
    found = select(python, problems, ROUNDS)
    return [_run(Key(*key, PEER), pools[key], selected) for key, selected in zip(keys, found, strict=True)]


def select(python: Path, problems: Sequence[tuple[Predictions, Targets, str]], rounds: int) -> list[Selected]:
    """The peer's selection for each of (predictions `(candidates, rows, outputs)`, targets, task), in one process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (predictions, targets, task) in enumerate(problems):
            np.savez(folder / f"{number:04d}.npz", predictions=predictions, targets=targets, task=np.array(task))
        subprocess.run([str(python), "-W", "ignore", str(_PROGRAM), str(folder), str(rounds)], check=True)
        return [Selected(**row) for row in json.loads((folder / "selected.json").read_text())]


def speed(python: Path, rounds: int) -> dict[str, float]:
    """Seconds of both on 500 simulated members x 10,000 rows x 10 classes; the peer's of 50 rounds from fewer.

    Ours has no cap on members here, as the peer has none, and reads the whole predictions too.
    """
    predictions, targets = simulated()
    greedy(predictions[:8], targets, 8)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        ours = greedy(predictions, targets, len(predictions), rounds=_OUR_ROUNDS)
        times.append(time.perf_counter() - started)
    same = greedy(predictions, targets, len(predictions), rounds=rounds)
    theirs = select(python, [(predictions, targets, "classification")], rounds)[0]
    each = theirs.seconds / rounds
    return {
        "ours": min(times),
        "ours_median": float(np.median(times)),
        "peer": each * _OUR_ROUNDS,
        "peer_rounds_run": rounds,
        "peer_seconds_run": theirs.seconds,
        "ratio": each * _OUR_ROUNDS / float(np.median(times)),
        "our_nll": _nll(ours, predictions, targets),
        "our_nll_same_rounds": _nll(same, predictions, targets),
        "peer_nll_same_rounds": _nll(_average(theirs, "classification"), predictions, targets),
    }


def simulated() -> tuple[Predictions, Targets]:
    """Members of all qualities, with errors in common and of their own: `(500, 10000, 10)` and labels."""
    random = np.random.default_rng(0)
    targets = random.integers(_CLASSES, size=_ROWS)
    truth = np.eye(_CLASSES, dtype=np.float32)[targets]
    common = random.standard_normal((_ROWS, _CLASSES), dtype=np.float32)
    predictions = np.empty((_MEMBERS, _ROWS, _CLASSES), np.float32)
    for member in range(_MEMBERS):
        own = random.standard_normal((_ROWS, _CLASSES), dtype=np.float32)
        logits = np.exp(random.uniform(0.5, 2.5) * truth + common + random.uniform(0.3, 1.5) * own)
        predictions[member] = logits / logits.sum(axis=1, keepdims=True)
    return predictions, targets


def _run(key: Key, pool: Pool, selected: Selected) -> Run:
    task = pool.study.study_spec.task
    average = _average(selected, task)
    validation = average.combine(pool.validation[list(average.members)])
    temperature = fit_temperature(validation, pool.targets, task)
    test = temper(average.combine(pool.test_predictions(average.members)), temperature, task)
    members = len(average.members)
    return scored(key, test, pool.study.data_summary.targets["test"], task, round(selected.seconds, 3), members)


def _average(selected: Selected, task: str) -> Average:
    members = [place for place, weight in enumerate(selected.weights) if weight > 0]
    return Average(tuple(members), tuple(selected.weights[place] for place in members), task)


def _nll(average: Average, predictions: Predictions, targets: Targets) -> float:
    return float(costs(average.combine(predictions[list(average.members)]), targets))
