"""Runs in AutoGluon's environment: `python autogluon_selection.py FOLDER ROUNDS`, called by `peer.py`.

Reads FOLDER/*.npz (`predictions` `(candidates, rows, outputs)`, `targets`, `task`), writes FOLDER/selected.json.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from autogluon.core.metrics import log_loss, root_mean_squared_error
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection


def select(path: Path, rounds: int) -> dict[str, object]:
    """The weights and the seconds for one file."""
    with np.load(path, allow_pickle=False) as file:
        predictions, targets, task = file["predictions"], file["targets"], str(file["task"])
    if task == "regression":
        kind, metric, predictions, targets = "regression", root_mean_squared_error, predictions[..., 0], targets[:, 0]
    elif predictions.shape[2] == 2:  # AutoGluon keeps the second class's probability of two
        kind, metric, predictions = "binary", log_loss, predictions[..., 1]
    else:
        kind, metric = "multiclass", log_loss
    selection = EnsembleSelection(ensemble_size=rounds, problem_type=kind, metric=metric)
    started = time.perf_counter()
    selection.fit(list(predictions), targets)
    return {"weights": selection.weights_.tolist(), "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = [select(path, int(sys.argv[2])) for path in sorted(folder.glob("*.npz"))]
    (folder / "selected.json").write_text(json.dumps(found))
