"""A scikit-learn pipeline, searched; what is added for that is marked by `# hpo`.

Run it from anywhere: `python examples/sklearn_pipeline.py`. What it makes is in a temporary folder, removed at the end.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import hpo
from hpo.adapters.sklearn import fit  # hpo

X, Y = load_digits(return_X_y=True)
PIPELINE = make_pipeline(StandardScaler(), PCA(), LogisticRegression(max_iter=1000))


def train(config: dict[str, Any]) -> Any:  # hpo
    """Fits and measures one config."""
    return fit(PIPELINE, config, X, Y)  # hpo


SPACE: dict[str, Any] = {
    "study": "sklearn-pipeline",
    "train": "sklearn_pipeline:train",
    "objective": "accuracy",
    "parameters": {
        "logisticregression__C": {"min": 1e-3, "max": 1e2, "log": True},
        "pca__n_components": {"type": "int", "min": 4, "max": 64},
    },
    "budget": {"trials": 12},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `sklearn_pipeline:` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        best = hpo.search(SPACE, storage=storage).study.best()
        assert best is not None
        print(f"best: trial {best.number}, {best.config}, validation accuracy {best.value:.3f}")
