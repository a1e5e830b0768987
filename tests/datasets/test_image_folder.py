from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpo import datasets
from hpo.errors import DataError
from hpo.spec import DataSettings

Make = Callable[..., np.ndarray]
FINGERPRINT = "ec552194638df09ce9dae689537dd323"
"""Of the plain textures, as studies have it that were made when 16 bits were not read rightly."""


def textures(folder: Path, make: Make, suffix: str = "png", rows: int = 8) -> Path:
    """Stripes along or across, of the type that `make` gives them: `train/<class>` and `test/<class>`."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, axis in (("along", 0), ("across", 1)):
            (folder / split / name).mkdir(parents=True)
            for number in range(rows):
                stripes = (np.indices((16, 16))[axis] // 2 % 2) * 100
                picture = (stripes + generator.integers(0, 100, (16, 16))).astype(np.uint8)
                Image.fromarray(make(picture)).save(folder / split / name / f"{number}.{suffix}")
    return folder


def load(path: Path) -> datasets.Dataset:
    return datasets.load(DataSettings(name="image_folder", path=str(path), validation=0.25, size=16), Path("data"), 0)


def eight(picture: np.ndarray) -> np.ndarray:
    return picture


def sixteen(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.uint16) * 257


def floats(picture: np.ndarray) -> np.ndarray:
    return (picture / 255).astype(np.float32)


@pytest.mark.parametrize(("make", "suffix"), [(sixteen, "png"), (sixteen, "tif"), (floats, "tif")])
def test_the_same_textures_are_the_same_data(make: Make, suffix: str, tmp_path: Path) -> None:
    plain = load(textures(tmp_path / "plain", eight))
    deep = load(textures(tmp_path / "deep", make, suffix))
    assert deep.fingerprint == plain.fingerprint
    assert plain.notes == () and plain.encoding.ranges == {}
    assert deep.notes[0].endswith(f" as 0 to 255: 32 (across/0.{suffix}, across/1.{suffix}, across/2.{suffix}, ...)")
    assert set(deep.encoding.ranges.values()) <= {(0, 65535), (0, 1)}


def test_ordinary_pictures_have_the_fingerprint_that_they_had(tmp_path: Path) -> None:
    assert load(textures(tmp_path / "plain", eight)).fingerprint == FINGERPRINT


def test_hidden_folders_are_no_classes_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    folder = textures(tmp_path / "made", eight)
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "train" / "across" / "deeper").mkdir()
    (folder / "train" / "across" / "notes.txt").write_text("")
    (folder / "train" / "labels.csv").write_text("")
    dataset = load(folder)
    assert dataset.outputs == ("across", "along")
    told = "\n".join(dataset.notes)
    for line in (
        "hidden files and folders left out: 1 (train/.ipynb_checkpoints)",
        "files left out, since they lie beside the folders of classes: 1 (train/labels.csv)",
        "subfolders left out, since pictures must lie directly in their folder: 1 (train/across/deeper)",
        ".pfm: 1 (train/across/notes.txt)",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"train/cells: class 'cells' has no pictures here \(it is empty\); put its pictures \(.png, "),
        (("a.heic", "b.heic"), r"class 'cells' has no pictures here \(it holds a.heic, b.heic\)"),
        (("deeper/a.png",), r"class 'cells' has no pictures here \(it holds deeper/\); .* directly into this folder"),
    ],
)
def test_a_class_without_pictures_is_refused(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    folder = textures(tmp_path / "made", eight)
    (folder / "train" / "cells").mkdir()
    for name in files:
        path = folder / "train" / "cells" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    with pytest.raises(DataError, match=message):
        load(folder)


def test_a_class_that_test_has_not_is_told(tmp_path: Path) -> None:
    folder = textures(tmp_path / "made", eight)
    for path in (folder / "test" / "along").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="test/along: class 'along' has no pictures here"):
        load(folder)
    (folder / "test" / "along").rmdir()
    assert load(folder).notes == ("classes without test pictures, on which nothing is measured: 1 (along)",)


def test_pictures_of_gif_and_of_capital_suffixes_are_read(tmp_path: Path) -> None:
    plain = load(textures(tmp_path / "plain", eight))
    other = load(textures(tmp_path / "other", eight, "GIF"))
    assert other.fingerprint == plain.fingerprint


def test_a_class_of_one_picture_is_named(tmp_path: Path) -> None:
    folder = textures(tmp_path / "made", eight)
    for path in sorted((folder / "train" / "along").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="class 'along': has a single training example"):
        load(folder)
