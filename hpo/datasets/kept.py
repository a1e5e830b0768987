"""Data that are given in Python, kept as a file: so that a study goes on, and is combined, from any process."""

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo import files
from hpo.datasets.table_files import TableFormat, of_frame
from hpo.errors import DataError, InputError
from hpo.spec import SpecLike

_FOLDER = "given"
"""The folder below `--data-dir` of the files."""
_SPLITS = ("train", "validation", "test")
_PART = "split"
"""The column that says of which part a row is, where several tables are given."""
_FORMS = (
    "a path, a DataFrame, a Dataset of Hugging Face, a dict of such with the keys train, validation and test, a dict of"
    " arrays x_train, y_train, x_test and y_test, or a dict with a torch Dataset as train and as test"
)


def with_files(space: SpecLike, data_dir: Path) -> SpecLike:
    """A search whose `data.path` is a file: what is given there as an object is written into one.

    A table becomes a Parquet file, arrays and torch Datasets an .npz file, named after their content. A dict of tables
    becomes one, with a column `split`, which `data.split` names then.

    Args:
        space: a spec, its path, or a dict, the only one that may hold objects.
        data_dir: the folder of downloaded and prepared data.

    Raises:
        InputError: the object is none of these.
        DataError: its contents cannot be kept.
    """
    data = space.get("data") if isinstance(space, Mapping) else None
    given = data.get("path") if isinstance(data, Mapping) else None
    if (
        given is None
        or isinstance(given, str | Path)
        or not isinstance(space, Mapping)
        or not isinstance(data, Mapping)
    ):
        return space
    more: dict[str, str] = {}
    if isinstance(given, Mapping) and any(key.startswith(("x_", "y_")) for key in map(str, given)):
        content, suffix = _of_arrays({str(key): np.asarray(array) for key, array in given.items()}), ".npz"
    elif isinstance(given, Mapping) and given.keys() <= {*_SPLITS} and all(map(_is_torch, given.values())):
        content, suffix = _of_arrays(_of_torch(given)), ".npz"
    elif isinstance(given, Mapping) and given.keys() <= {*_SPLITS} and all(map(_is_table, given.values())):
        content, suffix = _of_tables(given), ".parquet"
        more = {"split": _PART}
    elif _is_table(given):
        content, suffix = _of_table(_frame(given)), ".parquet"
    else:
        raise InputError(f"data.path must be {_FORMS}, got {type(given).__name__}")
    name = f"{hashlib.blake2b(content, digest_size=12).hexdigest()}{suffix}"
    path = (data_dir / _FOLDER / name).absolute()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path.parent, name, content)
    return {**space, "data": {**more, **data, "path": str(path)}}


def _is_table(given: Any) -> bool:
    """Whether it is a DataFrame of pandas, or what makes one of itself, as tables of Hugging Face and polars do."""
    return hasattr(given, "to_pandas") or (hasattr(given, "columns") and hasattr(given, "to_parquet"))


def _is_torch(given: Any) -> bool:
    """Whether it is a torch Dataset whose examples are numbered; one of Hugging Face is a table."""
    return hasattr(given, "__getitem__") and hasattr(given, "__len__") and not _is_table(given)


def _frame(given: Any) -> Any:
    return given.to_pandas() if hasattr(given, "to_pandas") else given


def _of_tables(given: Mapping[str, Any]) -> bytes:
    """Tables of the same columns as one, with the name of each row's part."""
    import pandas

    if "train" not in given or len(given) < 2:
        raise DataError(f"data.path: tables in a dict must be train and one of validation and test, got {list(given)}")
    frames = {part: _frame(table) for part, table in given.items()}
    for part, frame in frames.items():
        if _PART in frame.columns:
            raise DataError(f"data.path: table {part!r} has a column {_PART!r} already; rename it")
        if set(frame.columns) != set(frames["train"].columns):
            raise DataError(f"data.path: table {part!r} has other columns than 'train'")
    return _of_table(pandas.concat([frame.assign(**{_PART: part}) for part, frame in frames.items()]))


def _of_table(frame: Any) -> bytes:
    """A Parquet file of a table."""
    import pyarrow
    from pyarrow import parquet

    of_frame(frame, TableFormat(), "data.path")  # tells what no table may hold, with its place
    try:
        table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    except pyarrow.ArrowException as error:
        raise DataError(f"data.path: the table cannot be kept as Parquet: {error}") from error
    content = BytesIO()
    parquet.write_table(table.replace_schema_metadata(None), content, store_schema=False)
    return content.getvalue()


def _of_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An .npz file of arrays."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise DataError(
                f"data.path: {name} holds Python objects; give an array of numbers, or of texts by np.array"
            )
    content = BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def _of_torch(given: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Arrays of torch Datasets of pairs (input, target): images `(c, h, w)` uint8 or of PIL, rows, or series."""
    if {*given} != {"train", "test"}:
        raise DataError(f"data.path: Datasets of torch are given as train and test, got {', '.join(given)}")
    arrays: dict[str, NDArray[Any]] = {}
    for part, dataset in given.items():
        pairs = [dataset[place] for place in range(len(dataset))]
        if not pairs or any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
            raise DataError(f"data.path: Dataset {part!r} must have examples, each a pair (input, target)")
        try:
            inputs = np.stack([_input(example) for example, _ in pairs])
            targets = np.array([np.asarray(target) for _, target in pairs])
        except ValueError as error:
            raise DataError(f"data.path: examples of Dataset {part!r} differ in shape: {error}") from None
        arrays |= {f"x_{part}": inputs, f"y_{part}": targets}
    return arrays


def _input(example: Any) -> NDArray[Any]:
    """An input of a torch Dataset as the reader of .npz files takes it."""
    array = np.asarray(example)
    channels_first = array.ndim == 3 and not hasattr(example, "getpixel")
    if channels_first and array.dtype.kind == "f":
        raise DataError(
            "data.path: images must be uint8, of 0 to 255, since the model standardizes them itself; use"
            " torchvision.transforms.PILToTensor in place of ToTensor and Normalize"
        )
    return np.moveaxis(array, 0, -1) if channels_first else array
