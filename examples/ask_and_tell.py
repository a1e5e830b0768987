"""A search by a loop of your own: plain PyTorch, which asks for trials and tells what became of them.

Run it from anywhere: `python examples/ask_and_tell.py`. It leaves nothing behind, since its study is in memory. With
`storage="studies"`, the default, the study is on disk and in MLflow, and after a kill the same command goes on.
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import hpo

SPACE = {
    "study": "own-loop",
    "training": {"epochs": 9},
    "parameters": {  # they may have any names
        "lr": {"min": 1e-4, "max": 1.0, "log": True},
        "width": {"type": "int", "min": 8, "max": 128, "log": True},
    },
    "objective": {"metric": "accuracy", "goal": "maximize"},
    "budget": {"trials": 12},
}


class Training:
    """A model that is being trained; it is kept while its trial is paused."""

    def __init__(self, config: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(64, config["width"]), nn.ReLU(), nn.Linear(config["width"], 10))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=config["lr"], momentum=0.9)

    def epoch(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Trains on all rows once."""
        for rows in torch.randperm(len(inputs)).split(64):
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(inputs[rows]), targets[rows]).backward()
            self.optimizer.step()

    @torch.no_grad()
    def accuracy(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """The share of rows whose class is the likeliest."""
        return float((self.model(inputs).argmax(1) == targets).double().mean())


if __name__ == "__main__":
    digits = load_digits()
    inputs, targets = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    kept, test = train_test_split(range(len(targets)), test_size=0.2, random_state=0)
    train, validation = train_test_split(kept, test_size=0.25, random_state=0)
    trainings: dict[int, Training] = {}
    with hpo.ask_and_tell(SPACE, storage=None) as search:
        while (trial := search.ask()) is not None:
            training = trainings.setdefault(trial.number, Training(trial.config))
            for epoch in range(trial.epoch + 1, search.epochs + 1):
                training.epoch(inputs[train], targets[train])
                metrics = {"accuracy": training.accuracy(inputs[validation], targets[validation])}
                if search.report(trial, epoch, metrics) is not hpo.Decision.CONTINUE:
                    break
    best = search.best
    assert best is not None, "this loop does not fail"
    epochs = sum(trial.epoch for trial in search.study.trials())
    print(f"{len(search.study.trials())} trials, {epochs} of {12 * 9} epochs")
    print(f"best: trial {best.number}, {best.epoch} epochs, accuracy {best.value:.3f} with {best.config}")
    print(f"test accuracy: {trainings[best.number].accuracy(inputs[test], targets[test]):.3f}")
