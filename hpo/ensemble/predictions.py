"""Predictions of an ensemble, and the CSV that they are written to."""

import csv
import os
import re
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from hpo.errors import InputError

_FORMULA = (*"=+-@\t\r\n", *"＝＋－＠")
"""What begins a formula in a spreadsheet, or is left out before one."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False)
class Predictions:
    """An ensemble's predictions `values` `(n, outputs)` float32 for inputs, which are file names or row numbers.

    Values are probabilities of classes or labels, or regression values; `half_widths` say how far these may be off.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    values: NDArray[np.float32]
    task: str = "classification"
    half_widths: Sequence[float] | NDArray[np.float32] = ()
    """Half the width of the interval of each output, or of each input and output `(n, outputs)`; none without one."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Probabilities of classes or labels `(n, outputs)`.

        Raises:
            InputError: the task is regression.
        """
        if self.task == "regression":
            raise InputError("an ensemble for regression has no probabilities; its values are in `values`")
        return self.values

    def write_csv(self, path: str | Path) -> None:
        """One row an input, as `write_csv` writes them."""
        write_csv(path, [self])


@dataclass(frozen=True, eq=False)
class Forecast(Predictions):
    """The next steps of series, each an input: `values` `(series, steps)` and their `times`.

    In a CSV file each step has a row, with the columns of the table that it was forecast from.
    """

    times: Sequence[Sequence[str]] = ()
    """When the steps are, `(series, steps)`."""
    time: str = "time"
    """The column of the times."""
    target: str = "value"
    """The column that is forecast."""
    series: str | None = None
    """The column that names series; None of a single one."""


class Writable(Protocol):
    """Takes text."""

    def write(self, content: str, /) -> int:
        """Writes all of it."""


def write_csv(path: str | Path | Writable, batches: Iterable[Predictions]) -> int:
    """Writes predictions as they come, one row an input; the file appears whole or not at all.

    Columns are `input`, and then of classes `prediction` and the probability of each (`p_<class>`); of labels
    `prediction`, those with a probability of one half or more with ";" between them, and the probability of each; of
    regression each target, and where there is an interval `<target>_low` and `<target>_high`. Of a forecast each step
    is a row, with its series, its time, the target and the ends. A name that a spreadsheet would run as a formula has a
    `'` before it.

    Args:
        path: of the file; a link is replaced, not followed. A pipe or a device is written to, and so is a stream.
        batches: of one ensemble, at least one.

    Returns:
        How many rows there are.

    Raises:
        InputError: the file cannot be written.
    """
    if not isinstance(path, str | Path):
        return _write_rows(path, batches)
    try:
        whole = Path(path)
        if (stream := _stream(whole)) is not None:
            with _text(stream) as file:
                return _write_rows(file, batches)
        draft = whole.with_name(f".{whole.name}.{uuid.uuid4().hex}")
        try:
            rows = _write_file(draft, batches)
            draft.replace(whole)  # a link too: what it points to is left alone
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return rows


def _stream(path: Path) -> int | None:
    """The descriptor of a pipe or a device, opened to write; None of a file, and where nothing is."""
    if not path.exists() or path.is_file():
        return None
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):  # it has become one meanwhile
        os.close(descriptor)
        return None
    return descriptor


def _write_file(path: Path, batches: Iterable[Predictions]) -> int:
    with _text(path) as file:
        return _write_rows(file, batches)


def _text(file: Path | int) -> IO[str]:
    if isinstance(file, Path):
        return file.open("w", encoding="utf-8", newline="", errors="backslashreplace")  # bytes of a name, no text
    return os.fdopen(file, "w", encoding="utf-8", newline="", errors="backslashreplace")


def _write_rows(file: Writable, batches: Iterable[Predictions]) -> int:
    rows = 0
    writer = csv.writer(file)
    for number, batch in enumerate(batches):
        outputs = [_unrunnable(name) for name in batch.outputs]
        if number == 0:
            writer.writerow(_head(batch, outputs))
        for row in _forecast_rows(batch) if isinstance(batch, Forecast) else _rows(batch, outputs):
            writer.writerow(row)
            rows += 1
    return rows


def _rows(batch: Predictions, outputs: Sequence[str]) -> Iterator[list[str]]:
    for name, values, widths in zip(batch.inputs, batch.values, _widths(batch), strict=True):
        yield [_unrunnable(name), *_cells(batch, outputs, values, widths)]


def _widths(batch: Predictions) -> NDArray[np.float64]:
    """How far the interval reaches for each input, `(n, outputs)`, or `(n, 0)` where there is none."""
    widths = np.asarray(batch.half_widths, np.float64)
    return np.broadcast_to(widths, (len(batch.values), widths.shape[-1]))


def _forecast_rows(batch: Forecast) -> Iterator[list[str]]:
    """One row a step of a series: the series, where they have names, the time, the forecast, and its ends."""
    for name, times, values, widths in zip(batch.inputs, batch.times, batch.values, _widths(batch), strict=True):
        named = [] if batch.series is None else [_unrunnable(name)]
        for step, (time, value) in enumerate(zip(times, values.astype(float), strict=True)):
            ends = (end for width in widths[step : step + 1] for end in (value - width, value + width))
            yield [*named, time, f"{value:.9g}", *(f"{end:.9g}" for end in ends)]


def _head(batch: Predictions, outputs: Sequence[str]) -> list[str]:
    if not isinstance(batch, Forecast):
        return ["input", *_columns(batch, outputs)]
    names = [] if batch.series is None else [batch.series]
    ends = [f"{batch.target}_{end}" for end in ("low", "high")] if len(batch.half_widths) else []
    return [_unrunnable(name) for name in (*names, batch.time, batch.target, *ends)]


def _unrunnable(name: str) -> str:
    """A name in a cell that no spreadsheet takes for a formula; one that is a number stays."""
    return f"'{name}" if name.startswith(_FORMULA) and not _NUMBER.fullmatch(name) else name


def _columns(batch: Predictions, outputs: Sequence[str]) -> list[str]:
    if batch.task != "regression":
        return ["prediction", *(f"p_{name}" for name in batch.outputs)]
    ends = [f"{name}_{end}" for name in outputs for end in ("low", "high")]
    return [*outputs, *(ends if len(batch.half_widths) else ())]


def _cells(
    batch: Predictions, outputs: Sequence[str], values: NDArray[np.float32], widths: NDArray[np.float64]
) -> list[str]:
    numbers = [f"{value:.9g}" for value in values]
    if batch.task == "classification":
        return [outputs[int(values.argmax())], *numbers]
    if batch.task == "multilabel":
        return [";".join(name for name, value in zip(outputs, values, strict=True) if value >= 0.5), *numbers]
    pairs = zip(values.astype(float), widths, strict=False)  # without an interval there are none
    return [*numbers, *(f"{end:.9g}" for value, width in pairs for end in (value - width, value + width))]
