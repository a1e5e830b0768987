from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpo import datasets
from hpo.datasets.conversion import Wanted
from hpo.datasets.inputs import read_inputs
from hpo.errors import DataError
from hpo.spec import DataSettings


def digits(seed: int) -> datasets.Dataset:
    return datasets.load(DataSettings(name="digits", validation=0.2), Path("data"), seed)


def test_the_split_is_the_seeds_and_keeps_class_shares() -> None:
    first, again, other = (
        digits(0),
        datasets.load.__wrapped__(DataSettings(name="digits", validation=0.2), Path("d"), 0),
        digits(1),
    )
    np.testing.assert_array_equal(first.validation.inputs, again.validation.inputs)
    assert not np.array_equal(first.validation.targets, other.validation.targets)
    np.testing.assert_array_equal(first.test.inputs, other.test.inputs)
    shares = np.bincount(first.validation.targets) / len(first.validation)
    np.testing.assert_allclose(shares, np.bincount(first.train.targets) / len(first.train), atol=0.01)
    assert len(first.train) + len(first.validation) + len(first.test) == 1797


def test_rows_are_split_and_not_shared() -> None:
    dataset = digits(0)
    seen = {image.tobytes() for image in dataset.train.inputs}
    assert sum(image.tobytes() in seen for image in dataset.validation.inputs) < 3  # digits has a few true twins


def test_too_few_rows_for_a_split_are_named(tmp_path: Path) -> None:
    path = tmp_path / "few.npz"
    labels = np.array([0, 0, 1, 1])
    images = np.zeros((4, 4, 4), np.uint8)
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(DataError, match=r"data\.validation 0\.9 of 4 training rows is not possible"):
        datasets.load(DataSettings(name="npz", path=str(path), validation=0.9), Path("data"), 0)


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.request

    def no_network(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no such host, says the test")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(
        DataError, match=r"no such host, says the test.*--data-dir\), or use your own file with data.name=npz"
    ):
        datasets.load(DataSettings(name="mnist"), tmp_path / "data", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (10, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pets" / split / name / f"{index}.png")
    return tmp_path / "pets"


def load_folder(path: Path) -> datasets.Dataset:
    return datasets.load(DataSettings(name="image_folder", path=str(path), validation=0.5, size=8), Path("data"), 0)


def test_an_image_folder_is_read(folder: Path) -> None:
    dataset = load_folder(folder)
    assert dataset.outputs == ("cat", "dog")
    assert dataset.input_shape == (3, 8, 8)
    assert list(dataset.test.targets) == [0, 0, 1, 1]


def test_a_broken_image_is_named(folder: Path) -> None:
    (folder / "train" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png: cannot be read as an image"):
        load_folder(folder)


def test_an_image_bomb_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(DataError, match="decompression bomb"):
        load_folder(folder)


def test_an_unknown_class_in_test_is_named(folder: Path) -> None:
    (folder / "test" / "eel").mkdir()
    with pytest.raises(DataError, match="class 'eel' is not among the classes of train"):
        load_folder(folder)
    with pytest.raises(DataError, match="has no folder 'train'"):
        load_folder(folder / "test")


def test_inputs_of_every_kind(folder: Path, tmp_path: Path) -> None:
    names, images = read_inputs(folder / "test" / "cat", Wanted((3, 8, 8)))
    assert names == ["0.png", "1.png"] and images.shape == (2, 8, 8, 3)
    names, images = read_inputs(folder / "test" / "cat" / "1.png", Wanted((1, 5, 6)))
    assert names == ["1.png"] and images.shape == (1, 5, 6, 1)
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 4), np.uint8))
    names, images = read_inputs(tmp_path / "a.npy", Wanted((1, 4, 4)))
    assert names == ["0", "1", "2"] and images.shape == (3, 4, 4, 1)
    np.savez(tmp_path / "a.npz", x=np.zeros((1, 4, 4, 3), np.uint8), y=np.zeros(1))
    assert read_inputs(str(tmp_path / "a.npz"), Wanted((3, 4, 4)))[1].shape == (1, 4, 4, 3)


def test_inputs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "y.npz", y=np.zeros(1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY")
    for path, message in (
        ("none", "no such file"),
        ("y.npz", "has neither x_test nor x; it holds y"),
        ("empty", "there are no images"),
        ("torn.npy", "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            read_inputs(tmp_path / path, Wanted((1, 4, 4)))
    with pytest.raises(DataError, match="images must be uint8"):
        read_inputs(np.zeros((1, 4, 4)), Wanted((1, 4, 4)))
