"""Rows of tables in files of all kinds, whole and in parts."""

import csv
import datetime
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from hpo.datasets.notes import Notes
from hpo.datasets.table_files import ROWS, Rows, TableFormat, batches, of_frame, read
from hpo.ensemble.own_inputs import own_inputs
from hpo.errors import DataError

PLAIN = TableFormat()
CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=6).map(str.strip)


def rows_of(name: str, content: str | bytes, written: TableFormat = PLAIN, notes: Notes | None = None) -> Rows:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, written, notes or Notes())


def test_a_csv_is_read_with_its_places() -> None:
    notes = Notes()
    found = rows_of("t.csv", 'age, name\n31,"Ann, the\nfirst"\n\n,Bob\n', notes=notes)
    assert found.columns == {"age": ["31", None], "name": ["Ann, the\nfirst", "Bob"]}
    assert [found.place(row) for row in range(2)] == ["t.csv:3", "t.csv:5"]
    assert notes.lines() == ("blank lines left out: 1 (t.csv:4)",)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(separator: str) -> None:
    assert rows_of("t.csv", f"a{separator}b\n1{separator}2\n").columns == {"a": ["1"], "b": ["2"]}


def test_a_tsv_has_no_quotes() -> None:
    assert rows_of("t.tsv", 'label\ttext\n1\tsays "no\n').columns == {"label": ["1"], "text": ['says "no']}


def test_without_a_header_columns_are_numbered() -> None:
    found = rows_of("t.csv", "1,?\n2,NA\n", TableFormat(header=False, missing=("?", "NA")))
    assert found.columns == {"column_1": ["1", "2"], "column_2": [None, None]} and found.place(0) == "t.csv:1"


def test_one_column_may_be_missing_in_a_row() -> None:
    assert rows_of("t.csv", "a\n1\n\n3\n").columns == {"a": ["1", None, "3"]}


def test_json_lines_may_lack_keys() -> None:
    found = rows_of("t.jsonl", '{"a": 1, "b": "x"}\n\n{"b": " ", "c": true}\n{"a": NaN}\n')
    assert found.columns == {"a": [1, None, None], "b": ["x", None, None], "c": [None, True, None]}
    assert found.place(1) == "t.jsonl:3"


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    when = datetime.datetime(2024, 1, 31, 10)
    frame = pd.DataFrame({"n": [1.5, None], "k": pd.Categorical(["x", None]), "t": [when, None], "b": [True, False]})
    frame.to_parquet("t.parquet")
    found = read(Path("t.parquet"), TableFormat(), Notes())
    assert found.columns == {"n": [1.5, None], "k": ["x", None], "t": [when, None], "b": [True, False]}
    assert found.place(1) == "t.parquet: row 1 (from 0 on)"
    for frames in (of_frame(frame, TableFormat(), "it"), of_frame(dict(frame), TableFormat(), "it")):
        assert frames.columns == found.columns


def test_long_files_come_in_parts_and_say_their_places() -> None:
    count = 2 * ROWS + 3
    Path("t.csv").write_text("a,b\n" + "".join(f"{row},x\n" for row in range(count)))
    pd.DataFrame({"a": np.arange(count)}).to_parquet("t.parquet", row_group_size=1000)
    Path("t.jsonl").write_text("".join(f'{{"a": {row}}}\n' for row in range(count)))
    for name, shift in (("t.csv", 2), ("t.jsonl", 1)):
        parts = list(batches(Path(name), TableFormat(), Notes()))
        assert [len(part) for part in parts] == [ROWS, ROWS, 3]
        whole = read(Path(name), TableFormat(), Notes())
        assert len(whole) == count and whole.place(ROWS + 5) == f"{name}:{ROWS + 5 + shift}"
    whole = read(Path("t.parquet"), TableFormat(), Notes())
    assert whole.columns["a"] == list(range(count)) and whole.place(count - 1).startswith(
        f"t.parquet: row {count - 1} "
    )


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=5))
def test_what_csv_writes_is_read(rows: list[list[str]]) -> None:
    content = io.StringIO()
    csv.writer(content).writerows([["a", "b"], *rows])
    found = rows_of("t.csv", content.getvalue())
    assert [list(row) for row in zip(*found.columns.values(), strict=True)] == [
        [c or None for c in row] for row in rows
    ]


