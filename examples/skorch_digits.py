"""A skorch net, searched; what is added for that is marked by `# hpo`.

Run it from anywhere: `python examples/skorch_digits.py`. It needs `pip install 'hpo[skorch]'`. What it makes is in a
temporary folder, removed at the end.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

import hpo
from hpo.adapters.skorch import ReportCallback  # hpo

IMAGES, DIGITS = load_digits(return_X_y=True)
X, X_VAL, Y, Y_VAL = train_test_split((IMAGES / 16).astype("float32"), DIGITS, test_size=0.2, random_state=0)


class Net(nn.Module):
    """Two layers."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 10))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits `(n, 10)`."""
        logits: torch.Tensor = self.layers(rows)
        return logits


def train(config: dict[str, Any]) -> None:
    """Trains one config."""
    net = NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=config["lr"],
        module__width=config["width"],
        batch_size=64,
        max_epochs=SPACE["training"]["epochs"],
        callbacks=[ReportCallback(predictions=(X_VAL, Y_VAL))],  # hpo
        verbose=0,
    )
    net.fit(X, Y)


SPACE: dict[str, Any] = {
    "study": "skorch-digits",
    "train": "skorch_digits:train",
    "training": {"epochs": 4},
    "parameters": {
        "lr": {"min": 1e-4, "max": 1e-1, "log": True},
        "width": {"type": "int", "min": 8, "max": 64, "log": True},
    },
    "objective": {"metric": "valid_acc", "goal": "maximize"},
    "budget": {"trials": 6},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `skorch_digits:` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        best = hpo.search(SPACE, storage=storage).study.best()
        assert best is not None
        print(f"best: trial {best.number}, {best.config}, validation accuracy {best.value:.3f}")
