"""Tables and targets of all tasks, from the shipped data sets and from a user's arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import datasets, spec
from hpo.datasets.dataset import Dataset
from hpo.errors import DataError


def load(tmp_path: Path, **arrays: Any) -> Dataset:
    path = tmp_path / f"table-{len(list(tmp_path.iterdir()))}.npz"
    np.savez(path, **arrays)
    settings = spec.load({"study": "t", "data": {"name": "npz", "path": str(path), "validation": 0.25}, "model": "mlp"})
    return datasets.load(settings.data, tmp_path, 0)


def table(targets: Any, rows: int = 40, features: int = 5) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, features))
    return {"x_train": x, "y_train": targets(rows), "x_test": x[:10], "y_test": targets(rows)[:10]}


def numbers(rows: int) -> Any:
    return np.linspace(0, 9, rows)


def labels(rows: int) -> Any:
    return np.arange(rows * 2).reshape(rows, 2) % 3 == 0


@pytest.mark.parametrize(
    ("name", "task", "features", "outputs"),
    [("breast_cancer", "classification", 30, 2), ("wine", "classification", 13, 3), ("diabetes", "regression", 10, 1)],
)
def test_shipped_tables_have_the_splits_of_every_study(name: str, task: str, features: int, outputs: int) -> None:
    settings = spec.load({"study": "t", "task": task, "data": {"name": name, "validation": 0.2}, "model": "mlp"})
    dataset = datasets.load(settings.data, Path(), 0)
    assert dataset.task == task and dataset.input_shape == (features,) and len(dataset.outputs) == outputs
    assert dataset.train.inputs.dtype == np.float32
    other = datasets.load(settings.data, Path(), 1)
    np.testing.assert_array_equal(dataset.test.inputs, other.test.inputs)
    assert not np.array_equal(dataset.validation.inputs, other.validation.inputs)


def test_targets_say_the_task(tmp_path: Path) -> None:
    regression = load(tmp_path, **table(numbers))
    assert regression.task == "regression" and regression.train.targets.shape == (30, 1)
    assert regression.outputs == ("target_0",)
    multilabel = load(tmp_path, **table(labels), class_names=np.array(["red", "round"]))
    assert multilabel.task == "multilabel" and multilabel.outputs == ("red", "round")
    assert multilabel.train.targets.dtype == np.uint8
    assert load(tmp_path, **table(lambda rows: np.arange(rows) % 3)).task == "classification"


def test_a_missing_value_of_a_table_is_kept(tmp_path: Path) -> None:
    arrays = table(numbers)
    arrays["x_train"][3, 1] = np.nan
    dataset = load(tmp_path, **arrays)
    assert sum(int(np.isnan(part.inputs).sum()) for part in (dataset.train, dataset.validation)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.full((40, 5), np.inf)}, "x_train has infinite values; a missing value is NaN"),
        ({"y_train": np.full(40, np.nan)}, "40 rows have a target that is not a finite number"),
        ({"y_train": np.full((40, 2), 7)}, r"y_train of shape \(n, labels\) must be 0 or 1, got 7"),
        ({"y_train": np.array(["a"] * 40)}, "y_train must be integers"),
        ({"x_test": np.zeros((10, 4))}, "they must have one shape"),
        ({"y_test": np.arange(10)}, "train and test must have inputs and targets of the same types"),
        ({"x_train": np.full((40, 5), 1e300)}, r"x_train has numbers beyond 1e\+150; divide them"),
        ({"x_test": np.full((10, 5), 1e40)}, "x_test has numbers beyond float32, which x_train has not"),
        (
            {"x_train": (2**62 + np.arange(200)).reshape(40, 5)},
            r"x_train: column 0 \(from 0 on\) holds whole numbers so large that float64 rounds them",
        ),
        (
            {"y_train": 1.7e9 + np.arange(40.0)},
            r"y_train: target 0 \(from 0 on\), 1700000000 to 1700000039, varies too little for its size: in float32",
        ),
        ({"class_names": np.array(["a", "b"])}, "class_names has 2 names, y_train has 1 columns"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, **{**table(numbers), **changes})


def stamps(rows: int = 360) -> Any:
    """Seconds since 1970, ten apart, beside what fits into float32."""
    return np.column_stack([1.7e9 + 10.0 * np.arange(rows), np.random.default_rng(0).normal(size=rows)])


def test_time_stamps_keep_what_tells_them_apart(tmp_path: Path) -> None:
    x = stamps()
    dataset = load(tmp_path, x_train=x, y_train=numbers(360), x_test=x[:9], y_test=numbers(9))
    parts = [part.inputs for part in (dataset.train, dataset.validation)]
    assert len(np.unique(np.concatenate(parts)[:, 0])) == 360
    assert {part.dtype for part in (*parts, dataset.test.inputs)} == {np.dtype(np.float64)}


def test_a_table_that_fits_into_float32_is_the_data_that_it_was(tmp_path: Path) -> None:
    arrays = table(numbers)
    wide = load(tmp_path, **arrays)
    for name in ("x_train", "x_test"):
        arrays[name] = arrays[name].astype(np.float32)
    assert wide.train.inputs.dtype == np.float32 and load(tmp_path, **arrays).fingerprint == wide.fingerprint


def test_a_table_knows_the_names_of_its_features(tmp_path: Path) -> None:
    names = np.array([b"age", b" size ", b"x", b"y", b"z"])
    assert load(tmp_path, **table(numbers), feature_names=names).encoding.features == ("age", "size", "x", "y", "z")
    assert load(tmp_path, **table(numbers)).encoding.features == ()
    wine = spec.load({"study": "t", "data": {"name": "wine"}, "model": "mlp"})
    assert datasets.load(wine.data, Path(), 0).encoding.features[:2] == ("alcohol", "malic_acid")
    for wrong, message in (
        (names[:4], "has 4 names, x_train has 5 columns"),
        (names[[0, 0, 1, 2, 3]], "has a name twice"),
    ):
        with pytest.raises(DataError, match=f"feature_names {message}"):
            load(tmp_path, **table(numbers), feature_names=wrong)


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("classification", {}, "write `task: regression`"),
        (
            "regression",
            {"data": {"name": "diabetes", "augment": ["cutout"]}},
            "'cutout' is not for tables: they take mixup",
        ),
        (
            "regression",
            {"parameters": {"data.augment": {"values": [["mixup"], ["mixup", "cutout"]]}}},
            "'cutout' is not for tables",
        ),
    ],
)
def test_a_spec_must_fit_its_data(task: str, changes: dict[str, Any], message: str) -> None:
    settings = spec.load({"study": "t", "task": task, "data": {"name": "diabetes"}, "model": "mlp", **changes})
    dataset = datasets.load(settings.data, Path(), 0)
    (problem,) = datasets.check_fit(settings, dataset)
    assert message in problem.message
