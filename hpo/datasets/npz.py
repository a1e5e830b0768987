"""A user's own arrays in one .npz file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import Encoding, Examples, Inputs, Source, Targets, task_of
from hpo.datasets.precision import check_targets, table_type
from hpo.errors import DataError
from hpo.files.arrays import open_arrays
from hpo.spec import DataSettings

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_CHANNELS = 4
"""Images have no more than these, where a shape leaves open what is what."""


def npz(settings: DataSettings, data_dir: Path) -> Source:
    """Reads `x_train, y_train, x_test, y_test`.

    Inputs are uint8 images `(n, h, w)` or `(n, h, w, c)`, numbers `(n, features)`, in which NaN is a missing value, or
    series of floats `(n, steps, channels)`, in which it is one too. Rows are kept as float32, or as float64 where that
    would blur what tells them apart. An optional `feature_names` names the columns. Targets say the task: integers
    `(n,)` are classes, 0 and 1 `(n, labels)` are labels, floats `(n,)` or `(n, targets)` are regression targets. An
    optional `class_names` names the outputs; classes are otherwise counted in `y_train`, or given by `data.classes`.

    Raises:
        DataError: the file is not such an archive, or an array breaks the rule.
    """
    path = Path(str(settings.path))
    arrays = read_arrays(path)
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        held = "a single array" if "" in arrays else ", ".join(arrays)
        raise DataError(f"{path}: lacks {', '.join(missing)}; it holds {held}")
    inputs = _inputs(arrays, "x_train", path)
    train = Examples(inputs, _targets(arrays, "y_train", path))
    test = Examples(_inputs(arrays, "x_test", path, inputs.dtype.type), _targets(arrays, "y_test", path))
    if task_of(train.targets) == "classification":
        names = _classes(arrays, train.targets, settings.classes, path)
    else:
        names = _output_names(arrays, train.targets, path)
    return Source(train, test, names, str(path), Encoding(_feature_names(arrays, inputs, path)))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by their keys; the one array of an .npy file under the key "".

    Raises:
        DataError: the file cannot be read as either; nothing is ever unpickled.
    """
    try:
        with open_arrays(path) as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            return {key: _member(loaded, key, path) for key in loaded.files}
    except DataError:
        raise
    except Exception as error:  # a broken archive makes zipfile, zlib and numpy raise almost anything
        raise DataError(f"{path}: cannot be read as .npz: {error}") from error


def _member(archive: Any, key: str, path: Path) -> NDArray[Any]:
    """One array of an archive.

    Raises:
        DataError: it holds Python objects.
    """
    try:
        member: NDArray[Any] = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: {key} holds Python objects, which are never unpickled; store numbers, or texts as np.array(texts,"
            " dtype=str)"
        ) from None
    return member


def check_channels(shape: tuple[int, ...], where: str) -> None:
    """Refuses images `(n, c, h, w)`, which would be taken for ones of few rows and many channels.

    Raises:
        DataError: the channels of this array of images come first.
    """
    if len(shape) != 4:
        return
    rows, columns, channels = shape[1:]
    if channels > _CHANNELS and (rows <= _CHANNELS or rows < columns == channels):
        raise DataError(
            f"{where}: images must be (n, h, w, c), and {shape} has the channels first: store np.moveaxis(images, 1,"
            " -1) of them"
        )


