"""A training loop of one's own: what is added for hpo are the lines with `context` and the `yield`.

Run it from anywhere: `python examples/own_loop.py`. What it makes is in a temporary folder, removed at the end.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hpo

TRAIN, VALIDATION, TEST = slice(0, 1000), slice(1000, 1400), slice(1400, None)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Images of digits as rows `(n, 64)`, and their labels, in an order of chance."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.tensor(images, dtype=torch.float32)[order] / 16, torch.tensor(labels)[order]


def network(config: Mapping[str, Any]) -> nn.Module:
    """A perceptron with one hidden layer."""
    hidden = nn.Linear(64, config["width"])
    return nn.Sequential(hidden, nn.ReLU(), nn.Dropout(config["dropout"]), nn.Linear(config["width"], 10))


def train(config: Mapping[str, Any], context: hpo.TrialContext) -> Iterator[dict[str, float]]:
    """A plain loop over a DataLoader."""
    images, labels = data()
    batches = DataLoader(TensorDataset(images[TRAIN], labels[TRAIN]), config["batch_size"], shuffle=True)
    model = network(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    context.track(model=model, optimizer=optimizer)  # saved and restored: a paused trial goes on where it was
    for _ in range(context.start, context.epochs + 1):
        model.train()
        for inputs, targets in batches:
            loss = nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            validation, test = model(images[VALIDATION]).softmax(1), model(images[TEST]).softmax(1)
        context.predictions(validation, labels[VALIDATION])  # makes the trial a candidate for ensembles
        context.predictions(test, labels[TEST], split="test")
        hits = validation.argmax(1) == labels[VALIDATION]
        yield {"val_accuracy": hits.float().mean().item(), "train_loss": loss.item()}


def predict(config: Mapping[str, Any], state: Mapping[str, Any], inputs: Any) -> torch.Tensor:
    """Probabilities `(n, 10)` of images `(n, 64)`, by what `context.track` has kept."""
    model = network(config)
    model.load_state_dict(state["model"])
    model.eval()
    with torch.no_grad():
        probabilities: torch.Tensor = model(torch.as_tensor(inputs, dtype=torch.float32)).softmax(1)
    return probabilities


SPACE = {
    "study": "own-loop",
    "training": {"epochs": 6},
    "objective": {"metric": "val_accuracy", "goal": "maximize"},
    "parameters": {
        "lr": {"min": 1e-4, "max": 1e-1, "log": True},
        "width": {"type": "int", "min": 16, "max": 128, "log": True},
        "dropout": {"min": 0.0, "max": 0.5},
        "batch_size": {"values": [32, 64, 128]},
    },
    "budget": {"trials": 6},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `own_loop:train` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        found = hpo.search(SPACE, train=train, storage=storage)
        best = found.study.best()
        print(f"best: trial {best.number}, {best.config}" if best else "no trial succeeded")
        ensemble = hpo.build_ensemble("own-loop", storage=storage)
        print(f"{ensemble.method} of {len(ensemble.members)}: test accuracy {ensemble.test['accuracy']:.3f}")
        images, labels = data()
        probabilities = hpo.predict(ensemble.name, images[TEST].numpy(), storage=storage).probabilities
        print(f"predicted again: {(probabilities.argmax(1) == labels[TEST].numpy()).mean():.3f}")
