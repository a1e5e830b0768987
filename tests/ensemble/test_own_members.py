"""Members that a function of the user's own predicts by, and what it is given."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from hpo import plugins
from hpo.ensemble.own_inputs import own_inputs
from hpo.ensemble.own_members import OwnMember, OwnMembers, path_of
from hpo.errors import DataError, InputError

MEMBERS = [OwnMember("trial 0", {"lr": 0.1}, {"w": torch.ones(1)}), OwnMember("trial 4", {"lr": 0.2}, {"w": 2})]


def members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, outputs: int = 3, binary: bool = True
) -> OwnMembers:
    """Members of a function with this body."""
    (tmp_path / "own_predictor.py").write_text(f"import torch\n\ndef tell(config, state, inputs):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_predictor", raising=False)
    plugins.trust(["own_predictor:tell"])
    return OwnMembers("own_predictor:tell", MEMBERS, outputs, binary)


@pytest.mark.parametrize(
    ("body", "outputs", "expected"),
    [
        ("return [[config['lr'], 0, 0]] * inputs", 3, [[[0.1, 0, 0]] * 2, [[0.2, 0, 0]] * 2]),
        ("return torch.full((inputs, 2), config['lr'], requires_grad=True)", 2, [[[0.1, 0.1]] * 2, [[0.2, 0.2]] * 2]),
        ("return [config['lr']] * inputs", 2, [[[0.9, 0.1]] * 2, [[0.8, 0.2]] * 2]),
        ("return torch.full((inputs,), config['lr']).bfloat16().float()", 2, [[[0.9, 0.1]] * 2, [[0.8, 0.2]] * 2]),
    ],
)
def test_what_the_function_gives_is_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, outputs: int, expected: Any
) -> None:
    made = members(tmp_path, monkeypatch, body, outputs)
    np.testing.assert_allclose(made(2), expected, atol=2e-3)
    np.testing.assert_allclose(made.single(1)(2), expected[1:], atol=2e-3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ZeroDivisionError('mine')", "trial 0: predict fails: ZeroDivisionError: mine"),
        ("return [[1.0, 2.0]]", r"trial 0: predict must give an array \(rows, 3\), got \(1, 2\)"),
        ("return 'text'", "trial 0: predict fails: ValueError"),
        ("return None", r"trial 0: predict must give an array \(rows, 3\), got \(\)"),
        ("return [[1.0, 2.0, 3.0]] * int(config['lr'] * 10)", r"predict different numbers of rows: \[1, 2\]"),
    ],
)
def test_what_it_gives_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        members(tmp_path, monkeypatch, body)(2)


def test_one_value_a_row_is_a_column_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = members(tmp_path, monkeypatch, "return [1.5, 2.5]", outputs=1, binary=False)
    assert made(None)[0].tolist() == [[1.5], [2.5]]


def test_what_the_function_does_to_its_config_stays_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = members(tmp_path, monkeypatch, "return [[config.pop('lr'), float(state.pop('w')), 0.0]]")
    np.testing.assert_array_equal(made(None), made(None))


def test_without_a_function_the_way_out_is_told() -> None:
    with pytest.raises(InputError, match=r"write predict\(config, state, inputs\) beside it"):
        OwnMembers(None, MEMBERS, 3, binary=False)(2)


def test_the_function_is_the_named_one_or_stands_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("own_module")
    monkeypatch.setitem(sys.modules, "own_module", module)
    assert path_of("own_module:train", None) is None
    module.predict = print  # type: ignore[attr-defined]
    assert path_of("own_module:train", None) == "own_module:predict"
    assert path_of("own_module:train", "other:tell") == "other:tell"
    assert path_of(None, None) is None


def test_arrays_and_tables_are_read_and_all_else_is_a_path(tmp_path: Path) -> None:
    array, table = np.arange(6.0).reshape(3, 2), pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
    np.save(tmp_path / "one.npy", array)
    np.savez(tmp_path / "test.npz", x=array, x_test=array[:1])
    np.savez(tmp_path / "parts.npz", image=array, text=np.array(["a"]))
    table.to_csv(tmp_path / "table.csv", index=False)
    table.to_parquet(tmp_path / "table.parquet")
    (tmp_path / "clip.wav").write_bytes(b"RIFF")
    np.testing.assert_array_equal(own_inputs(tmp_path / "one.npy"), array)
    np.testing.assert_array_equal(own_inputs(str(tmp_path / "test.npz")), array[:1])
    assert own_inputs(tmp_path / "parts.npz").keys() == {"image", "text"}
    for name in ("table.csv", "table.parquet"):
        assert own_inputs(tmp_path / name)["a"].tolist() == [1, 2]
    assert own_inputs(tmp_path / "clip.wav") == tmp_path / "clip.wav" and own_inputs(tmp_path) == tmp_path
    assert own_inputs([1, 2]) == [1, 2] and own_inputs(table) is table


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.npy").write_bytes(b"no array")
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    for name, message in (
        ("nowhere.npy", "no such file or folder"),
        ("broken.npy", "cannot be read as"),
        ("objects.npy", "cannot be read as"),
        ("broken.parquet", "cannot be read as .parquet"),
    ):
        with pytest.raises(DataError, match=message):
            own_inputs(tmp_path / name)
