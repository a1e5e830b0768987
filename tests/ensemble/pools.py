"""Pools of pretended members for the three tasks."""

import numpy as np

from hpo.ensemble.score import Predictions, Targets
from tests.ensemble.methods.test_greedy import pool as classes

OUTPUTS = 3
TASKS = ("classification", "multilabel", "regression")


def pool(task: str, seed: int, candidates: int, rows: int = 60) -> tuple[Predictions, Targets]:
    """Predictions `(candidates, rows, 3)` that know the targets more or less, and the targets."""
    if task == "classification":
        return classes(seed, candidates, rows)
    generator = np.random.default_rng(seed)
    skills = generator.uniform(0.2, 2, candidates)[:, None, None]
    noise = generator.normal(size=(candidates, rows, OUTPUTS))
    if task == "multilabel":
        targets = generator.integers(0, 2, (rows, OUTPUTS)).astype(np.uint8)
        logits = skills * (2.0 * targets - 1) + noise
        return (1 / (1 + np.exp(-logits))).astype(np.float32), targets
    values = generator.normal(size=(rows, OUTPUTS)).astype(np.float32)
    return (values + noise / (1 + skills)).astype(np.float32), values
