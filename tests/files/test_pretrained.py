"""Files of weights: what torch and safetensors write is read, and no code in it is run."""

import contextlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from hpo.errors import DataError
from hpo.files.legacy_tensors import load_legacy_tensors
from hpo.files.pretrained import read_pretrained
from tests.files.test_tensors import KINDS

OLD = [kind for kind in KINDS if "float8" not in str(kind) and kind is not torch.uint16]


def legacy(value: Any) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=False)
    return content.getvalue()


@pytest.mark.parametrize("kind", OLD, ids=str)
@given(shape=st.lists(st.integers(0, 4), max_size=3), turn=st.booleans(), cut=st.booleans())
def test_tensors_of_old_files_come_back(kind: torch.dtype, shape: list[int], turn: bool, cut: bool) -> None:
    made = (torch.rand(shape) * 3).to(kind)
    made = made.transpose(0, -1) if turn and made.ndim else made
    made = made[1:] if cut and made.ndim and made.shape[0] else made
    for tensor in load_legacy_tensors(legacy([made, made])):
        assert tensor.dtype == kind and torch.equal(tensor.to(torch.complex128), made.to(torch.complex128))


@given(st.data())
def test_an_old_file_that_is_damaged_is_refused_or_read(data: st.DataObject) -> None:
    content = bytearray(legacy({"a": torch.arange(6.0), "b": 3}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(pickle.UnpicklingError):
        load_legacy_tensors(bytes(content))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trace",)


@pytest.mark.parametrize("old", [False, True])
def test_no_code_in_a_file_is_run(old: bool, tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"a": Evil()}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(
        DataError, match=r"model.weights: '.*evil.pth' names .*mkdir; store tensors alone, by torch.save"
    ):
        read_pretrained(str(path))
    assert not Path("trace").exists()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("key", ["state_dict", "model", None])
def test_weights_are_found_within_what_a_script_stores(key: str | None, old: bool, tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    stored = {"a": network.weight, "b": network.bias.detach().bfloat16(), "epoch": 3}
    torch.save(
        {key: stored, "best": 0.9} if key else stored, tmp_path / "a.pth", _use_new_zipfile_serialization=not old
    )
    read = read_pretrained(str(tmp_path / "a.pth"))
    assert read.name == "a.pth" and set(read.tensors) == {"a", "b"}
    assert np.array_equal(read.tensors["a"], network.weight.detach().numpy())
    assert read.tensors["b"].dtype == np.float32


def test_safetensors_are_read_and_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        save_file({"w": torch.full((2,), value, dtype=torch.bfloat16)}, tmp_path / name)
    a, b, c = (read_pretrained(str(tmp_path / name)) for name in "abc")
    assert a.digest == b.digest != c.digest and a.tensors["w"].tolist() == [1.0, 1.0]


def test_what_is_no_file_of_weights_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("name: weights")
    torch.save([torch.ones(2)], tmp_path / "list")
    for name, said in (
        ("text", "is neither safetensors nor what torch.save writes"),
        ("list", "holds no tensors by name; store model.state_dict()"),
        ("missing", "is not there; put it back"),
        (".", "cannot be read"),
    ):
        with pytest.raises(DataError, match=said):
            read_pretrained(str(tmp_path / name))
