"""Preprocessing as the first layer of every model, and the targets' scale as the last: saved with the weights."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_IMAGES_AT_ONCE = 1000


class Standardize(nn.Module):
    """Inputs to zero mean and unit variance: per channel of images `(n, c, h, w)`, per feature of rows `(n, features)`.

    A missing value (NaN) of a row becomes the mean.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        shape = (1, input_shape[0], *[1] * (len(input_shape) - 1))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self._may_miss = len(input_shape) == 1

    def fit(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """Takes the means and the standard deviations, as `moments` gives them."""
        self.mean.copy_(torch.as_tensor(mean, dtype=torch.float32).view_as(self.mean))
        self.std.copy_(torch.as_tensor(std, dtype=torch.float32).view_as(self.std))

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardized inputs of the same shape."""
        scaled = (inputs - self.mean) / self.std
        return torch.nan_to_num(scaled, nan=0.0) if self._may_miss else scaled


class Rescale(nn.Module):
    """What a network gives, in the units of the regression targets: `(n, targets)`."""

    mean: Tensor
    std: Tensor

    def __init__(self, targets: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(targets))
        self.register_buffer("std", torch.ones(targets))

    def fit(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """Takes the targets' means and standard deviations, as `moments` gives them."""
        self.mean.copy_(torch.as_tensor(mean, dtype=torch.float32))
        self.std.copy_(torch.as_tensor(std, dtype=torch.float32))

    def forward(self, outputs: Tensor) -> Tensor:
        """Outputs times the standard deviations plus the means."""
        return outputs * self.std + self.mean


class Standardized(nn.Module):
    """A network behind its standardization, and for regression before the targets' scale."""

    def __init__(self, standardize: Standardize, network: nn.Module, rescale: Rescale | None = None) -> None:
        super().__init__()
        self.standardize = standardize
        self.network = network
        self.rescale = rescale

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs `(n, outputs)` for images in 0..255 or rows of a table."""
        outputs: Tensor = self.network(self.standardize(inputs))
        return outputs if self.rescale is None else self.rescale(outputs)


def moments(values: NDArray[np.uint8] | NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel of images `(n, h, w, c)` or per column of a table `(n, columns)`.

    Missing values of a table do not count. A constant channel or column gets a deviation of 1, one without any value
    the mean 0.
    """
    mean, std = _of_images(values) if values.ndim == 4 else _of_table(values)
    return mean, np.where(std > 0, std, 1.0)


def _of_images(images: NDArray[np.generic]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts the 256 values of each channel, image by image: exact, and no wider copy of all images is made."""
    levels = np.arange(256, dtype=np.float64)
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for part in np.array_split(images, max(1, len(images) // _IMAGES_AT_ONCE)):
        for channel in range(images.shape[-1]):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    return mean, np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))


def _of_table(table: NDArray[np.generic]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    masked = np.ma.masked_invalid(table.astype(np.float64))
    return np.ma.filled(masked.mean(axis=0), 0.0), np.ma.filled(masked.std(axis=0), 0.0)
