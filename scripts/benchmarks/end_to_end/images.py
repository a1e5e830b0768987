"""The data: as many training images of CIFAR-10 as asked for, of each class as many, and all test images."""

from pathlib import Path

import numpy as np


def write(source: Path, target: Path, count: int, seed: int) -> None:
    """Writes an .npz file.

    Args:
        source: an .npz file with `x_train`, `y_train`, `x_test`, `y_test`.
        target: the file to write.
        count: training images.
        seed: of the draw.

    Raises:
        ValueError: a class has too few images.
    """
    with np.load(source, allow_pickle=False) as arrays:
        labels = arrays["y_train"]
        classes = np.unique(labels)
        draw = np.random.default_rng(seed)
        each = count // len(classes)
        rows = np.sort(
            np.concatenate([draw.choice(np.flatnonzero(labels == label), each, replace=False) for label in classes])
        )
        np.savez(
            target,
            x_train=arrays["x_train"][rows],
            y_train=labels[rows],
            x_test=arrays["x_test"],
            y_test=arrays["y_test"],
        )
