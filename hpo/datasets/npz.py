"""A user's own arrays in one .npz file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import Examples, Inputs, Source, Targets, task_of
from hpo.errors import DataError
from hpo.spec import DataSettings

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def npz(settings: DataSettings, data_dir: Path) -> Source:
    """Reads `x_train, y_train, x_test, y_test`.

    Inputs are uint8 images `(n, h, w)` or `(n, h, w, c)`, or numbers `(n, features)`, in which NaN is a missing value.
    Targets say the task: integers `(n,)` are classes, 0 and 1 `(n, labels)` are labels, floats `(n,)` or `(n, targets)`
    are regression targets. An optional `class_names` names the outputs; classes are otherwise counted in `y_train`, or
    given by `data.classes`.

    Raises:
        DataError: the file is not such an archive, or an array breaks the rule.
    """
    path = Path(str(settings.path))
    arrays = read_arrays(path)
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        held = "a single array" if "" in arrays else ", ".join(arrays)
        raise DataError(f"{path}: lacks {', '.join(missing)}; it holds {held}")
    train = Examples(_inputs(arrays, "x_train", path), _targets(arrays, "y_train", path))
    test = Examples(_inputs(arrays, "x_test", path), _targets(arrays, "y_test", path))
    if task_of(train.targets) == "classification":
        names = _classes(arrays, train.targets, settings.classes, path)
    else:
        names = _output_names(arrays, train.targets, path)
    return Source(train, test, names, str(path))


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


def _inputs(arrays: dict[str, NDArray[Any]], key: str, path: Path) -> Inputs:
    inputs = arrays[key]
    if inputs.ndim == 2 and (np.issubdtype(inputs.dtype, np.number) or inputs.dtype == np.bool_):
        table = inputs.astype(np.float32)
        if np.isinf(table).any():
            raise DataError(f"{path}: {key} has infinite values; a missing value is NaN")
        return table
    if inputs.dtype != np.uint8:
        raise DataError(
            f"{path}: {key} must be uint8 (pixels of 0 to 255), or a table (n, features), got {inputs.dtype}"
        )
    if inputs.ndim == 3:
        inputs = inputs[..., None]
    if inputs.ndim != 4:
        raise DataError(
            f"{path}: {key} must be (n, h, w), (n, h, w, c) or (n, features), got shape {arrays[key].shape}"
        )
    return inputs


def _targets(arrays: dict[str, NDArray[Any]], key: str, path: Path) -> Targets:
    targets = arrays[key]
    whole = np.issubdtype(targets.dtype, np.integer)
    if whole and targets.ndim == 1:
        return targets.astype(np.int64)
    if (whole or targets.dtype == np.bool_) and targets.ndim == 2:
        if targets.size and (targets.min() < 0 or targets.max() > 1):
            raise DataError(f"{path}: {key} of shape (n, labels) must be 0 or 1, got {int(targets.max())}")
        return targets.astype(np.uint8)
    if np.issubdtype(targets.dtype, np.floating) and targets.ndim in (1, 2):
        return targets.astype(np.float32).reshape(len(targets), -1)
    raise DataError(
        f"{path}: {key} must be integers (n,) for classes, 0 and 1 (n, labels), or floats (n,) or (n, targets) for"
        f" regression, got {targets.dtype} {targets.shape}"
    )


def _output_names(arrays: dict[str, NDArray[Any]], targets: Targets, path: Path) -> tuple[str, ...]:
    names = tuple(str(name) for name in arrays["class_names"].ravel()) if "class_names" in arrays else ()
    if names and len(names) != targets.shape[1]:
        raise DataError(f"{path}: class_names has {len(names)} names, y_train has {targets.shape[1]} columns")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: class_names has a name twice")
    kind = "label" if task_of(targets) == "multilabel" else "target"
    return names or tuple(f"{kind}_{column}" for column in range(targets.shape[1]))


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
