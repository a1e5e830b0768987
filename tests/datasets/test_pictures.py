"""Many image files: in memory, or in a file that trials map."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hpo import datasets, spec
from hpo.datasets import pictures
from hpo.datasets.filed import Filed
from hpo.datasets.images import NO_RANGES
from hpo.datasets.notes import Notes
from hpo.errors import DataError
from hpo.training import Context, train
from tests.conftest import untimed


def write_pictures(folder: Path, count: int, side: int = 10) -> list[Path]:
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{row:03d}.png" for row in range(count)]
    for row, file in enumerate(files):
        shade = 60 if row % 2 else 190
        Image.fromarray(draw.integers(shade - 50, shade + 50, (side, side, 3)).astype(np.uint8)).save(file)
    return files


def test_a_file_holds_the_same_pixels_as_memory_and_is_made_once(tmp_path: Path) -> None:
    files = write_pictures(tmp_path / "p", 9)
    (tmp_path / "p" / "000.png").write_bytes((tmp_path / "p" / "001.png").read_bytes())
    inside, noted = pictures.pictures(files, 8, NO_RANGES, Notes(), tmp_path), Notes()
    filed = pictures.pictures(files, 8, NO_RANGES, noted, tmp_path, most=0)
    assert isinstance(filed, Filed) and filed.shape == (9, 8, 8, 3) and filed.dtype == np.uint8 and filed.nbytes == 0
    np.testing.assert_array_equal(np.asarray(filed), inside)
    np.testing.assert_array_equal(np.asarray(filed[np.array([5, 1])]), inside[np.array([5, 1])])
    assert any("files of pixels" in line for line in noted.lines())
    made = filed.path.stat().st_mtime_ns
    again = pictures.pictures(files, 8, NO_RANGES, Notes(), tmp_path, most=0)
    assert isinstance(again, Filed) and again.path == filed.path and again.path.stat().st_mtime_ns == made
    Image.new("RGB", (8, 8), "red").save(files[3])
    changed = pictures.pictures(files, 8, NO_RANGES, Notes(), tmp_path, most=0)
    assert isinstance(changed, Filed) and changed.path != filed.path
    assert (np.asarray(changed[3:4])[0] == [255, 0, 0]).all()
    assert [file.suffix for file in sorted((tmp_path / "pictures").iterdir())] == [".json", ".npy"] * 2


def test_other_processes_map_the_file_and_none_copies_it(tmp_path: Path) -> None:
    filed = pictures.pictures(write_pictures(tmp_path / "p", 4), 64, NO_RANGES, Notes(), tmp_path, most=0)
    assert isinstance(filed, Filed) and isinstance(filed.array, np.memmap)
    sent = pickle.dumps(filed)
    assert len(sent) < 2000
    np.testing.assert_array_equal(np.asarray(pickle.loads(sent)), np.asarray(filed))
    filed.path.unlink()
    with pytest.raises(DataError, match="each machine that trains must see this file: let --data-dir be a folder"):
        pickle.loads(sent).shape  # noqa: B018


def test_a_damaged_picture_leaves_nothing_half_done(tmp_path: Path) -> None:
    files = write_pictures(tmp_path / "p", 4)
    files[2].write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"002\.png"):
        pictures.pictures(files, 8, NO_RANGES, Notes(), tmp_path, most=0)
    assert list((tmp_path / "pictures").iterdir()) == []


def test_a_disk_that_takes_no_file_is_told(tmp_path: Path) -> None:
    files = write_pictures(tmp_path / "p", 4)
    (tmp_path / "pictures").write_text("in the way")
    with pytest.raises(DataError, match=r"4 pictures of 8 pixels need 0\.0 GB there, and cannot be written"):
        pictures.pictures(files, 8, NO_RANGES, Notes(), tmp_path, most=0)


def document(folder: Path) -> dict[str, Any]:
    return {
        "study": "pictures",
        "data": {
            "name": "image_folder",
            "path": str(folder),
            "size": 8,
            "validation": 0.25,
            "augment": ["random_crop"],
            "crop_padding": 1,
        },
        "model": {"name": "mlp", "layers": 1, "width": 8},
        "training": {"epochs": 4, "batch_size": 8, "device": "cpu", "precision": "float32"},
        "optimizer": {"name": "adamw", "lr": 0.01},
        "parameters": {"optimizer.lr": {"min": 0.001, "max": 0.1, "log": True}},
    }


def test_training_from_a_file_is_training_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 40), ("test", 10)):
        for row, file in enumerate(write_pictures(tmp_path / "made", count)):
            target = tmp_path / "data" / split / ("dark" if row % 2 else "light")
            target.mkdir(parents=True, exist_ok=True)
            file.rename(target / file.name)
    read = spec.load(document(tmp_path / "data"))
    found = []
    for most in (2**30, 0):
        monkeypatch.setattr(pictures.pictures, "__defaults__", (most,))
        dataset = datasets.load.__wrapped__(read.data, tmp_path / "kept", 0)
        assert isinstance(dataset.train.inputs, Filed) == (most == 0)
        torch.manual_seed(0)
        reports = list(train({}, Context(read, dataset, 0)))
        others = reports[-1].snapshot().others
        assert others is not None and others()["test"].shape == (10, 2)
        found.append(([untimed(report.metrics) for report in reports], dataset.fingerprint))
    assert found[0] == found[1] and found[0][0][-1]["accuracy"] > 0.8
