"""What is to be predicted, from columns of a table: classes, labels that hold or not, or numbers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import CellError, Cells, is_number, text
from hpo.datasets.columns.number import Number
from hpo.datasets.dataset import Targets
from hpo.datasets.notes import Notes
from hpo.datasets.precision import check_targets
from hpo.datasets.table_files import Rows
from hpo.errors import DataError

_HOLDS = {"1": 1, "true": 1, "yes": 1, "0": 0, "false": 0, "no": 0}
_MOST_CLASSES = 1000
_SHOWN = 3


def targets_of(
    names: Sequence[str], train: Rows, others: Sequence[Rows], task: str, notes: Notes
) -> tuple[tuple[str, ...], list[Targets]]:
    """The names of a model's outputs, and the targets of the training rows and of each of the others.

    Args:
        names: of the target columns, in which no row lacks a value.
        train: the rows by which classes are known.
        others: rows of which each class must be one of these.
        task: classification, multilabel or regression.
        notes: is told of labels that are taken for another.

    Raises:
        DataError: a target is not of the task.
    """
    tables = (train, *others)
    if task == "classification":
        if len(names) > 1:
            raise DataError(
                f"data.target names {len(names)} columns, and task classification has one; write `task: multilabel` for"
                " labels that hold or not, `task: regression` for numbers"
            )
        return _classes(names[0], tables, notes)
    if task == "multilabel":
        return tuple(names), [np.stack([_holds(name, rows) for name in names], axis=1) for rows in tables]
    values = [np.concatenate([_numbers(name, rows) for name in names], axis=1) for rows in tables]
    for part, rows in zip(values, tables, strict=True):
        check_targets(part, rows.place(0).rpartition(":")[0] or "data")
    return tuple(names), [part.astype(np.float32) for part in values]


def _classes(name: str, tables: Sequence[Rows], notes: Notes) -> tuple[tuple[str, ...], list[Targets]]:
    known = classes_of(name, tables[0].columns[name])
    codes = {label: code for code, label in enumerate(known)}
    return tuple(known), [_coded(name, rows, codes, notes) for rows in tables]


def classes_of(name: str, cells: Cells) -> list[str]:
    """The classes among the cells of a target column, in their order.

    Raises:
        DataError: there is one only, or so many that they are no classes.
    """
    known = _ordered({text(cell) for cell in cells})
    where = f"column {name!r}, the target,"
    if len(known) < 2:
        raise DataError(f"{where} has one class only ({', '.join(known) or 'no rows'}); classification needs two")
    wholly = len(known) > max(2, len(cells) / 2)
    if len(known) > _MOST_CLASSES or (wholly and all(map(is_number, known))):
        raise DataError(
            f"{where} has {len(known)} different values in {len(cells)} rows, which cannot be classes; for numbers"
            " write `task: regression`"
        )
    return known


def _ordered(labels: set[str]) -> list[str]:
    """Labels in the order of their numbers where all are numbers, else of their texts."""
    return sorted(labels, key=(lambda label: (float(label), label)) if all(map(is_number, labels)) else None)


def _coded(name: str, rows: Rows, codes: dict[str, int], notes: Notes) -> NDArray[np.int64]:
    labels = [text(cell) for cell in rows.columns[name]]
    stray = {label for label in labels if label not in codes}
    for label in sorted(stray):
        near = label.rstrip(".")
        if near not in codes:
            shown = ", ".join(list(codes)[:_SHOWN]) + (", ..." if len(codes) > _SHOWN else "")
            raise DataError(
                f"{rows.place(labels.index(label))}: class {label!r:.60} is in no training row ({shown}); leave such"
                " rows out, or add examples"
            )
        notes.add("classes with a full stop behind them, taken for those without", label)
    return np.array([codes[label if label in codes else label.rstrip(".")] for label in labels], np.int64)


def _holds(name: str, rows: Rows) -> NDArray[np.uint8]:
    found = [_HOLDS.get(text(cell).lower()) for cell in rows.columns[name]]
    if None in found:
        row = found.index(None)
        cell = text(rows.columns[name][row])
        raise DataError(f"{rows.place(row)}: label {name!r} must be 0 or 1, true or false, yes or no, got {cell!r:.40}")
    return np.array(found, np.uint8)


def _numbers(name: str, rows: Rows) -> NDArray[np.float64]:
    cells: Cells = rows.columns[name]
    try:
        return Number(name).encode(cells)
    except CellError as error:
        way = "" if is_number(cells[error.row]) else "; for classes write `task: classification`"
        raise DataError(f"{rows.place(error.row)}: {error}{way}") from None
