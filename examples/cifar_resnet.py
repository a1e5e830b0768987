"""A ResNet-20 with the names that a file of pretrained weights has, so that `model.weights` fits it.

Weights fit a network by the names and shapes of its tensors. Where none of the families here has those names, write the
network down as it was when the weights were made, in a file of your own; a page of code does. This is the ResNet-20 for
CIFAR of He et al. (2016, section 4.2), whose shortcuts drop every second pixel and pad channels with zeros, so that
they have no parameters: the names are those of common CIFAR checkpoints (`conv1`, `layer1.0.bn2`, ..., `linear`).

    study: cifar_resnet
    data: {path: cifar10.npz}
    model:
      name: cifar_resnet:net
      weights: resnet20_cifar10.th      # names begin with `module.`, which is left out where all have it
      frozen: [conv1, bn1, layer1]

`python examples/cifar_resnet.py` shows it without any download: it trains the network on the digits 0 to 4, and begins
from these weights on a few images of the digits 5 to 9. What it makes is in a temporary folder, removed at the end.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import hpo


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.stride, self.more = stride, fan_out - fan_in

    def forward(self, images: Tensor) -> Tensor:
        """Features `(n, fan_in, h, w)` -> `(n, fan_out, h / stride, w / stride)`."""
        shortcut = images[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        features = functional.relu(self.bn1(self.conv1(images)))
        return functional.relu(self.bn2(self.conv2(features)) + shortcut)


class ResNet20(nn.Module):
    """Three stages of three blocks, the mean over all pixels, one linear layer."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, stride=1)
        self.layer2 = self._stage(16, 32, stride=2)
        self.layer3 = self._stage(32, 64, stride=2)
        self.linear = nn.Linear(64, outputs)

    @staticmethod
    def _stage(fan_in: int, fan_out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(Block(fan_in, fan_out, stride), Block(fan_out, fan_out, 1), Block(fan_out, fan_out, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(n, outputs)` of images `(n, c, h, w)`."""
        features = functional.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits


def net(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The network for images of this shape, (channels, height, width)."""
    return ResNet20(input_shape[0], outputs)


def digits(path: Path, first: int, rows: int) -> None:
    """A file with so many training images of the five digits from `first` on, and 200 test images."""
    whole = load_digits()
    wanted = np.flatnonzero((whole.target >= first) & (whole.target < first + 5))
    images, labels = (whole.images[wanted] * 15).astype(np.uint8), whole.target[wanted] - first
    np.savez(path, x_train=images[:rows], y_train=labels[:rows], x_test=images[-200:], y_test=labels[-200:])


def best(folder: Path, study: str, **model: object) -> tuple[int, float]:
    """The best trial of a search over two learning rates, on the data of the study's name: its number and accuracy."""
    space = {
        "study": study,
        "data": {"path": str(folder / f"{study}.npz"), "validation": 0.2},
        "model": {"name": "cifar_resnet:net", **model},
        "training": {"epochs": 3, "batch_size": 16},
        "optimizer": {"name": "adamw"},
        "parameters": {"optimizer.lr": {"values": [0.01, 0.003]}},
        "sampler": "grid",
    }
    trial = hpo.search(space, storage=folder / "studies").study.best()
    assert trial is not None and trial.value is not None
    return trial.number, trial.value


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `cifar_resnet:` is looked for where one stands
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        digits(made / "first.npz", 0, 600)
        digits(made / "second.npz", 5, 60)
        number, _ = best(made, "first")
        weights = next(made.glob(f"studies/first/artifacts/{number:05d}/epoch-*/checkpoint.safetensors"))
        _, accuracy = best(made, "second", weights=str(weights), frozen=["conv1", "bn1", "layer1"])
        print(f"fine-tuned on 48 images: accuracy {accuracy:.3f}")
