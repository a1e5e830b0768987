"""Every method of the product on the stored predictions of one search; test rows are read when all is chosen."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
from runs import Key, Run, scored

from hpo.ensemble.method_choice import SINGLE, Choice, candidates, choose
from hpo.ensemble.pool import Pool
from hpo.ensemble.score import Predictions

TOP = 5
"""Members at most, the default of `hpo ensemble --top`."""
POOL = 50
"""Candidates at most, the default of `hpo ensemble --pool`."""
UNIFORM = "uniform top 5, raw"
RAW = "single, raw"
"""The best trial and the mean of the five best by the study's objective, without any temperature."""
BASELINES = (SINGLE, RAW, UNIFORM)


def methods(task: str) -> list[str]:
    """What is replayed for a task."""
    raw = [UNIFORM] if task == "regression" else [RAW, UNIFORM]
    return [SINGLE, *raw, *candidates(task), "auto"]


def replay(data: str, seed: int, pool: Pool, names: Sequence[str]) -> Iterator[Run]:
    """Runs of these methods."""
    task = pool.study.study_spec.task
    choices, seconds = {}, {}
    for name in names:
        if name not in BASELINES:
            started = time.perf_counter()
            choices[name] = choose(name, pool.validation, pool.targets, TOP, task=task, best=pool.best)
            seconds[name] = round(time.perf_counter() - started, 3)
    test = pool.test_predictions(range(len(pool.trials)))
    targets = pool.study.data_summary.targets["test"]
    for name in names:
        key = Key(data, seed, name)
        if name in BASELINES:
            members, predictions = _baseline(name, pool, test)
            yield scored(key, predictions, targets, task, 0.0, members)
        else:
            choice = choices[name]
            members = len(choice.combiner.members)
            yield scored(key, combined(choice, test), targets, task, seconds[name], members, choice.method)


def combined(choice: Choice, test: Predictions) -> Predictions:
    """What the ensemble says of the test rows, of the candidates' `(candidates, rows, outputs)`."""
    return choice.combiner.combine(test[list(choice.combiner.members)])


def _baseline(name: str, pool: Pool, test: Predictions) -> tuple[int, Predictions]:
    if name == SINGLE:
        return 1, test[pool.best]
    numbers = [trial.number for trial in pool.trials]
    chosen = [numbers[pool.best]] if name == RAW else numbers[:TOP]
    return len(chosen), np.mean([_raw(pool, number) for number in chosen], axis=0)


def _raw(pool: Pool, number: int) -> Predictions:
    stored = pool.study.artifacts.read(number)
    assert stored is not None, "what is in the pool is stored"
    return stored.predictions("test")
