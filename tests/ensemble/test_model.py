import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo.datasets.dataset import Encoding, Inputs
from hpo.ensemble.calibration import Interval
from hpo.ensemble.combiner import Calibrated, Votes
from hpo.ensemble.cost import cost, fits
from hpo.ensemble.model import Ensemble, Member
from hpo.ensemble.networks import Networks
from hpo.errors import DataError, InputError
from hpo.spec import Named
from tests.ensemble.folders import OUTPUTS, TASKS, inputs, write_ensemble


@pytest.mark.parametrize("kind", ["images", "table"])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_predicts_for_images_and_tables(task: str, kind: str, tmp_path: Path) -> None:
    ensemble = Ensemble(write_ensemble(tmp_path / "made", task, kind))
    rows = inputs(kind, 7)
    members, combined = ensemble.member_predictions(rows), ensemble.combined_predictions(rows)
    assert members.shape == (3, 7, 3) and combined.shape == (7, 3)
    assert members.dtype == combined.dtype == np.float32 and np.isfinite(combined).all()
    np.testing.assert_array_equal(combined, ensemble.combiner.combine(members))
    np.testing.assert_array_equal(ensemble.single(1).combined_predictions(rows).shape, (7, 3))
    np.testing.assert_allclose(ensemble.single(1).combined_predictions(rows), members[1], atol=1e-6)
    predicted = ensemble.predict(rows)
    if task == "regression":
        np.testing.assert_array_equal(predicted, combined)
        with pytest.raises(InputError, match="regression has no probabilities; call predict"):
            ensemble.predict_proba(rows)
        return
    np.testing.assert_array_equal(ensemble.predict_proba(rows), combined)
    if task == "classification":
        np.testing.assert_allclose(combined.sum(axis=1), 1, atol=1e-6)
        assert predicted == [OUTPUTS[place] for place in combined.argmax(axis=1)]
    else:
        assert predicted == [
            tuple(name for name, value in zip(OUTPUTS, row, strict=True) if value >= 0.5) for row in combined
        ]


def test_members_predict_what_their_networks_say(tmp_path: Path) -> None:
    ensemble = Ensemble(write_ensemble(tmp_path / "made", model="convnet", settings={"width": 4, "stages": 2}))
    images = inputs("images", 5)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        for place, member in enumerate(ensemble.members):
            expected = (ensemble.networks[place](pixels) / member.temperature).softmax(dim=1)
            np.testing.assert_allclose(ensemble.member_predictions(images)[place], expected, atol=1e-5)


