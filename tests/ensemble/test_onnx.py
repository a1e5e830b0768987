import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hpo.ensemble.combiner import Average, Calibrated, Combiner, Median, Stack, Tree, Trees, Votes
from hpo.ensemble.model import Ensemble
from hpo.ensemble.onnx import export_onnx, in_torch
from hpo.errors import DataError, HpoError, InputError
from tests.ensemble.folders import TASKS, inputs, write_ensemble

PLACES = (0, 1, 2)


def run(file: Path, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (predictions,) = session.run(["predictions"], {"inputs": values})
    return np.asarray(predictions)


def stack(task: str, features: Any) -> Stack:
    generator = np.random.default_rng(0)
    return Stack(PLACES, generator.normal(size=(3, 9)), generator.normal(size=3), task, features)


@pytest.mark.parametrize(
    ("task", "kind"), [("classification", "images"), ("multilabel", "table"), ("regression", "stamps")]
)
def test_an_exported_ensemble_predicts_the_same(task: str, kind: str, tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", task, kind)
    difference = export_onnx(folder, tmp_path / "made.onnx")
    rows = inputs(kind, 33, seed=3)
    expected = Ensemble(folder).combined_predictions(rows)
    assert difference < 1e-4
    np.testing.assert_allclose(run(tmp_path / "made.onnx", rows), expected, rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in tmp_path.glob("*.onnx*")) == ["made.onnx"]
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "made.onnx").metadata_props}
    assert metadata["task"] == task and json.loads(metadata["outputs"]) == ["ant", "bee", "cat"]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("ft_transformer", {"layers": 2, "heads": 2, "head_width": 2}),
        ("tabular_mlp", {"width": 8, "numbers": "piecewise", "pieces": 4}),
    ],
)
def test_networks_of_tables_are_exported(model: str, settings: dict[str, Any], tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", kind="table", model=model, settings=settings, members=2)
    assert export_onnx(folder, tmp_path / "made.onnx") < 1e-4


COMBINERS = [
    *(Votes(PLACES, task) for task in TASKS[:2]),
    *(stack(task, "logits") for task in TASKS[:2]),
    *(stack(task, "values") for task in TASKS),
    *(Calibrated(Average(PLACES, (0.5, 0.3, 0.2), task), 1.4, task) for task in TASKS[:2]),
    Calibrated(stack("multilabel", "logits"), 0.6, "multilabel"),
    Median(PLACES),
    Average(PLACES, (0.0, 1.0, 0.0), "regression"),
]


@pytest.mark.parametrize("combiner", COMBINERS, ids=lambda combiner: json.dumps(combiner.to_json())[:60])
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5))
@settings(max_examples=20)
def test_every_combiner_is_the_same_in_torch(combiner: Combiner, seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 5, (3, rows, 3))
    predictions = (np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)).astype(np.float32)
    found = in_torch(combiner)(torch.from_numpy(predictions)).numpy()
    np.testing.assert_allclose(found, combiner.combine(predictions), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("combiner", [Votes(PLACES), Calibrated(stack("multilabel", "logits"), 0.6, "multilabel")])
def test_an_export_holds_the_combiner(combiner: Votes | Calibrated, tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", combiner.task, "table", combiner=combiner)
    assert export_onnx(folder, tmp_path / "made.onnx") < 1e-4
    table = inputs("table", 9)
    expected = Ensemble(folder).combined_predictions(table)
    np.testing.assert_allclose(run(tmp_path / "made.onnx", table), expected, rtol=1e-4, atol=1e-5)


def test_the_median_of_an_even_number_is_between_the_middle_two(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", "regression", "table", members=4, combiner=Median((0, 1, 2, 3)))
    assert export_onnx(folder, tmp_path / "made.onnx") < 1e-3


def test_a_member_is_exported_with_its_temperature(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", model="resnet", settings={"depth": 8, "width": 4})
    export_onnx(folder, tmp_path / "one.onnx", member=2)
    images = inputs("images", 3)
    expected = Ensemble(folder).member_predictions(images)[2]
    np.testing.assert_allclose(run(tmp_path / "one.onnx", images), expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    leaf = Tree(*(np.zeros(1, np.int64),) * 4, np.zeros((1, 3)), 1)  # type: ignore[arg-type]
    trees = write_ensemble(tmp_path / "trees", kind="table", combiner=Trees(PLACES, (leaf,)))
    target = tmp_path / "made.onnx"
    for folder, where, member, error, message in (
        (trees, target, None, InputError, "combined by 'trees' cannot be exported to ONNX.*export a member"),
        (trees, target, 3, InputError, "member must be 0 to 2"),
        (trees, tmp_path, None, InputError, "is a folder, or its folder does not exist"),
        (trees, tmp_path / "no" / "where.onnx", None, InputError, "name a file"),
        (tmp_path, target, None, DataError, "holds no ensemble"),
        (trees, Path("/proc/made.onnx"), 0, InputError, "/proc/made.onnx: cannot be written"),
    ):
        with pytest.raises(error, match=message):
            export_onnx(folder, where, member)
    assert not target.exists() and not list(tmp_path.glob(".made*"))
    assert export_onnx(trees, target, member=0) < 1e-4


class Branch(nn.Module):
    """Does what no graph can say."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, outputs)

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.layer(rows)
        return outputs if outputs.sum().item() > 0 else -outputs


def branching(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Branch(input_shape[0], outputs)


class Dropped(nn.Module):
    """Its dropout is on whatever the mode."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, outputs)

    def forward(self, rows: Tensor) -> Tensor:
        return nn.functional.dropout(self.layer(rows), 0.5)


class AlwaysOn(nn.Dropout):
    """Takes no part in changes of the mode, as of Monte Carlo dropout."""

    def train(self, mode: bool = True) -> "AlwaysOn":
        self.training = True
        return self


def dropped(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Dropped(input_shape[0], outputs)


def always_on(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(input_shape[0], outputs), AlwaysOn(0.5))


@pytest.mark.parametrize(
    ("model", "cause"),
    [("dropped", "as dropout does that is left on"), ("always_on", "'1' stays in training mode")],
)
def test_dropout_that_is_left_on_is_named_as_the_cause(tmp_path: Path, model: str, cause: str) -> None:
    folder = write_ensemble(tmp_path / "made", kind="table", model=f"{__name__}:{model}")
    with pytest.raises(InputError, match="cannot be exported to ONNX: it predicts the same rows otherwise") as caught:
        export_onnx(folder, tmp_path / "made.onnx")
    assert f":{model}') cannot be" in str(caught.value) and f"({cause}); use nn.Dropout" in str(caught.value)
    assert not list(tmp_path.glob("*.onnx*"))


def test_weights_for_more_than_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch would write two files, and leave the second where the first is not wanted."""
    folder = write_ensemble(tmp_path / "made", "classification", "table")
    monkeypatch.setattr("hpo.ensemble.onnx._LARGEST", 100)
    with pytest.raises(InputError, match=r"GiB of weights, .*; export its members one by one, by --member"):
        export_onnx(folder, tmp_path / "made.onnx")
    assert not [path for path in tmp_path.iterdir() if "onnx" in path.name]


def test_a_network_that_cannot_be_exported_is_named(tmp_path: Path) -> None:
    name = f"{__name__}:branching"
    folder = write_ensemble(tmp_path / "made", kind="table", model=name)
    with pytest.raises(HpoError, match="PyTorch cannot export these networks .*:branching.* to ONNX") as caught:
        export_onnx(folder, tmp_path / "made.onnx")
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.onnx*"))
