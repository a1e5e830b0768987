"""Preprocessing as the first layer of every model: it is trained on, saved and served with the weights."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_IMAGES_AT_ONCE = 1000


class Standardize(nn.Module):
    """Images `(n, c, h, w)` in 0..255 to zero mean and unit variance per channel of the training images."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def fit(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """Takes the mean and the standard deviation of each channel, as `moments` gives them."""
        self.mean.copy_(torch.as_tensor(mean, dtype=torch.float32).view_as(self.mean))
        self.std.copy_(torch.as_tensor(std, dtype=torch.float32).view_as(self.std))

    def forward(self, images: Tensor) -> Tensor:
        """Standardized images of the same shape."""
        return (images - self.mean) / self.std


class Standardized(nn.Module):
    """A network behind its standardization."""

    def __init__(self, standardize: Standardize, network: nn.Module) -> None:
        super().__init__()
        self.standardize = standardize
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """The network's output for images `(n, c, h, w)` in 0..255."""
        output: Tensor = self.network(self.standardize(images))
        return output


def moments(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel of images `(n, h, w, c)`; a constant channel gets 1.

    Counts the 256 values of each channel, image by image: exact, and no wider copy of all images is made.
    """
    values = np.arange(256, dtype=np.float64)
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for part in np.array_split(images, max(1, len(images) // _IMAGES_AT_ONCE)):
        for channel in range(images.shape[-1]):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0))
    return mean, np.where(std > 0, std, 1.0)
