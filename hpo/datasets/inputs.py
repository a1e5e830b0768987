"""Images that a user wants predicted: files, folders, arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.image_folder import SUFFIXES, image_files, read_image
from hpo.datasets.npz import read_arrays
from hpo.errors import DataError

_KEYS = ("", "x_test", "x")


def read_inputs(
    source: str | Path | NDArray[np.uint8], input_shape: tuple[int, int, int]
) -> tuple[list[str], NDArray[np.uint8]]:
    """The inputs' names and their images `(n, h, w, c)` uint8.

    Args:
        source: an array, an .npy or .npz file, an image file, or a folder of image files.
        input_shape: (channels, height, width) that the model wants; image files are scaled to it, arrays are not.

    Raises:
        DataError: it cannot be read.
    """
    if not isinstance(source, str | Path):
        return _rows(np.asarray(source), "the array")
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.suffix.lower() in (".npy", ".npz"):
        return _rows(_array(path), str(path))
    files = image_files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: there are no images in this folder ({', '.join(SUFFIXES)})")
    channels, height, width = input_shape
    return [file.name for file in files], np.stack([read_image(file, (height, width), channels) for file in files])


def _array(path: Path) -> NDArray[Any]:
    arrays = read_arrays(path)
    for key in _KEYS:
        if key in arrays:
            return arrays[key]
    raise DataError(f"{path}: has neither x_test nor x; it holds {', '.join(arrays)}")


def _rows(images: NDArray[Any], name: str) -> tuple[list[str], NDArray[np.uint8]]:
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"{name}: images must be uint8 (n, h, w) or (n, h, w, c), got {images.dtype} {images.shape}")
    return [str(row) for row in range(len(images))], images
