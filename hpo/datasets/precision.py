"""The floats that a table needs: float32, or float64 where rounding would blur what tells rows apart.

A time stamp of 1.7e9 seconds has a spacing of 128 in float32, so an hour of them is 29 values. Standardized they fit
into float32 again, but only if the mean is subtracted first.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.dataset import FloatType
from hpo.errors import DataError

_TOLERANCE = 1e-4
"""How far a number may be rounded, as a share of its column's standard deviation."""
_TARGET_TOLERANCE = 1e-3
_ROUNDING = 1e-14
"""A standard deviation below this share of the largest number is rounding, and the column is constant."""
_LARGEST = 1e150
"""Squares of larger numbers are infinite."""
_BLOCK = 2**22
"""Numbers that are looked at together."""


def table_type(table: NDArray[np.number], where: str) -> FloatType:
    """The type in which rows `(n, features)` keep what tells them apart.

    Args:
        table: numbers, in which NaN is a missing value.
        where: of messages.

    Raises:
        DataError: a number is infinite or too large, or whole numbers are lost even in float64.
    """
    if np.can_cast(table.dtype, np.float32) and not np.isinf(table).any():
        return np.float32
    needed: FloatType = np.float32
    for first, block in _blocks(table):
        wide = block.astype(np.float64)
        if np.isinf(wide).any():
            raise DataError(f"{where} has infinite values; a missing value is NaN")
        if (np.abs(wide) > _LARGEST).any():
            raise DataError(f"{where} has numbers beyond {_LARGEST:g}; divide them, or take their logarithm")
        lost = _lost_in_float64(block, wide)
        if lost.any():
            raise DataError(
                f"{where}: column {first + int(lost.argmax())} (from 0 on) holds whole numbers so large that float64"
                " rounds them, and what tells rows apart is lost; subtract a constant from them"
            )
        if _lost_in_float32(wide, _TOLERANCE).any():
            needed = np.float64
    return needed


def check_targets(targets: NDArray[np.number], where: str) -> None:
    """Holds regression targets `(n, targets)` to what models can tell apart in float32.

    Raises:
        DataError: rounded to float32 they lose more than a thousandth of their standard deviation.
    """
    wide = targets.astype(np.float64)
    lost = np.flatnonzero(_lost_in_float32(np.where(np.isfinite(wide), wide, np.nan), _TARGET_TOLERANCE))
    if len(lost):
        values = wide[:, lost[0]]
        raise DataError(
            f"{where}: target {lost[0]} (from 0 on), {np.nanmin(values):.10g} to {np.nanmax(values):.10g}, varies too"
            " little for its size: in float32, in which models predict, what tells rows apart is lost; subtract a"
            " constant from it, and add that to what is predicted"
        )


def _blocks(table: NDArray[np.number]) -> Iterator[tuple[int, NDArray[np.number]]]:
    """Columns of a table, several together, with the number of the first."""
    columns = max(1, _BLOCK // max(len(table), 1))
    for first in range(0, table.shape[1], columns):
        yield first, table[:, first : first + columns]


def _lost_in_float32(wide: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    """Says of each column whether float32 blurs it."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(wide - wide.astype(np.float32))
    spread = _spread(wide)
    return np.asarray((np.fmax.reduce(error, axis=0, initial=0) > tolerance * spread) & (spread > 0))


def _lost_in_float64(block: NDArray[np.number], wide: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Says of each column whether float64 blurs it; only whole numbers above 2**53 can be."""
    if block.dtype.kind not in "iu" or block.dtype.itemsize < 8 or not len(block):
        return np.zeros(block.shape[1], np.bool_)
    least = block.argmin(axis=0), np.arange(block.shape[1])
    with np.errstate(over="ignore"):
        exact = (block - block[least]).view(np.uint64).astype(np.float64)  # wraps around, and is right without a sign
    error = np.abs(exact - (wide - wide[least])).max(axis=0)
    return np.asarray(error > _TOLERANCE * exact.std(axis=0))


def _spread(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard deviation of each column without its missing values; 0 where it is but rounding."""
    spread = np.ma.filled(np.ma.masked_invalid(wide).std(axis=0), 0.0)
    largest = np.fmax.reduce(np.abs(wide), axis=0, initial=0)
    return np.where(spread > _ROUNDING * largest, spread, 0.0)
