"""LightGBM on a table of 569 tumours, searched; what is added for that is marked by `# hpo`.

Run it from anywhere: `python examples/lightgbm_cancer.py`. It needs `pip install 'hpo[lightgbm]'`. What it makes is
in a temporary folder, removed at the end.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import lightgbm
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import hpo
from hpo.adapters.lightgbm import ReportCallback  # hpo

X, X_VAL, Y, Y_VAL = train_test_split(*load_breast_cancer(return_X_y=True), test_size=0.3, random_state=0)


def train(config: dict[str, Any]) -> None:
    """Trains one config."""
    rows = lightgbm.Dataset(X, Y)
    report = ReportCallback(rounds=40, predictions=(X_VAL, Y_VAL))  # hpo
    lightgbm.train(
        {
            "objective": "binary",
            "metric": ["binary_error", "binary_logloss"],
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,  # or LightGBM chooses by its speed, and sums are in another order
            "verbosity": -1,
            **config,
        },
        rows,
        num_boost_round=report.left,  # hpo
        valid_sets=[lightgbm.Dataset(X_VAL, Y_VAL, reference=rows)],
        valid_names=["val"],
        callbacks=[report],  # hpo
        init_model=report.model,  # hpo
    )


SPACE: dict[str, Any] = {
    "study": "lightgbm-cancer",
    "train": "lightgbm_cancer:train",
    "training": {"epochs": 4},
    "parameters": {
        "learning_rate": {"min": 1e-2, "max": 1.0, "log": True},
        "num_leaves": {"type": "int", "min": 2, "max": 31, "log": True},
    },
    "objective": {"metric": "val_binary_logloss", "goal": "minimize"},
    "budget": {"trials": 8},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `lightgbm_cancer:` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        study = hpo.search(SPACE, storage=storage).study
        best = study.best()
        assert best is not None and best.best_epoch is not None
        accuracy = 1 - best.reports[best.best_epoch]["val_binary_error"]
        print(f"best: trial {best.number}, {best.config}, validation accuracy {accuracy:.3f}")
