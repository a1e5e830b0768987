"""A model of one's own, searched and combined from Python.

Run it from anywhere: `python examples/own_model.py`. What it makes is in a temporary folder, removed at the end.
"""

import os
import tempfile
from pathlib import Path

import torch
from torch import nn

import hpo


def attention_pool(input_shape: tuple[int, int, int], outputs: int, *, width: int = 32, heads: int = 2) -> nn.Module:
    """A convolution, then one layer of self-attention over the pixels.

    `input_shape` and `outputs` come from the data; every keyword argument is a setting that `model:` may hold and that
    `parameters:` may search. A value that cannot work is refused with a ValueError, before any trial starts.
    """
    if width % heads:
        raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
    return AttentionPool(input_shape[0], outputs, width, heads)


class AttentionPool(nn.Module):
    """Logits `(n, outputs)` of images `(n, c, h, w)`."""

    def __init__(self, channels: int, outputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """One row an image."""
        pixels = self.embed(images).flatten(2).transpose(1, 2)
        attended, _ = self.attend(pixels, pixels, pixels, need_weights=False)
        logits: torch.Tensor = self.head(attended.mean(dim=1))
        return logits


SPACE = {
    "study": "own-model",
    "data": {"name": "digits", "validation": 0.2},
    "model": {"name": "own_model:attention_pool"},
    "training": {"epochs": 3, "batch_size": 64},
    "optimizer": {"name": "adamw", "lr": 3e-3},
    "parameters": {
        "model.width": {"values": [16, 32]},
        "optimizer.lr": {"min": 1e-3, "max": 1e-2, "log": True},
    },
    "budget": {"trials": 4},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `own_model:` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        found = hpo.search(SPACE, storage=storage)
        best = found.study.best()
        print(f"best: trial {best.number}, accuracy {best.value:.3f}" if best and best.value else "no trial succeeded")
        ensemble = hpo.build_ensemble(found.study.name, top=3, storage=storage)
        print(f"{ensemble.method} of {len(ensemble.members)}: test accuracy {ensemble.test['accuracy']:.3f}")
