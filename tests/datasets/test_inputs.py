import csv
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hpo.datasets.conversion import Wanted
from hpo.datasets.dataset import Encoding
from hpo.datasets.inputs import input_batches, read_inputs
from hpo.ensemble.predictions import Predictions, write_csv
from hpo.errors import DataError, InputError

NAN = float("nan")


def images(rows: int, side: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, side, side, 3), dtype=np.uint8)


def test_an_array_comes_in_batches_with_its_row_numbers() -> None:
    whole = images(1030)
    batches = list(input_batches(whole, Wanted((3, 4, 4))))
    assert [len(names) for names, _ in batches] == [512, 512, 6]
    assert batches[-1][0] == ["1024", "1025", "1026", "1027", "1028", "1029"]
    np.testing.assert_array_equal(np.concatenate([inputs for _, inputs in batches]), whole)


@pytest.mark.parametrize("suffix", ["npy", "npz", "packed.npz"])
@pytest.mark.parametrize("rows", [0, 1, 513])
def test_files_hold_the_same_as_the_array(suffix: str, rows: int, tmp_path: Path) -> None:
    path, whole = tmp_path / f"a.{suffix}", images(rows)
    if suffix == "npy":
        np.save(path, whole)
    elif suffix == "npz":
        np.savez(path, y=np.zeros(3), x=whole)
    else:
        np.savez_compressed(path, x=np.zeros(2), x_test=whole)
    names, read = read_inputs(path, Wanted((3, 4, 4)))
    assert names == [str(row) for row in range(rows)] and read.dtype == np.uint8
    np.testing.assert_array_equal(read, whole)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_memory_stays_flat_however_many_images_there_are(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"big.{kind}"
    rows, side = 200_000, 16
    if kind == "npy":
        mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(rows, side, side))
        mapped[-1] = 7
        del mapped
    else:
        np.savez_compressed(path, x=np.zeros((rows, side, side), np.uint8))
    tracemalloc.start()
    seen = 0
    for names, batch in input_batches(path, Wanted((1, side, side))):
        assert len(names) == len(batch) <= 512
        seen += len(names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == rows and peak < 4 * 2**20 < rows * side * side


def test_large_images_come_a_few_at_a_time() -> None:
    sizes = [len(names) for names, _ in input_batches(np.zeros((70, 1024, 1024, 3), np.uint8), Wanted((3, 1024, 1024)))]
    assert sizes == [21, 21, 21, 7]


def test_image_files_are_read_when_it_is_their_turn(tmp_path: Path) -> None:
    for number in range(515):
        Image.fromarray(images(1)[0]).save(tmp_path / f"{number:03d}.png")
    (tmp_path / "514.png").write_bytes(b"torn")
    batches = input_batches(tmp_path, Wanted((3, 4, 4)))
    names, inputs = next(batches)
    assert names[-1] == "511.png" and inputs.shape == (512, 4, 4, 3)
    with pytest.raises(DataError, match=r"514\.png: cannot be read as an image"):
        next(batches)


def test_an_image_bomb_is_refused_before_it_goes_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(images(1, 10)[0]).save(tmp_path / "bomb.png")
    for most in (30, 70):  # beyond twice the limit Pillow refuses, below that it only warns
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(DataError, match=r"bomb\.png: cannot be read as an image: .*decompression bomb"):
            read_inputs(tmp_path / "bomb.png", Wanted((3, 4, 4)))


def test_an_archive_says_what_it_holds_before_it_is_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((1, 50_000, 1000, 3), np.uint8))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"images must be uint8 \(n, 4, 4, 3\), got uint8 \(1, 50000, 1000, 3\)"):
        read_inputs(tmp_path / "bomb.npz", Wanted((3, 4, 4)))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("torn.npz", b"PK\x03\x04", "cannot be read as .npz"),
        ("torn.npy", b"\x93NUMPY", "cannot be read"),
        ("objects.npz", {"x": np.array([{}])}, "Python objects, which are never unpickled"),
        ("columns.npz", {"x": np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8))}, "stored column by column"),
        ("other.npz", {"y": np.zeros(1), "z": np.zeros(1)}, "has neither x_test nor x; it holds y, z"),
    ],
)
def test_archives_that_cannot_be_read_are_named(
    name: str, content: "bytes | dict[str, np.ndarray]", message: str, tmp_path: Path
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.savez(tmp_path / name, **content)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_inputs(tmp_path / name, Wanted((3, 4, 4)))


def test_an_archive_that_ends_early_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=images(40))
    whole = (tmp_path / "a.npz").read_bytes()
    start = whole.index(b"NUMPY") + 200
    (tmp_path / "a.npz").write_bytes(whole[:start] + bytes(100) + whole[start + 100 :])
    with pytest.raises(DataError, match="cannot be read as .npz: Bad CRC"):
        read_inputs(tmp_path / "a.npz", Wanted((3, 4, 4)))