def name_of(value: object) -> str:
    """A name out of an array of texts, which may be bytes in UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _inputs(
    arrays: dict[str, NDArray[Any]],
    key: str,
    path: Path,
    as_type: type[np.generic] | None = None,
) -> Inputs:
    """The images, or the rows of a table as this type or as the one that they need."""
    inputs, where = arrays[key], f"{path}: {key}"
    if inputs.ndim == 2 and inputs.dtype.kind in "fiub":
        needed = table_type(inputs, where)
        with np.errstate(over="ignore"):
            table: NDArray[Any] = inputs.astype(needed if as_type is None else as_type)
        if np.isinf(table).any():
            raise DataError(f"{where} has numbers beyond float32, which x_train has not")
        return table
    if inputs.ndim == 3 and inputs.dtype.kind == "f":
        return _series(inputs, where)
    if inputs.dtype != np.uint8:
        raise DataError(
            f"{where} must be uint8 (pixels of 0 to 255), a table (n, features) of numbers, or series (n, steps,"
            f" channels) of floats, got {inputs.dtype}"
            f" {inputs.shape}{_WAYS_OUT.get(inputs.dtype.kind, '')}"
        )
    if inputs.ndim == 3:
        inputs = inputs[..., None]
    if inputs.ndim != 4:
        raise DataError(f"{where} must be (n, h, w), (n, h, w, c) or (n, features), got shape {arrays[key].shape}")
    check_channels(inputs.shape, where)
    return inputs


def _series(inputs: NDArray[np.floating[Any]], where: str) -> Inputs:
    """Series `(n, steps, channels)` in float32, in which NaN is missing, and what is missing to the end is padding."""
    with np.errstate(over="ignore"):
        series: NDArray[np.float32] = inputs.astype(np.float32)
    if np.isinf(series).any():
        raise DataError(f"{where} has infinite numbers, or numbers beyond float32; a missing value is NaN")
    return series


_WAYS_OUT = {
    "c": "; store the real and the imaginary parts as columns of their own",
    "M": "; store times as numbers, such as x.astype('datetime64[s]').astype(np.int64)",
    "m": "; store durations as numbers, such as x / np.timedelta64(1, 's')",
    "U": "; store numbers, and categories as a column of 0 and 1 each",
    "S": "; store numbers, and categories as a column of 0 and 1 each",
}
"""numpy's kind of a type -> the end of a message that says how to store such data."""


def _targets(arrays: dict[str, NDArray[Any]], key: str, path: Path) -> Targets:
    targets = arrays[key]
    whole = targets.dtype.kind in "iu"
    if whole and targets.ndim == 1:
        return targets.astype(np.int64)
    if (whole or targets.dtype == np.bool_) and targets.ndim == 2:
        if targets.size and (targets.min() < 0 or targets.max() > 1):
            raise DataError(f"{path}: {key} of shape (n, labels) must be 0 or 1, got {int(targets.max())}")
        return targets.astype(np.uint8)
    if np.issubdtype(targets.dtype, np.floating) and targets.ndim in (1, 2):
        check_targets(targets.reshape(len(targets), -1), f"{path}: {key}")
        return targets.astype(np.float32).reshape(len(targets), -1)
    names = "; number the classes from 0 on, and store their names as class_names"
    raise DataError(
        f"{path}: {key} must be integers (n,) for classes, 0 and 1 (n, labels), or floats (n,) or (n, targets) for"
        f" regression, got {targets.dtype} {targets.shape}{names if targets.dtype.kind in 'USO' else ''}"
    )


def _feature_names(arrays: dict[str, NDArray[Any]], inputs: Inputs, path: Path) -> tuple[str, ...]:
    if "feature_names" not in arrays or inputs.ndim != 2:
        return ()
    names = tuple(name_of(name).strip() for name in arrays["feature_names"].ravel())
    if len(names) != inputs.shape[1]:
        raise DataError(f"{path}: feature_names has {len(names)} names, x_train has {inputs.shape[1]} columns")
    if len(set(names)) < len(names) or "" in names:
        raise DataError(f"{path}: feature_names has a name twice, or an empty one")
    return names


def _output_names(arrays: dict[str, NDArray[Any]], targets: Targets, path: Path) -> tuple[str, ...]:
    names = tuple(name_of(name) for name in arrays["class_names"].ravel()) if "class_names" in arrays else ()
    if names and len(names) != targets.shape[1]:
        raise DataError(f"{path}: class_names has {len(names)} names, y_train has {targets.shape[1]} columns")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: class_names has a name twice")
    kind = "label" if task_of(targets) == "multilabel" else "target"
    return names or tuple(f"{kind}_{column}" for column in range(targets.shape[1]))


def _classes(
    arrays: dict[str, NDArray[Any]], labels: NDArray[np.int64], wanted: int | None, path: Path
) -> tuple[str, ...]:
    names = [name_of(name) for name in arrays["class_names"].ravel()] if "class_names" in arrays else []
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
