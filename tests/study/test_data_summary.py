from pathlib import Path

import numpy as np

from hpo.datasets.dataset import Encoding
from hpo.study.data_summary import DataSummary


def made(encoding: Encoding) -> DataSummary:
    targets = np.arange(3)
    return DataSummary(
        ("a", "b"), {"validation": targets, "test": targets}, np.zeros((1, 2), np.float32), "x", encoding
    )


def test_facts_keep_how_inputs_are_read(tmp_path: Path) -> None:
    encoding = Encoding(("age", "größe"), {"float": (-1.5, 30.25)})
    made(encoding).write(tmp_path / "data.npz")
    assert DataSummary.read(tmp_path / "data.npz").encoding == encoding


def test_facts_of_before_are_read(tmp_path: Path) -> None:
    made(Encoding()).write(tmp_path / "data.npz")
    with np.load(tmp_path / "data.npz") as archive:
        np.savez(tmp_path / "old.npz", **{key: archive[key] for key in archive if key != "encoding"})
    old = DataSummary.read(tmp_path / "old.npz")
    assert old.encoding == Encoding() and old.outputs == ("a", "b")
