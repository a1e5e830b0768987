"""A user's own arrays in one .npz file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import Examples, Source
from hpo.errors import DataError
from hpo.spec import DataSettings

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def npz(settings: DataSettings, data_dir: Path) -> Source:
    """Reads `x_train, y_train, x_test, y_test`: uint8 images `(n, h, w)` or `(n, h, w, c)` with integer labels.

    An optional `class_names` names the classes; otherwise they are counted in `y_train`, or given by `data.classes`.

    Raises:
        DataError: the file is not such an archive, or an array breaks the rule.
    """
    path = Path(str(settings.path))
    arrays = read_arrays(path)
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        held = "a single array" if "" in arrays else ", ".join(arrays)
        raise DataError(f"{path}: lacks {', '.join(missing)}; it holds {held}")
    train = Examples(_images(arrays, "x_train", path), _labels(arrays, "y_train", path))
    test = Examples(_images(arrays, "x_test", path), _labels(arrays, "y_test", path))
    return Source(train, test, _classes(arrays, train.targets, settings.classes, path), str(path))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by their keys; the one array of an .npy file under the key "".

    Raises:
        DataError: the file cannot be read as either; nothing is ever unpickled.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # a broken archive makes zipfile, zlib and numpy raise almost anything
        raise DataError(f"{path}: cannot be read as .npz: {error}") from error


def _images(arrays: dict[str, NDArray[Any]], key: str, path: Path) -> NDArray[np.uint8]:
    images = arrays[key]
    if images.dtype != np.uint8:
        raise DataError(f"{path}: {key} must be uint8 (pixels of 0 to 255), got {images.dtype}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise DataError(f"{path}: {key} must be (n, h, w) or (n, h, w, c), got shape {arrays[key].shape}")
    return images


def _labels(arrays: dict[str, NDArray[Any]], key: str, path: Path) -> NDArray[np.int64]:
    labels = arrays[key]
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise DataError(f"{path}: {key} must be integers of shape (n,), got {labels.dtype} {labels.shape}")
    return labels.astype(np.int64)


def _classes(
    arrays: dict[str, NDArray[Any]], labels: NDArray[np.int64], wanted: int | None, path: Path
) -> tuple[str, ...]:
    names = [str(name) for name in arrays["class_names"].ravel()] if "class_names" in arrays else []
    if len(set(names)) < len(names):
        raise DataError(f"{path}: class_names has a name twice")
    if len(labels) == 0:
        raise DataError(f"{path}: y_train is empty")
    if wanted is not None and names and wanted != len(names):
        raise DataError(f"{path}: data.classes is {wanted}, but class_names has {len(names)} names")
    count = wanted or len(names) or int(labels.max(initial=0)) + 1
    if count > len(labels):
        raise DataError(
            f"{path}: y_train has labels up to {count - 1} in {len(labels)} rows, which cannot be classes;"
            " data.classes sets the number of classes, labels must be 0 to that number less one"
        )
    if int(labels.max()) == int(labels.min()):
        raise DataError(f"{path}: y_train has one class only; classification needs two")
    return tuple(names) or tuple(str(label) for label in range(count))
