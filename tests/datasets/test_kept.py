"""Data that are given in Python."""

from pathlib import Path
from typing import Any

import datasets as hugging_face
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import PILToTensor, ToTensor

from hpo import datasets, spec
from hpo.datasets.kept import with_files
from hpo.errors import DataError, InputError

ROWS = 60


def frame(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows), "D")
    size = np.where(draw.random(rows) < 0.1, np.nan, draw.normal(size=rows))
    kind = pd.Categorical(draw.choice(["a", "b"], rows))
    return pd.DataFrame({"size": size, "kind": kind, "when": when, "label": draw.choice(["no", "yes"], rows)})


def loaded(given: Any, tmp_path: Path, **data: Any) -> datasets.Dataset:
    """The data set of a search in which an object stands as the path."""
    space = {"study": "s", "data": {"path": given, **data}, "model": {"name": "mlp"}}
    read = spec.load(
        with_files({**space, "parameters": {"model.layers": {"type": "int", "min": 1, "max": 2}}}, tmp_path)
    )
    assert Path(str(read.data.path)).parent == tmp_path / "given"
    return datasets.of(read, tmp_path)


def test_a_data_frame_is_a_table(tmp_path: Path) -> None:
    made = loaded(frame(), tmp_path, target="label")
    assert [(column.name, column.kind) for column in made.encoding.columns] == [
        ("size", "number"),
        ("kind", "category"),
        ("when", "date"),
    ]
    assert made.outputs == ("no", "yes") and len(made.test) == 12
    again = loaded(frame(), tmp_path, target="label")
    assert again.fingerprint == made.fingerprint and len(list((tmp_path / "given").iterdir())) == 1
    other = loaded(frame(seed=1), tmp_path, target="label")
    assert other.fingerprint != made.fingerprint and len(list((tmp_path / "given").iterdir())) == 2


def test_datasets_of_hugging_face_are_tables_with_parts(tmp_path: Path) -> None:
    texts = [f"a {'good' if row % 2 else 'bad'} film number {row % 7}" for row in range(ROWS)]
    whole = hugging_face.Dataset.from_dict({"text": texts, "label": [row % 2 for row in range(ROWS)]})
    made = loaded(whole, tmp_path, target="label", columns={"text": "tokens"})
    assert isinstance(made.train.inputs, datasets.Ragged) and len(made.test) == 12
    parts = hugging_face.DatasetDict({"train": whole, "test": whole.select(range(10))})
    given = loaded(parts, tmp_path, target="label", columns={"text": "tokens"})
    assert len(given.test) == 10 and len(given.train) + len(given.validation) == ROWS
    assert len(given.validation) == 6


def test_arrays_are_an_archive(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = {
        "x_train": draw.integers(0, 256, (ROWS, 8, 8), dtype=np.uint8),
        "y_train": np.arange(ROWS) % 3,
        "x_test": draw.integers(0, 256, (9, 8, 8), dtype=np.uint8),
        "y_test": list(range(3)) * 3,
    }
    made = loaded(arrays, tmp_path)
    assert made.input_shape == (1, 8, 8) and len(made.test) == 9 and len(made.outputs) == 3


class Rows(Dataset[tuple[torch.Tensor, float]]):
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.values = torch.randn(20, *shape, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, float]:
        return self.values[place], float(self.values[place].sum())


def test_torch_datasets_are_an_archive(tmp_path: Path) -> None:
    images = {
        part: FakeData(20, (3, 10, 9), 2, PILToTensor(), random_offset=n) for n, part in enumerate(("train", "test"))
    }
    made = loaded(images, tmp_path, validation=0.2)
    assert made.input_shape == (3, 10, 9) and made.task == "classification"
    first = np.asarray(FakeData(20, (3, 10, 9), 2)[0][0])
    whole = np.concatenate([made.train.inputs, made.validation.inputs])
    assert any((image == first).all() for image in whole)
    pictures = {part: FakeData(20, (3, 10, 9), 2) for part in ("train", "test")}
    assert loaded(pictures, tmp_path, validation=0.2).input_shape == (3, 10, 9)
    assert loaded({"train": Rows((4,)), "test": Rows((4,))}, tmp_path).task == "regression"
    assert loaded({"train": Rows((6, 2)), "test": Rows((6, 2))}, tmp_path).input_shape == (6, 2)
    pairs = TensorDataset(torch.zeros(20, 4), torch.arange(20) % 2)
    assert loaded({"train": pairs, "test": pairs}, tmp_path).task == "classification"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "data.path must be a path, a DataFrame, .*, got int"),
        ({"train": frame()}, r"must be train and one of validation and test, got \['train'\]"),
        ({"train": frame(), "test": frame().drop(columns="size")}, "table 'test' has other columns than 'train'"),
        (
            {"train": frame().assign(split="x"), "test": frame()},
            "table 'train' has a column 'split' already; rename it",
        ),
        (frame().assign(odd=[[1]] * ROWS), r"data.path: row 0 \(from 0 on\): column 'odd' must have numbers, texts"),
        ({"x_train": [{}], "y_train": [0]}, "data.path: x_train holds Python objects"),
        ({"train": Rows((4,))}, "Datasets of torch are given as train and test, got train"),
        ({"train": [1, 2], "test": [1, 2]}, "Dataset 'train' must have examples, each a pair"),
        (
            {part: FakeData(4, (3, 10, 9), 2, ToTensor()) for part in ("train", "test")},
            "images must be uint8, of 0 to 255, since the model standardizes them itself; use torchvision",
        ),
    ],
)
def test_what_is_no_data_is_refused_and_leaves_nothing(tmp_path: Path, given: Any, message: str) -> None:
    with pytest.raises((DataError, InputError), match=message):
        loaded(given, tmp_path, target="label")
    assert not (tmp_path / "given").exists()


def test_paths_and_spaces_without_data_stay_as_they_are(tmp_path: Path) -> None:
    for space in (
        "search.yaml",
        {"study": "s"},
        {"data": {"name": "digits"}},
        {"data": {"path": "x.csv"}},
        {"data": 7},
    ):
        assert with_files(space, tmp_path) is space
