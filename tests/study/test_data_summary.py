import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.datasets.dataset import Encoding
from hpo.errors import StudyError
from hpo.study.data_summary import DataSummary
from hpo.study.study import Study
from tests.conftest import Run
from tests.files.test_arrays import damaged


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


@pytest.mark.parametrize("kind", [np.longdouble, ">f4", ">i8"])
def test_targets_of_a_type_that_torch_lacks_are_damage(kind: Any, tmp_path: Path) -> None:
    values = np.ones((3, 2)).astype(kind)
    DataSummary(("a", "b"), {"validation": values, "test": values}, ROW, "x").write(tmp_path / "data.npz")
    with pytest.raises(ValueError, match="targets are no numbers"):
        DataSummary.read(tmp_path / "data.npz")


IMAGE, ROW = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 4), np.float32)
CLASSES, LABELS, VALUES = np.array([0, 1, 1]), np.eye(3, 2, dtype=np.uint8), np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("task", "targets", "example"),
    [
        ("classification", CLASSES, IMAGE),
        ("multilabel", LABELS, ROW),
        ("regression", VALUES, ROW.astype(np.float64)),
        ("regression", VALUES.astype(np.int32), np.full((1, 4), np.nan, np.float32)),
        ("classification", CLASSES, np.zeros((1, 4), np.int64)),  # of a data set of the user's own
    ],
)
def test_what_is_of_the_task_is_taken(task: str, targets: Any, example: Any) -> None:
    DataSummary(("a", "b"), {"validation": targets, "test": targets}, example, "x").check(task)


@pytest.mark.parametrize(
    ("task", "targets", "example", "told"),
    [
        ("classification", VALUES, ROW, "not of classification, 2 outputs"),
        ("classification", LABELS[:, 0], ROW, "not of classification"),
        ("classification", CLASSES + 1, ROW, "targets are out of range"),
        ("classification", CLASSES - 1, ROW, "targets are out of range"),
        ("multilabel", CLASSES, ROW, "not of multilabel"),
        ("multilabel", LABELS[:, :1], ROW, "not of multilabel, 2 outputs"),
        ("multilabel", LABELS * 2, ROW, "targets are out of range"),
        ("regression", VALUES[:, 0], ROW, "not of regression"),
        ("regression", np.zeros((3, 3), np.float32), ROW, "not of regression"),
        ("regression", VALUES.astype(bool), ROW, "not of regression"),
        ("regression", VALUES * np.nan, ROW, "targets are out of range"),
        ("classification", CLASSES, ROW[0], "is no image, row, series, text or clip"),
        ("classification", CLASSES, np.zeros((2, 4), np.float32), "is no image, row, series, text or clip"),
        ("classification", CLASSES, np.zeros((1, 0), np.float32), "is no image, row, series, text or clip"),
        ("classification", CLASSES, IMAGE[0], "is no image, row, series, text or clip"),
        ("classification", CLASSES, np.array([["a"]]), "is no image, row, series, text or clip"),
        ("classification", CLASSES, np.array(3.0), "is no image, row, series, text or clip"),
        ("classification", CLASSES, ROW.astype(np.longdouble), "is no image, row, series, text or clip"),
        ("classification", CLASSES, ROW.astype(">f4"), "is no image, row, series, text or clip"),
    ],
)
def test_what_is_not_of_the_task_is_damage(task: str, targets: Any, example: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DataSummary(("a", "b"), {"validation": targets, "test": targets}, example, "x").check(task)


def test_as_many_features_are_named_as_an_example_has() -> None:
    named = DataSummary(("a", "b"), {"validation": CLASSES}, ROW, "x", Encoding(("age",)))
    with pytest.raises(ValueError, match="1 features are named"):
        named.check("classification")


@pytest.mark.parametrize(
    "changes",
    [
        {"validation_targets": np.zeros((60, 3), np.float32)},
        {"test_targets": np.arange(60)},
        {"validation_targets": np.array(["a"])},
        {"example": np.zeros((3, 3))},
        {"outputs": np.array("x")},
        {"encoding": np.array("[" * 100_000)},
        {"encoding": np.array('{"features": 3}')},
        {"encoding": np.array(json.dumps({"features": [], "ranges": {"float": [10**400, 1]}}))},
        {"encoding": np.array(json.dumps({"features": [], "ranges": [1]}))},
        {"example": None},
    ],
)
def test_a_summary_of_something_else_is_one_sentence(changes: dict[str, Any], study: Study, hpo: Run) -> None:
    with np.load(study.folder / "data.npz") as archive:
        kept = {name: array for name, array in {**archive, **changes}.items() if array is not None}
    np.savez(study.folder / "data.npz", **kept)
    code, _, told = hpo("ensemble")
    assert code == 2 and "study 'squares': data.npz is damaged, or of another version of hpo: " in told


@pytest.mark.parametrize("kind", ["encrypted", "method", "zlib", "cut"])
def test_a_damaged_archive_is_one_sentence(kind: str, study: Study) -> None:
    (study.folder / "data.npz").write_bytes(damaged(kind))
    with pytest.raises(StudyError, match="study 'squares': data.npz is damaged"):
        assert Study.open(study.folder.parent, "squares").data_summary is None
