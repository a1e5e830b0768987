from pathlib import Path

import numpy as np
import pytest

from hpo.artifacts import Artifacts


def write(artifacts: Artifacts, epoch: int) -> None:
    rows = np.full((4, 2), 0.5, np.float32)
    artifacts.write(7, epoch, {"w": np.ones(3, np.float32) * epoch}, {"validation": rows, "test": rows})


def test_only_the_best_epoch_stays(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    assert artifacts.read(7) is None
    write(artifacts, 1)
    write(artifacts, 12)
    stored = artifacts.read(7)
    assert stored is not None and stored.epoch == 12
    assert [path.name for path in (tmp_path / "00007").iterdir()] == ["epoch-0012"]
    assert stored.predictions("test").dtype == np.float32
    assert np.load(stored.folder / "test.npy").dtype == np.float32
    assert stored.checkpoint.exists()


def test_a_half_written_epoch_is_not_seen(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    write(artifacts, 1)
    (tmp_path / "00007" / ".epoch-0002").mkdir()
    stored = artifacts.read(7)
    assert stored is not None and stored.epoch == 1
    write(artifacts, 2)
    stored = artifacts.read(7)
    assert stored is not None and stored.epoch == 2


def test_pickles_are_refused(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    write(artifacts, 1)
    stored = artifacts.read(7)
    assert stored is not None
    np.save(stored.folder / "test.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        stored.predictions("test")
