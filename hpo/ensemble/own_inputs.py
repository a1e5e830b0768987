"""What a function of the user's own that predicts is given: arrays and tables as they are read, all else as a path."""

from pathlib import Path
from typing import Any

from hpo.datasets.npz import read_arrays
from hpo.datasets.table_files import frame_of_parquet
from hpo.errors import DataError

_KEYS = ("x_test", "x")


def own_inputs(source: Any) -> Any:
    """An input as a function of the user's own takes it.

    Args:
        source: a path, or what is handed over as it is. An `.npy` file is an array, an `.npz` file its `x_test` or `x`
            where it has one, else a dict of its arrays, a `.csv` or `.parquet` file a DataFrame of pandas, and any
            other file or folder a `Path`.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    if not isinstance(source, str | Path):
        return source
    path = Path(source)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    try:
        return _read(path)
    except DataError:
        raise
    except Exception as error:  # what pandas and numpy raise of a broken file
        raise DataError(f"{path}: cannot be read as {path.suffix}: {error}") from error


def _read(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        arrays = read_arrays(path)
        return next((arrays[key] for key in ("", *_KEYS) if key in arrays), arrays)
    if suffix in (".csv", ".parquet"):
        import pandas

        return pandas.read_csv(path) if suffix == ".csv" else frame_of_parquet(path)
    return path
