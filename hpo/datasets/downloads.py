"""Data sets that torchvision downloads on first use."""

from pathlib import Path
from typing import Any

import numpy as np

from hpo.datasets.dataset import Examples, Source
from hpo.errors import DataError, on_one_line
from hpo.spec import DataSettings


def cifar10(settings: DataSettings, data_dir: Path) -> Source:
    """CIFAR-10: 50,000 / 10,000 colour images of 32x32 in 10 classes (Krizhevsky 2009)."""
    return _download("CIFAR10", data_dir)


def mnist(settings: DataSettings, data_dir: Path) -> Source:
    """MNIST: 60,000 / 10,000 grey images of 28x28 in 10 classes (LeCun and Cortes)."""
    return _download("MNIST", data_dir)


def fashion_mnist(settings: DataSettings, data_dir: Path) -> Source:
    """Fashion-MNIST: 60,000 / 10,000 grey images of 28x28 in 10 classes (Xiao et al. 2017)."""
    return _download("FashionMNIST", data_dir)


def _download(name: str, data_dir: Path) -> Source:
    from torchvision import datasets

    try:
        train, test = (getattr(datasets, name)(str(data_dir), train=train, download=True) for train in (True, False))
    except (OSError, RuntimeError) as error:
        reason = on_one_line(error)
        raise DataError(
            f"data set {name} is not in '{data_dir}' and cannot be downloaded: {reason}."
            f" Run once with a network, copy torchvision's files into '{data_dir}' (--data-dir),"
            " or use your own file with data.name=npz"
        ) from error
    return Source(_examples(train), _examples(test), tuple(train.classes), name)


def _examples(split: Any) -> Examples:
    images = np.asarray(split.data, dtype=np.uint8)
    return Examples(images if images.ndim == 4 else images[..., None], np.asarray(split.targets, dtype=np.int64))