@given(st.lists(st.fixed_dictionaries({"a": st.none() | st.integers() | CELL, "b": st.booleans()}), max_size=5))
def test_what_json_writes_is_read(rows: list[dict[str, Any]]) -> None:
    found = rows_of("t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert found.columns == (
        {}
        if not rows
        else {"a": [r["a"] or None if r["a"] == "" else r["a"] for r in rows], "b": [r["b"] for r in rows]}
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"t.csv: is empty"),
        ("t.csv", "a,a\n1,2\n", r"t.csv:1: the header names 'a' twice"),
        ("t.csv", "a,\n1,2\n", r"t.csv:1: the header leaves column 2 unnamed; .*data.header: false"),
        ("t.csv", "a,b\n1\n", r"t.csv:2: has 1 cells, and the first line 2"),
        ("t.csv", "a,b\n1,2\n1,2,3\n", r"t.csv:3: has 3 cells, and the first line 2; quote cells"),
        ("t.csv", b"a,b\n1,caf\xe9\n", r"t.csv:2: byte 0xe9 is no UTF-8; .*iconv"),
        ("t.jsonl", "{\n", r"t.jsonl:1: is no JSON"),
        ("t.jsonl", '{"a": 1}\n[1]\n', r"t.jsonl:2: must be an object"),
        ("t.jsonl", '{"a": {"b": 1}}\n', r"t.jsonl:1: column 'a' must have numbers, texts, .* got dict"),
        ("t.jsonl", "[" * 10**5, r"t.jsonl:1: is no JSON"),
        ("t.parquet", b"PAR1", r"t.parquet: cannot be read as Parquet"),
        ("t.txt", "a\n1\n", r"t.txt: is no table by its name, which must end in .csv"),
    ],
)
def test_what_is_no_table_is_told_with_its_place(name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(name, content)


class Unpickled(pa.ExtensionScalar):
    """A value of such a type."""

    def as_py(self, **_: Any) -> Any:
        """Stands for the code that a pickle runs."""
        raise AssertionError("a value was read")


class Pickled(pa.ExtensionType):
    """A type as Ray's is: it unpickles each value that is read."""

    def __init__(self) -> None:
        super().__init__(pa.binary(), "tests.pickled")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Pickled":
        return cls()

    def __arrow_ext_scalar_class__(self) -> type[Unpickled]:
        return Unpickled


@pytest.mark.parametrize("nested", [False, True])
def test_types_that_packages_define_are_refused_before_a_value_is_read(nested: bool) -> None:
    values = pa.ExtensionArray.from_storage(Pickled(), pa.array([b"x"]))
    column = pa.ListArray.from_arrays([0, 1], values) if nested else values
    pq.write_table(pa.table({"a": column}), "t.parquet")
    pa.register_extension_type(Pickled())
    try:
        with pytest.raises(DataError, match="t.parquet: has a column of a type that another package defines"):
            read(Path("t.parquet"), TableFormat(), Notes())
        with pytest.raises(DataError, match="t.parquet: has a column of a type that another package defines"):
            own_inputs("t.parquet")  # of a predict function of the user's own
    finally:
        pa.unregister_extension_type("tests.pickled")


def test_only_plain_columns_of_parquet_are_read() -> None:
    for column in ([[1], [2]], [{"b": 1}], [b"x"]):
        pq.write_table(pa.table({"a": column}), "t.parquet")
        with pytest.raises(DataError, match="column 'a' must have numbers, texts, switches or dates, got"):
            read(Path("t.parquet"), TableFormat(), Notes())


def test_a_pipe_is_no_table() -> None:
    os.mkfifo("t.csv")
    with pytest.raises(DataError, match="t.csv: is a folder, a pipe or a device, and no file"):
        read(Path("t.csv"), TableFormat(), Notes())


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="it: its columns differ in length: a 1, b 2"):
        of_frame({"a": [1], "b": [1, 2]}, TableFormat(), "it")


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(DataError, match="none.csv: cannot be read: No such file"):
        read(Path("none.csv"), TableFormat(), Notes())
