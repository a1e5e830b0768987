"""What the columns of a table are taken for, and the numbers that a model is given for them."""

import datetime
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpo.datasets import columns
from hpo.datasets.columns import MOST_CATEGORIES, CellError, column, fit, inferred, kind_of_files
from hpo.datasets.columns.category import Category
from hpo.datasets.columns.date import Date
from hpo.datasets.columns.entity import Entity
from hpo.datasets.columns.number import Number
from hpo.datasets.notes import Notes
from hpo.spec import DataSettings

SETTINGS = DataSettings(name="table")
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=5)
DATES = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)).map(
    lambda when: when.replace(microsecond=0)
)
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "number": st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9).map(str),
    "category": TEXTS | st.booleans() | st.integers(0, 9),
    "date": DATES | DATES.map(lambda when: when.isoformat()),
    "ids": TEXTS | st.integers(0, 9),
    "entity": st.integers(0, 9) | TEXTS.map("u".__add__),
}


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", None, "-3e4"], "number"),
        ([1, 2, 3.5], "number"),
        (["a", "b", "a"], "category"),
        (["1", "b", "c", "d"], "category"),
        ([True, False, None], "category"),
        (["true", "false"], "category"),
        (["2024-01-31", "2024-02-01"], "date"),
        (["2024-01-31T10:00", None, "2024-02-01 11:30:05"], "date"),
        ([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], "date"),
        (["20240131", "20240201"], "number"),
        ([None, None], None),
        (["a", "a", "a"], None),
        ([str(number) + "x" for number in range(100)], None),
        ([f"a text of {number}" for number in range(100)], "tokens"),
    ],
)
def test_a_kind_is_inferred(cells: list[Any], kind: str | None) -> None:
    notes = Notes()
    assert inferred("c", cells, notes) == kind
    assert bool(notes.lines()) == (kind is None)


def test_paths_of_files_that_are_there_are_clips_or_pictures(tmp_path: Path) -> None:
    settings = DataSettings(name="table", path=str(tmp_path / "table.csv"))
    for name in ("0.wav", "0.png"):
        (tmp_path / name).touch()
    assert kind_of_files([None, "0.wav", "1.FLAC"], settings) == "audio"
    assert kind_of_files([str(tmp_path / "0.png"), "1.jpeg"], settings) == "image"
    for cells in (
        ["0.wav", "1.txt"],
        ["0.wav", 7],
        ["7.wav", "0.wav"],
        ["0.wav of mine"],
        ["x" * 5000 + ".wav"],
        [None],
    ):
        assert kind_of_files(cells, settings) is None


def test_what_counts_the_rows_is_told() -> None:
    notes = Notes()
    assert inferred("id", list(range(7, 107)), notes) == "number"
    assert notes.lines() == (
        "columns that count the rows, which a model may learn by heart (`data.columns`: ids): 1 (id)",
    )


def test_a_text_among_numbers_is_an_error_with_two_ways_out() -> None:
    with pytest.raises(CellError, match=r"column 'age' has '\?' among numbers; name it in `data.missing`") as error:
        inferred("age", ["1", "2", None, "?", "3"], Notes())
    assert error.value.row == 3


@pytest.mark.parametrize("kind", CELLS)
@given(data=st.data())
def test_what_was_learned_comes_back_and_tells_the_same(kind: Any, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.none() | CELLS[kind], min_size=1, max_size=20))
    assume(kind != "entity" or set(cells) != {None})
    fitted = column(kind).fit("c", cells, SETTINGS)
    again = column(kind).from_json("c", json.loads(json.dumps(fitted.to_json())))
    assert again == fitted and again.kind == kind and again.told() == fitted.told()
    numbers = np.asarray(fitted.encode(cells))
    assert numbers.shape == (len(cells), len(fitted.features)) and not np.isinf(numbers).any()
    np.testing.assert_array_equal(np.asarray(again.encode(cells)), numbers)
    for place, feature in enumerate(fitted.features):
        if feature.categories:
            assert set(numbers[:, place]) <= set(range(feature.categories + 1))
        elif np.isnan(numbers[:, place]).any():
            assert feature.may_miss
    decoded = [fitted.decode(row.tolist()) for row in numbers]
    if kind != "ids":
        np.testing.assert_allclose(np.asarray(fitted.encode(decoded)), numbers, atol=1e-4)


