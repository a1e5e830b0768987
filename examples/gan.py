"""A GAN: two networks, two optimizers, and a distance between distributions as the metric.

Run it from anywhere: `python examples/gan.py`. What it makes is in a temporary folder, removed at the end.
"""

import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import hpo


def ring(rows: int) -> Tensor:
    """Points `(rows, 2)` around eight places on a circle."""
    angles = torch.randint(8, (rows,)) * torch.pi / 4
    return torch.stack([angles.cos(), angles.sin()], dim=1) + 0.05 * torch.randn(rows, 2)


def distance(made: Tensor, real: Tensor) -> Tensor:
    """The energy distance of two samples (Szekely and Rizzo 2013): 0 where they are of one distribution."""
    return 2 * torch.cdist(made, real).mean() - torch.cdist(made, made).mean() - torch.cdist(real, real).mean()


def train(config: Mapping[str, Any], context: hpo.TrialContext) -> Iterator[dict[str, Tensor]]:
    """A generator against a discriminator; each is a part of the trial's state."""
    width, noise = config["width"], 8
    generator = nn.Sequential(
        nn.Linear(noise, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
    )
    discriminator = nn.Sequential(nn.Linear(2, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))
    makes = torch.optim.Adam(generator.parameters(), lr=config["lr"], betas=(0.5, 0.999))
    judges = torch.optim.Adam(discriminator.parameters(), lr=config["lr"] * config["ratio"], betas=(0.5, 0.999))
    context.track(generator=generator, discriminator=discriminator, makes=makes, judges=judges)
    loss = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(128, 1), torch.zeros(128, 1)
    for _ in range(context.start, context.epochs + 1):
        for _ in range(100):
            made = generator(torch.randn(128, noise))
            judges.zero_grad()
            (loss(discriminator(ring(128)), ones) + loss(discriminator(made.detach()), zeros)).backward()
            judges.step()
            makes.zero_grad()
            loss(discriminator(made), ones).backward()
            makes.step()
        with torch.no_grad():
            yield {"energy_distance": distance(generator(torch.randn(1000, noise)), ring(1000))}


SPACE = {
    "study": "gan",
    "training": {"epochs": 9},
    "objective": {"metric": "energy_distance", "goal": "minimize"},
    "parameters": {
        "lr": {"min": 1e-4, "max": 1e-2, "log": True},
        "ratio": {"min": 0.25, "max": 4.0, "log": True},
        "width": {"values": [16, 32, 64]},
    },
    "budget": {"trials": 6},
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as storage:
        study = hpo.search(SPACE, train=train, storage=storage).study
        best = study.best()
        print(f"best: trial {best.number}, distance {best.value:.4f}, {best.config}" if best else "no trial succeeded")
