"""Means and standard deviations of inputs and targets, by which models standardize them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.filed import blocks

_IMAGES_AT_ONCE = 1000
_ROUNDING = 1e-14
"""A deviation below this share of the mean is what rounding has left of a constant."""

Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Means and standard deviations."""


def moments(values: Any) -> Moments:
    """Mean and standard deviation per channel of images `(n, h, w, c)` or series, or per column of a table.

    Series are `(n, steps, channels)`, tables `(n, columns)`; their missing values do not count. A constant channel or
    column gets a deviation of 1, one without any value the mean 0.
    """
    mean, std = _of_images(values) if values.ndim == 4 else _of_table(values.reshape(-1, values.shape[-1]))
    return mean, np.where(std > 0, std, 1.0)


def _of_images(images: Any) -> Moments:
    """Counts the 256 values of each channel, image by image: exact, and no wider copy of all images is made."""
    levels = np.arange(256, dtype=np.float64)
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for part in blocks(images, _IMAGES_AT_ONCE):
        for channel in range(images.shape[-1]):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    return mean, np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))


def _of_table(table: NDArray[np.generic]) -> Moments:
    masked = np.ma.masked_invalid(table.astype(np.float64))
    mean, std = np.ma.filled(masked.mean(axis=0), 0.0), np.ma.filled(masked.std(axis=0), 0.0)
    return mean, np.where(std > _ROUNDING * np.abs(mean), std, 0.0)
