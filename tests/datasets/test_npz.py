import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import datasets
from hpo.datasets.npz import read_arrays
from hpo.errors import DataError
from hpo.spec import DataSettings
from tests.conftest import squares


def arrays() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for split, rows in (("train", 60), ("test", 30)):
        made[f"x_{split}"], made[f"y_{split}"] = squares(rows, seed=rows)
    return made


def load(path: Path, **settings: Any) -> datasets.Dataset:
    return datasets.load(DataSettings(name="npz", path=str(path), validation=0.25, **settings), Path("data"), 0)


def save(folder: Path, made: dict[str, Any]) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **made)
    return path


def test_grey_and_colour_images_are_read(tmp_path: Path) -> None:
    dataset = load(save(tmp_path, arrays()))
    assert dataset.input_shape == (1, 8, 8)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (45, 15, 30)
    made = arrays()
    for split in ("x_train", "x_test"):
        made[split] = np.stack([made[split]] * 3, axis=-1)
    (tmp_path / "colour").mkdir()
    assert load(save(tmp_path / "colour", made)).input_shape == (3, 8, 8)


def test_classes_have_their_names(tmp_path: Path) -> None:
    made = {**arrays(), "class_names": np.array(["cat", "dog", "eel"])}
    assert load(save(tmp_path, made)).outputs == ("cat", "dog", "eel")


def test_names_may_be_bytes(tmp_path: Path) -> None:
    made = {**arrays(), "class_names": np.array([b"cat", b"dog", "\u00e4l".encode()])}
    assert load(save(tmp_path, made)).outputs == ("cat", "dog", "\u00e4l")


@pytest.mark.parametrize("shape", [(60, 8, 8, 3), (60, 3, 8, 3), (60, 64, 64, 12), (60, 8, 8, 1), (60, 4, 4, 4)])
def test_images_with_the_channels_last_are_taken(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = np.zeros(shape, np.uint8)
    dataset = load(save(tmp_path, {**arrays(), "x_train": images, "x_test": images[:30]}))
    assert dataset.input_shape == (shape[3], *shape[1:3])


def test_a_class_without_training_rows_is_told(tmp_path: Path) -> None:
    made = arrays()
    made["y_train"], made["y_test"] = made["y_train"] + 1, made["y_test"] + 1  # counted from 1 on
    assert load(save(tmp_path, made)).notes == ("classes without training rows, which are never predicted: 1 (0)",)


def broken(change: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**arrays(), **change}.items() if value is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_test": None}, "lacks y_test; it holds x_train, y_train, x_test"),
        ({"x_train": np.zeros((60, 8, 8), int)}, "x_train must be uint8"),
        ({"x_train": np.zeros((60, 8, 8))}, "inputs and targets of the same types"),
        ({"x_train": np.zeros((60, 64), np.uint8)}, "inputs and targets of the same types"),
        ({"y_train": np.zeros(60)}, "train and test must have inputs and targets of the same types"),
        ({"y_train": np.zeros(60, int)}, "one class only"),
        ({"y_train": np.arange(59) % 3}, "60 inputs but 59 targets"),
        ({"y_test": np.full(30, 3)}, r"test: labels out of range: must be 0 to 2, got 3 \(30 of 30 rows\)"),
        ({"y_train": np.arange(60) % 3 - 1}, "train: labels out of range"),
        ({"x_test": np.zeros((30, 9, 8), np.uint8)}, "they must have one shape"),
        ({"x_train": np.array([{}] * 60, dtype=object)}, "x_train holds Python objects, which are never unpickled"),
        ({"x_train": np.zeros((0, 8, 8), np.uint8), "y_train": np.zeros(0, int)}, "y_train is empty"),
        (
            {"y_train": np.append(np.arange(59) % 3, 10**9)},
            "labels up to 1000000000 in 60 rows, which",
        ),
        ({"x_train": np.zeros((60, 0, 8), np.uint8)}, "inputs are empty"),
        ({"class_names": np.array(["cat", "cat", "dog"])}, "class_names has a name twice"),
        ({"class_names": np.array(["cat", "dog"])}, "must be 0 to 1, got 2"),
        (
            {"x_train": np.zeros((60, 3, 8, 9), np.uint8)},
            r"x_train: images must be \(n, h, w, c\), and \(60, 3, 8, 9\) has the channels first: store np.moveaxis",
        ),
        ({"x_train": np.zeros((60, 1, 32, 32), np.uint8)}, r"\(60, 1, 32, 32\) has the channels first"),
        ({"x_train": np.zeros((60, 12, 64, 64), np.uint8)}, r"\(60, 12, 64, 64\) has the channels first"),
        ({"x_train": np.zeros((60, 4), np.complex64)}, "got complex64 .*; store the real and the imaginary parts"),
        ({"x_train": np.zeros((60, 4), "M8[s]")}, r"got datetime64\[s\] \(60, 4\); store times as numbers"),
        ({"x_train": np.zeros((60, 4), "m8[s]")}, r"got timedelta64\[s\] \(60, 4\); store durations as numbers"),
        ({"x_train": np.full((60, 4), b"1")}, r"got \|S1 \(60, 4\); store numbers"),
        ({"y_train": np.zeros(60, "m8[s]")}, "y_train must be integers"),
        ({"y_train": np.full(60, b"cat")}, "got .S3 .*; number the classes from 0 on, and store their names as class_"),
        ({"y_train": np.append([2], np.arange(59) % 2)}, "class '2': has a single training example, and one is needed"),
    ],
)
def test_broken_arrays_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(save(tmp_path, broken(change)))


def test_the_number_of_classes_may_be_given(tmp_path: Path) -> None:
    assert len(load(save(tmp_path, arrays()), classes=4).outputs) == 4
    with pytest.raises(DataError, match="must be 0 to 1, got 2"):
        load(save(tmp_path, arrays()), classes=2)


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "noise.npz"
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match=r"noise\.npz: cannot be read as \.npz"):
        load(path)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(DataError, match="it holds a single array"):
        load(tmp_path / "single.npy")


def test_an_archive_may_hold_more_than_arrays(tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    np.savez(file, x_train=np.zeros((4, 2)))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("README.txt", "About the data.")
    assert read_arrays(file)["x_train"].shape == (4, 2)


def test_texts_without_bytes_are_counted_too(tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<U0", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("class_names.npy", header.getvalue())
    with pytest.raises(DataError, match="claims an array of 1000000000000"):
        read_arrays(file)


def test_a_torn_archive_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, arrays())
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="cannot be read"):
        load(path)
