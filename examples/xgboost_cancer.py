"""XGBoost on a table of 569 tumours, searched; what is added for that is marked by `# hpo`.

Run it from anywhere: `python examples/xgboost_cancer.py`. It needs `pip install 'hpo[xgboost]'`. What it makes is in a
temporary folder, removed at the end.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import hpo
from hpo.adapters.xgboost import ReportCallback  # hpo

X, X_VAL, Y, Y_VAL = train_test_split(*load_breast_cancer(return_X_y=True), test_size=0.3, random_state=0)


def train(config: dict[str, Any]) -> None:
    """Trains one config."""
    rows, validation = xgboost.DMatrix(X, Y), xgboost.DMatrix(X_VAL, Y_VAL)
    report = ReportCallback(rounds=40, predictions=validation)  # hpo
    xgboost.train(
        {"objective": "binary:logistic", "eval_metric": ["error", "logloss"], "nthread": 1, **config},
        rows,
        num_boost_round=report.left,  # hpo
        evals=[(validation, "val")],
        callbacks=[report],  # hpo
        xgb_model=report.model,  # hpo
        verbose_eval=False,
    )


SPACE: dict[str, Any] = {
    "study": "xgboost-cancer",
    "train": "xgboost_cancer:train",
    "training": {"epochs": 4},
    "parameters": {
        "eta": {"min": 1e-2, "max": 1.0, "log": True},
        "max_depth": {"type": "int", "min": 1, "max": 6},
    },
    "objective": {"metric": "val_logloss", "goal": "minimize"},
    "budget": {"trials": 8},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `xgboost_cancer:` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        study = hpo.search(SPACE, storage=storage).study
        best = study.best()
        assert best is not None and best.best_epoch is not None
        accuracy = 1 - best.reports[best.best_epoch]["val_error"]
        print(f"best: trial {best.number}, {best.config}, validation accuracy {accuracy:.3f}")