def test_rows_are_predicted_alike_in_batches_of_any_size(tmp_path: Path) -> None:
    ensemble = Ensemble(write_ensemble(tmp_path / "made", kind="table", members=9))
    table = inputs("table", 600)
    whole = ensemble.predict_proba(table)
    parts = [ensemble.predict_proba(table[first : first + 26]) for first in range(0, 600, 26)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    assert ensemble.predict_proba(table[:0]).shape == (0, 3)


def test_an_interval_is_stored_and_given(tmp_path: Path) -> None:
    half_widths = (1.0, 2.0, 0.5)
    folder = write_ensemble(tmp_path / "made", "regression", "table", interval=Interval(0.9, half_widths))
    assert json.loads((folder / "ensemble.json").read_text())["interval"]["level"] == 0.9
    ensemble, table = Ensemble(folder), inputs("table", 4)
    low, high = ensemble.predict_interval(table)
    np.testing.assert_allclose((low + high) / 2, ensemble.combined_predictions(table), rtol=1e-5)
    np.testing.assert_allclose(high - low, np.tile(2 * np.array(half_widths), (4, 1)), rtol=1e-4)
    with pytest.raises(InputError, match=r"\(classification\) has no interval"):
        Ensemble(write_ensemble(tmp_path / "other")).predict_interval(inputs("images", 1))


def test_a_calibrated_combiner_comes_back(tmp_path: Path) -> None:
    combiner = Calibrated(Votes((0, 1, 2)), 1.5)
    ensemble = Ensemble(write_ensemble(tmp_path / "made", combiner=combiner))
    images = inputs("images", 6)
    expected = combiner.combine(ensemble.member_predictions(images))
    np.testing.assert_array_equal(ensemble.predict_proba(images), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 9, 8, 3), np.uint8), r"images must be uint8 \(n, 8, 8, 3\), got uint8 \(2, 9, 8, 3\)"),
        (np.zeros((8, 8, 3), np.uint8), "images must be uint8"),
        (np.zeros((2, 8, 8, 3), np.float32), r"got float32 \(2, 8, 8, 3\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(wrong: Inputs, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        Ensemble(write_ensemble(tmp_path / "made")).predict_proba(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 4), np.float32), r"rows of a table must be numbers \(n, 5\), got float32 \(2, 4\)"),
        (np.zeros(5, np.float32), "rows of a table must be numbers"),
        (np.array([["a"] * 5]), "rows of a table must be numbers"),
        (np.array([[0.0] * 5, [np.inf] * 5]), r"row 1 \(from 0 on\) has an infinite value"),
    ],
)
def test_tables_that_do_not_fit_are_refused(wrong: Inputs, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        Ensemble(write_ensemble(tmp_path / "made", kind="table")).predict_proba(wrong)


def test_a_table_may_be_of_any_number_type(tmp_path: Path) -> None:
    ensemble = Ensemble(write_ensemble(tmp_path / "made", kind="table"))
    table = np.arange(10, dtype=np.float32).reshape(2, 5)
    whole: Any = table.astype(np.int64)
    np.testing.assert_array_equal(ensemble.predict_proba(whole), ensemble.predict_proba(table))


def test_time_stamps_are_told_apart(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", "regression", "stamps")
    ensemble, rows = Ensemble(folder), inputs("stamps", 9)
    whole = [row for row in rows if np.isfinite(row).all()][:1]
    near = np.concatenate([whole, np.array(whole) + 1.0])  # float32 has one number for both
    assert np.abs(np.diff(ensemble.combined_predictions(near), axis=0)).min() > 1e-4
    plain = Ensemble(write_ensemble(tmp_path / "plain", "regression", "table"))
    centred = inputs("table", 9)
    np.testing.assert_allclose(
        ensemble.member_predictions(rows), plain.member_predictions(centred), rtol=1e-3, atol=1e-3
    )


def test_an_ensemble_of_before_has_no_encoding_and_predicts_as_it_did(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", kind="table")
    expected = Ensemble(folder).combined_predictions(inputs("table", 5))
    document = json.loads((folder / "ensemble.json").read_text())
    del document["encoding"], document["input_type"]
    (folder / "ensemble.json").write_text(json.dumps(document))
    ensemble = Ensemble(folder)
    assert ensemble.wanted is not None
    assert ensemble.wanted.encoding == Encoding() and ensemble.wanted.numbers is np.float32
    np.testing.assert_array_equal(ensemble.combined_predictions(inputs("table", 5)), expected)


def test_what_is_no_ensemble_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no ensemble"):
        Ensemble(tmp_path)
    folder = write_ensemble(tmp_path / "made")
    (folder / "member-01.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match="trial 1: its checkpoint does not fit its model"):
        Ensemble(folder)


LONG_TREE = {"feature": [0], "threshold": [0.0], "left": [0], "right": [0], "values": [[0.0] * 3], "depth": 10**12}
LINEAR = {"coefficients": [[0.0] * 9] * 3, "intercept": [0.0] * 3}
LOST_TREE = {**LONG_TREE, "left": [7], "depth": 1}


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ((), [], r"Input should be an object, got \[\]"),
        (("task",), "ranking", "task: .*'classification', 'multilabel' or 'regression', got 'ranking'"),
        (("outputs",), None, "outputs: is required"),
        (("outputs",), [], "outputs: .*at least 1 item"),
        (("input_shape",), [["sh", "-c", "true"]], "input_shape.0: .* integer, got"),
        (("input_shape",), [10**12], "input_shape.0: .*less than or equal to 1048576"),
        (("input_shape",), [3, 8, 8, 2], r"input_shape: .*must be .*or \(channels, height, width\)"),
        (("members",), [], "members: .*at least 1 item"),
        (("members", 1), "trial 1", "members.1: Input should be an object, got 'trial 1'"),
        (("members", 1, "file"), None, "members.1.file: is required"),
        (("members", 1, "file"), 3, "members.1.file: .*string, got 3"),
        (("members", 1, "file"), "../member-01.safetensors", "members.1.file: "),
        (("members", 1, "temperature"), "warm", "members.1.temperature: .*number, got 'warm'"),
        (("members", 1, "temperature"), 0.0, "members.1.temperature: .*greater than 0, got 0.0"),
        (("members", 1, "model", "settings"), {"widht": 3}, "model 'mlp' has no such setting. Did you mean 'width'"),
        (("members", 1, "model", "name"), 3, "members.1.model.name: .*string, got 3"),
        (("combiner", "kind"), "oracle", "unknown combiner 'oracle'"),
        (("combiner", "weights"), [0.5, 0.5], "a weight for each of 3 members, got 2"),
        (("combiner", "weights"), [0.5, "a", 1], "could not convert string to float: 'a'"),
        (("combiner",), {"kind": "trees", "trees": [LONG_TREE]}, "a tree must have a feature, threshold, children"),
        (("combiner",), {"kind": "trees", "trees": [LOST_TREE]}, "a tree of 1 nodes over 9 features names others"),
        (("combiner",), {"kind": "stack", "coefficients": [[1.0]], "intercept": [0.0]}, r"of shape \(3, 9\), got"),
        (("combiner",), {"kind": "stack", **LINEAR, "features": "votes"}, "its features 'votes' are none"),
        (("combiner",), {"kind": "stack", **LINEAR, "features": ["logits"]}, r"its features \['logits'\] are none"),
        (("interval",), {"level": 0.9}, "interval.half_widths: is required"),
        (("interval",), {"level": 0.9, "half_widths": [1.0]}, "a width for each of 3 outputs, got 1"),
        (("encoding",), {"features": []}, "'ranges' is missing"),
        (("encoding",), {"features": [[]] * 2, "ranges": {}}, "names of features must be different texts"),
        (("encoding",), {"features": ["a"], "ranges": {}}, r"encoding.features has 1 names for \(3, 8, 8\)"),
        (("encoding", "ranges"), {"float": [1, 0]}, "ranges must go from a smaller to a larger finite number"),
        (("encoding", "ranges"), {"float": [0, float("inf")]}, "to a larger finite number"),
    ],
)
def test_a_damaged_ensemble_is_told_in_one_sentence(
    keys: tuple[Any, ...], value: object, message: str, tmp_path: Path
) -> None:
    folder = write_ensemble(tmp_path / "made")
    (folder / "ensemble.json").write_text(
        json.dumps(put(json.loads((folder / "ensemble.json").read_text()), keys, value))
    )
    with pytest.raises(
        DataError, match=f"made: ensemble.json is damaged, or of another version: .*{message}"
    ) as caught:
        Ensemble(folder)
    assert "\n" not in str(caught.value)


def put(document: Any, keys: tuple[Any, ...], value: object) -> Any:
    """The document with another value in a place, or without that key where the value is None."""
    if not keys:
        return value
    place = document
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return document


def test_a_member_need_not_be_of_a_trial(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", members=1)
    document = (folder / "ensemble.json").read_text()
    (folder / "ensemble.json").write_text(document.replace('"trial": 0', '"trial": null'))
    assert Ensemble(folder).members[0].trial is None


class Perceptron(nn.Module):
    """Counts its calls."""

    def __init__(self, seed: int, extra: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        self.extra = extra or nn.Identity()
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        outputs: Tensor = self.extra(self.layers(inputs))
        return outputs


class InPlaceOnAConstant(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.zeros(len(inputs), 2).add_(inputs)


class Branch(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if inputs.sum() > 0 else -inputs


class Dropped(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.nn.functional.dropout(inputs, 1e-9, training=True)


class Scaled(nn.Module):
    """Differs by what is neither a parameter nor a buffer."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


def one_by_one(networks: list[Perceptron], inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.stack([network(inputs) for network in networks])


def test_many_members_of_one_architecture_run_as_one_call() -> None:
    networks = [Perceptron(seed).eval() for seed in range(8)]
    values = torch.randn(16, 6)
    expected = one_by_one(networks, values)
    side_by_side = Networks(networks, ["same"] * 8)
    with torch.inference_mode():
        side_by_side(values)  # the first call compares
        before = [network.calls for network in networks]
        found = side_by_side(values)
    assert sum(network.calls for network in networks) - sum(before) == 1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_members_of_several_architectures_keep_their_order() -> None:
    networks = [Perceptron(seed).eval() for seed in range(20)]
    architectures = [place % 2 for place in range(20)]
    values = torch.randn(5, 6)
    with torch.inference_mode():
        found = Networks(networks, architectures)(values)
    torch.testing.assert_close(found, one_by_one(networks, values), atol=1e-5, rtol=0)


@pytest.mark.parametrize("extra", [InPlaceOnAConstant, Branch, Dropped])
def test_what_cannot_be_vectorised_runs_one_by_one(extra: type[nn.Module]) -> None:
    networks = [Perceptron(seed, extra()).eval() for seed in range(8)]
    values = torch.randn(3, 6)
    with torch.inference_mode():
        found = Networks(networks, ["same"] * 8)(values)
    torch.testing.assert_close(found, one_by_one(networks, values), atol=1e-5, rtol=0)


def test_members_that_differ_by_more_than_weights_run_one_by_one() -> None:
    networks = [Perceptron(seed, Scaled(seed)).eval() for seed in range(8)]
    values = torch.randn(3, 6)
    with torch.inference_mode():
        found = Networks(networks, ["same"] * 8)(values)
    torch.testing.assert_close(found, one_by_one(networks, values), atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_an_ensemble_predicts_the_same_on_a_gpu(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "made", model="convnet", settings={"width": 4, "stages": 2})
    images = inputs("images", 50)
    on_gpu, on_cpu = (Ensemble(folder, torch.device(name)).predict_proba(images) for name in ("cuda", "cpu"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-2)


def test_architectures_are_told_apart() -> None:
    one, same, other = (
        Member(str(trial), trial, 1.0, 1.0, Named(name="mlp", **settings), "file", {}, nn.Identity())
        for trial, settings in enumerate(({"layers": 1, "width": 2}, {"width": 2, "layers": 1}, {"layers": 2}))
    )
    assert one.architecture == same.architecture != other.architecture


def test_a_cost_counts_parameters_and_times_calls(tmp_path: Path) -> None:
    ensemble, threads = Ensemble(write_ensemble(tmp_path / "made", kind="table")), torch.get_num_threads()
    all_of_them, alone = cost(ensemble, repeats=3), cost(ensemble.single(0), repeats=3)
    assert alone.parameters == 5 * 8 + 2 * 8 + 8 * 3 + 3 and all_of_them.parameters == 3 * alone.parameters
    assert set(all_of_them.milliseconds) == {1, 64} and min(all_of_them.milliseconds.values()) > 0
    assert all_of_them.to_json()["milliseconds"]["64"] == all_of_them.milliseconds[64]
    assert torch.get_num_threads() == threads
    with pytest.raises(InputError, match="member must be 0 to 2, its place in the ensemble, got 3"):
        ensemble.single(3)


@pytest.mark.parametrize(("limit", "members"), [(0.5, 0), (3.0, 1), (4.9, 1), (5.0, 2), (6.0, 3), (100.0, 3)])
def test_as_many_members_fit_as_the_slowest_allow(limit: float, members: int) -> None:
    assert fits([1.0, 3.0, 2.0], limit) == members
    assert fits([], limit) == 0


@pytest.mark.parametrize("kind", ["images", "table"])
def test_a_member_is_a_plain_module_that_gives_logits(tmp_path: Path, kind: str) -> None:
    ensemble = Ensemble(write_ensemble(tmp_path / "made", kind=kind))
    values = inputs(kind, 20)
    tensor = torch.from_numpy(values)
    tensor = tensor if kind == "table" else tensor.permute(0, 3, 1, 2).float()
    for place, member in enumerate(ensemble.members):
        assert isinstance(member.module, nn.Module) and not member.module.training
        with torch.no_grad():
            logits = member.module(tensor)
        expected = torch.softmax(logits / member.temperature, dim=1).numpy()
        np.testing.assert_allclose(ensemble.member_predictions(values)[place], expected, atol=1e-5)
    assert ensemble.single(1).networks == (ensemble.members[1].module,)


def test_an_ensemble_is_shown_in_one_line(tmp_path: Path) -> None:
    shown = repr(Ensemble(write_ensemble(tmp_path / "made"), torch.device("cpu")))
    assert shown == "<Ensemble 'made', classification: 3 members, 3x8x8 -> 3, on cpu>"
