"""An autoencoder: its metric has a name of its own, and there is nothing to classify.

Run it from anywhere: `python examples/autoencoder.py`. What it makes is in a temporary folder, removed at the end.
"""

import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

import hpo


def train(config: Mapping[str, Any], context: hpo.TrialContext) -> None:
    """Learns to put images together again; `hpo.report` does not return where the trial stops."""
    images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    train_images, validation = images[:1400], images[1400:]
    encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, config["code"]))
    decoder = nn.Sequential(nn.Linear(config["code"], 32), nn.ReLU(), nn.Linear(32, 64))
    model = nn.Sequential(encoder, decoder)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    context.track(model=model, optimizer=optimizer)
    for _ in range(context.start, context.epochs + 1):
        for batch in train_images[torch.randperm(len(train_images))].split(64):
            noisy = batch + config["noise"] * torch.randn_like(batch)
            loss = nn.functional.mse_loss(model(noisy), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            error = nn.functional.mse_loss(model(validation), validation)
        hpo.report(val_mse=error, train_mse=loss)


SPACE = {
    "study": "autoencoder",
    "training": {"epochs": 9},
    "objective": {"metric": "val_mse", "goal": "minimize"},
    "parameters": {
        "lr": {"min": 1e-4, "max": 1e-1, "log": True},
        "code": {"values": [2, 4, 8, 16]},
        "noise": {"min": 0.0, "max": 0.3},
    },
    "budget": {"trials": 6},
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as storage:
        study = hpo.search(SPACE, train=train, storage=storage).study
        best = study.best()
        print(f"best: trial {best.number}, val_mse {best.value:.4f}, {best.config}" if best else "no trial succeeded")