finite = st.floats(allow_nan=True, allow_infinity=False, width=32)


@given(rows=st.lists(st.tuples(finite, finite), max_size=20))
def test_a_table_comes_back_from_csv(rows: list[tuple[float, float]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "size, cm"])
        writer.writerows([["" if np.isnan(cell) else repr(cell) for cell in row] for row in rows])
    names, table = read_inputs(path, Wanted((2,)))
    assert names == [str(row) for row in range(len(rows))] and table.dtype == np.float32
    np.testing.assert_array_equal(table, np.array(rows, np.float32).reshape(-1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have 2 columns, the features in their order, got 0"),
        ("a,b,c\n1,2,3\n", "must have 2 columns, the features in their order, got 3"),
        ("1,2\n3,4\n", r"the first row must name the columns, got numbers \(1, 2"),
        ("1.5,\n3,4\n", r"the first row must name the columns, got numbers \(1.5, "),
        ("NA,?\n3,4\n", r"the first row must name the columns, got numbers \(NA, \?"),
        ("a,b\n1,2\n3\n", "table.csv:3: has 1 cells, but the header names 2 columns"),
        ("a,b\n1,2\n\n\n3,4\n", "table.csv:3: is blank, but rows follow; delete the line, or write ','"),
        ("a,b\n1,2\n3,red\n", "table.csv:3: b must be a number, got 'red'; leave the cell empty"),
        ("a,b\n1,2\n3,inf\n", r"row 1 \(from 0 on\) has an infinite value"),
        ("a,b\n1,1e300\n", r"row 0 \(from 0 on\) has an infinite value"),
        ("a,b\n\xff\n", "cannot be read as .csv"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        read_inputs(tmp_path / "table.csv", Wanted((2,)))


@pytest.mark.parametrize(
    ("text", "table"),
    [("a\n1\n\n3\n\n", [[1], [NAN], [3], [NAN]]), ("a,b\n1,2\n\n\n", [[1, 2]]), ("a,b\n,\n1,2", [[NAN, NAN], [1, 2]])],
)
def test_a_blank_line_is_a_missing_value_of_one_feature(text: str, table: list[list[float]], tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    names, read = read_inputs(tmp_path / "table.csv", Wanted((len(table[0]),)))
    assert names == [str(row) for row in range(len(table))]
    np.testing.assert_array_equal(read, np.array(table, np.float32))


def test_tables_come_from_arrays_too(tmp_path: Path) -> None:
    table = np.array([[1, 2], [3, 4]])
    np.save(tmp_path / "table.npy", table)
    np.savez(tmp_path / "table.npz", x=table)
    for source in (table, tmp_path / "table.npy", tmp_path / "table.npz"):
        read = read_inputs(source, Wanted((2,)))[1]
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, table)
    with pytest.raises(DataError, match=r"the array: rows of a table must be numbers \(n, 3\), got int64 \(2, 2\)"):
        read_inputs(table, Wanted((3,)))


def test_the_wrong_kind_of_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="this ensemble predicts images, not tables"):
        read_inputs(tmp_path / "table.csv", Wanted((3, 4, 4)))
    with pytest.raises(DataError, match=r"predicts rows of a table: name a \.csv, \.npy or \.npz file"):
        read_inputs(tmp_path, Wanted((2,)))


def test_predictions_are_written_batch_by_batch(tmp_path: Path) -> None:
    def batches() -> Iterator[Predictions]:
        for first in range(3):
            yield Predictions([str(first)], ("a", "b"), np.array([[0.25, 0.75]], np.float32))
            assert not (tmp_path / "preds.csv").exists()

    assert write_csv(tmp_path / "preds.csv", batches()) == 3
    lines = (tmp_path / "preds.csv").read_text().splitlines()
    assert lines[0] == "input,prediction,p_a,p_b" and lines[3] == "2,b,0.25,0.75"
    assert [path.name for path in tmp_path.iterdir()] == ["preds.csv"]


def test_a_file_of_predictions_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "preds.csv").write_text("of before")

    def torn() -> Iterator[Predictions]:
        yield Predictions(["0"], ("a",), np.ones((1, 1), np.float32))
        raise DataError("torn")

    with pytest.raises(DataError, match="torn"):
        write_csv(tmp_path / "preds.csv", torn())
    assert (tmp_path / "preds.csv").read_text() == "of before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("place", ["/proc/preds.csv", "no/such/folder/preds.csv", "."])
def test_a_place_that_cannot_be_written_is_told(place: str) -> None:
    with pytest.raises(InputError, match=f"{place}: cannot be written: "):
        write_csv(place, [Predictions(["0"], ("a",), np.ones((1, 1), np.float32))])


@pytest.mark.parametrize(
    ("task", "half_widths", "lines"),
    [
        ("multilabel", (), ["input,prediction,p_a,p_b", "x,a;b,0.5,1", "y,,0,0.25"]),
        ("regression", (), ["input,a,b", "x,0.5,1", "y,0,0.25"]),
        ("regression", (1.0, 0.5), ["input,a,b,a_low,a_high,b_low,b_high", "x,0.5,1,-0.5,1.5,0.5,1.5"]),
    ],
)
def test_every_task_has_its_columns(
    task: str, half_widths: tuple[float, ...], lines: list[str], tmp_path: Path
) -> None:
    values = np.array([[0.5, 1], [0, 0.25]], np.float32)
    predictions = Predictions(["x", "y"], ("a", "b"), values, task, half_widths)
    predictions.write_csv(tmp_path / "preds.csv")
    assert (tmp_path / "preds.csv").read_text().splitlines()[: len(lines)] == lines
    if task == "regression":
        with pytest.raises(InputError, match="its values are in `values`"):
            _ = predictions.probabilities


def named(*features: str) -> Wanted:
    return Wanted((len(features),), Encoding(features))


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(" c,a,b\n3,1,2\n30,10,\n")
    np.savez(tmp_path / "table.npz", x=np.array([[3, 1, 2], [30, 10, NAN]]), feature_names=np.array([b"c", b"a", b"b"]))
    for name in ("table.csv", "table.npz"):
        wanted = named("a", "b", "c")
        np.testing.assert_array_equal(read_inputs(tmp_path / name, wanted)[1], [[1, 2, 3], [10, NAN, 30]])
        assert wanted.notes.lines() == ()


def test_names_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("2021,2020\n1,2\n")
    assert read_inputs(tmp_path / "table.csv", named("2020", "2021"))[1].tolist() == [[2, 1]]
    (tmp_path / "bare.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match="the first row must name the columns, got numbers"):
        read_inputs(tmp_path / "bare.csv", named("2020", "2021"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a,b", "column 'c' is missing, which the ensemble was trained with"),
        ("b", r"column 'a' \(and 1 more\) is missing"),
        ("id,a,b,c", "column 'id' is none that the ensemble was trained with; leave it out"),
        ("a,b,c,a", "column 'a' is there twice"),
        ("A,b,c", "column 'a' is missing"),
    ],
)
def test_a_column_that_is_missing_or_unknown_is_named(header: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(f"{header}\n{','.join('1' * len(header.split(',')))}\n")
    np.savez(tmp_path / "table.npz", x=np.ones((1, 3)), feature_names=np.array(header.split(",")))
    for name in ("table.csv", "table.npz"):
        with pytest.raises(DataError, match=f"{name}: {message}"):
            read_inputs(tmp_path / name, named("a", "b", "c"))


def test_where_nobody_knows_names_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("b,a\n1,2\n")
    wanted = Wanted((2,))
    assert read_inputs(tmp_path / "table.csv", wanted)[1].tolist() == [[1, 2]]
    (note,) = wanted.notes.lines()
    assert note.startswith("tables whose columns are taken in their order, since the ensemble knows no names of featu")


def test_rows_are_of_the_type_that_the_model_wants(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("at\n1700000001\n1700000002\n")
    np.save(tmp_path / "table.npy", np.array([[1_700_000_001], [1_700_000_002]]))
    for name in ("table.csv", "table.npy"):
        for numbers, distinct in ((np.float32, 1), (np.float64, 2)):
            read = read_inputs(tmp_path / name, Wanted((1,), numbers=numbers))[1]
            assert read.dtype == numbers and len(np.unique(read)) == distinct


def test_channels_that_come_first_are_told() -> None:
    with pytest.raises(DataError, match=r"got uint8 \(2, 3, 8, 9\); the channels come last: np.moveaxis"):
        read_inputs(np.zeros((2, 3, 8, 9), np.uint8), Wanted((3, 8, 9)))


def test_a_folder_says_which_files_it_leaves_out(tmp_path: Path) -> None:
    for number in range(7):
        Image.fromarray(images(1)[0]).save(tmp_path / f"{number}.png")
    (tmp_path / "8.heic").write_bytes(b"")
    wanted = Wanted((3, 4, 4))
    assert len(read_inputs(tmp_path, wanted)[0]) == 7
    (note,) = wanted.notes.lines()
    assert note.endswith(": 1 (8.heic)")