def test_numbers() -> None:
    fitted = Number.fit("c", ["1", None, 2, True], SETTINGS)
    assert fitted.may_miss and not Number.fit("c", [1.0], SETTINGS).may_miss
    np.testing.assert_array_equal(fitted.encode(["0.5", None, 3]), [[0.5], [math.nan], [3]])


def test_categories_are_coded_from_1_and_the_unknown_are_0() -> None:
    fitted = Category.fit("c", ["b", "a", None, "b", 3.0, True], SETTINGS)
    assert fitted.values == ("", "3", "True", "a", "b")
    assert fitted.encode(["b", None, "z", 3, "3", True, "True"])[:, 0].tolist() == [5, 1, 0, 2, 2, 3, 3]
    assert Category.fit("c", ["a"], SETTINGS).encode([None])[:, 0].tolist() == [0]


def test_the_most_frequent_categories_are_kept() -> None:
    cells = [f"{number:03d}" for number in range(300) for _ in range(1 + (number >= 45))]
    fitted = Category.fit("c", cells, SETTINGS)
    assert len(fitted.values) == MOST_CATEGORIES and fitted.others == 45
    assert fitted.values[0] == "045" and fitted.told().endswith(", and 45 rarer ones as one")


def test_entities_are_all_kept_and_the_missing_are_unknown() -> None:
    cells = [*range(300), None, ""]
    fitted = Entity.fit("user", cells, SETTINGS)
    assert len(fitted.values) == 300 and fitted.others == 0 and "" not in fitted.values
    assert fitted.encode([None, "", 400, 0, "0"])[:, 0].tolist() == [0, 0, 0, 1, 1]
    (feature,) = fitted.features
    assert feature.embedded and feature.categories == 300
    assert fitted.told() == "entity, 300: 0, 1, 10, ..."


def test_dates_say_when_and_in_which_month_on_which_day_at_what_hour() -> None:
    plain = Date.fit("c", ["2024-02-29", None], SETTINGS)
    assert [feature.name for feature in plain.features] == ["c (days)", "c (month)", "c (weekday)"]
    np.testing.assert_array_equal(plain.encode(["1970-01-02", None]), [[1, 1, 5], [math.nan, 0, 0]])
    timed = Date.fit("c", [datetime.datetime(2024, 1, 1, 13, 30)], SETTINGS)
    assert timed.encode(["1970-01-01T12:00", "1970-01-01T12:00+02:00"]).tolist() == [
        [0.5, 1, 4, 13],
        [10 / 24, 1, 4, 11],
    ]


@pytest.mark.parametrize(
    ("kind", "cells", "message"),
    [
        ("number", ["1", "x"], "column 'c' must have numbers, got 'x'"),
        ("number", ["1", "inf"], "column 'c' has an infinite number"),
        ("number", ["1", datetime.date(2024, 1, 1)], "must have numbers, got '2024-01-01'"),
        ("date", ["2024-01-01", "31.12.2024"], "column 'c' must have dates such as 2024-12-31"),
        ("date", ["2024-01-01", "20240101"], "must have dates"),
        ("date", ["2024-01-01", 3], "must have dates"),
    ],
)
def test_a_cell_of_another_kind_is_told_with_its_row(kind: Any, cells: list[Any], message: str) -> None:
    with pytest.raises(CellError, match=message) as error:
        fit("c", cells, kind, SETTINGS, Notes())
    assert error.value.row == 1


def test_a_column_of_entities_must_have_some() -> None:
    with pytest.raises(CellError, match="column 'user' is of entities, and no training row has one"):
        fit("user", [None, ""], "entity", SETTINGS, Notes())


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("number", {"may_miss": 1}),
        ("number", {}),
        ("category", {"values": [], "others": 0}),
        ("category", {"values": ["a", "a"], "others": 0}),
        ("category", {"values": [1], "others": 0}),
        ("category", {"values": ["a"], "others": "0"}),
        ("category", {"values": [str(number) for number in range(300)], "others": 0}),
        ("date", {"may_miss": True, "timed": None}),
    ],
)
def test_what_is_damaged_is_refused(kind: Any, document: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        columns.column(kind).from_json("c", document)
