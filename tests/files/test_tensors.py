"""What `torch.save` writes is read as it was; what names anything else than tensors and plain values is refused."""

import io
import pickle
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hpo.files.tensors import load_tensors

KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8]
KINDS += [
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.complex128,
    torch.uint16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()


def saved(value: Any) -> bytes:
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner)))
def test_plain_values_come_back(value: Any) -> None:
    assert load_tensors(saved({"value": value, "set": {1, "a"}})) == {"value": value, "set": {1, "a"}}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(shape=st.lists(st.integers(0, 4), max_size=3), turn=st.booleans(), cut=st.booleans())
def test_tensors_come_back(kind: torch.dtype, shape: list[int], turn: bool, cut: bool) -> None:
    made = (torch.rand(shape) * 3).to(kind)
    made = made.transpose(0, -1) if turn and made.ndim else made
    made = made[1:] if cut and made.ndim and made.shape[0] else made
    read = load_tensors(saved([made, made]))
    for tensor in read:
        assert tensor.dtype == kind and torch.equal(tensor.to(torch.complex128), made.to(torch.complex128))


def test_a_state_of_training_comes_back() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    model(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    read = load_tensors(saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}))
    assert type(read["model"]) is OrderedDict and not hasattr(read["model"], "_metadata")
    again = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    again.load_state_dict(read["model"])
    torch.optim.AdamW(again.parameters(), amsgrad=True).load_state_dict(read["optimizer"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def archive(listing: bytes, **storages: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("archive/data.pkl", listing)
        for key, kept in storages.items():
            file.writestr(f"archive/data/{key}", kept)
    return content.getvalue()


def tensor(size: str, stride: str, offset: str = "I0\n", end: bytes = b"") -> bytes:
    """A listing that describes a tensor in the storage `a` of floats."""
    storage = b"(Vstorage\nctorch\nFloatStorage\nVa\nVcpu\nI4\ntQ"
    shape = f"{offset}({size}t({stride}tI00\n(dt".encode()
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + shape + b"R" + end + b"."


def test_a_tensor_that_is_described_by_hand_is_read() -> None:
    kept = np.arange(4, dtype=np.float32).tobytes()
    assert load_tensors(archive(tensor("I2\nI2\n", "I1\nI2\n"), a=kept)).tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "listing",
    [
        tensor("I5\n", "I1\n"),
        tensor("I2\n", "I4\n"),
        tensor("I2\n", "I-1\n", "I3\n"),
        tensor("I1\n", "I1\n", "I4\n"),
        tensor("I4\nI4\n", "I0\nI0\n"),
        tensor("I2\n", "L9223372036854775807L\n"),
        tensor("I2\n", "I1\nI1\n"),
        tensor("I2\n", "I1\n", end=b"(dVstorage\nI1\nsb"),
        tensor("I2\n", "I1\n", end=b"(N(dVoffset\nI1\nstb"),
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(listing: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError):
        load_tensors(archive(listing, a=bytes(16)))


@pytest.mark.parametrize(
    "name",
    [
        "os\nsystem",
        "builtins\ngetattr",
        "builtins\neval",
        "torch\nLongTensor",
        "torch\nload",
        "torch._utils\n_rebuild_wrapper_subclass",
        "torch._tensor\n_rebuild_from_type_v2",
        "torch.nested._internal.nested_tensor\n_rebuild_njt",
        "hpo.files.tensors\n_NAMES",
        "copyreg\n_reconstructor",
    ],
)
def test_nothing_else_can_be_named(name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="names"):
        load_tensors(archive(b"\x80\x02c" + name.encode() + b"\n."))


@pytest.mark.parametrize(
    "name",
    [
        "torch\nFloatStorage",
        "torch.storage\nUntypedStorage",
        "torch._utils\n_rebuild_tensor_v2",
        "collections\nOrderedDict",
    ],
)
def test_what_can_be_named_cannot_be_changed(name: str) -> None:
    named = b"\x80\x02c" + name.encode() + b"\n"
    for state in (b"(dVname\nVfloat64\ns", b"(N(dV_makes\nNst"):
        with pytest.raises(pickle.UnpicklingError):
            load_tensors(archive(named + state + b"b."))
    with pytest.raises(pickle.UnpicklingError):
        load_tensors(archive(named + b"."))  # it is no value either


def test_what_a_file_names_again_and_again_is_made_once() -> None:
    value: Any = [torch.zeros(1)]
    for _ in range(100):
        value = [value, value]
    assert load_tensors(saved(value))[0][0] is not None
    value = []
    for _ in range(300):
        value = [value]
    with pytest.raises(pickle.UnpicklingError, match="nested without an end"):
        load_tensors(saved(value))


@pytest.mark.parametrize(
    "key",
    [
        b"K\x01" + 1_000_000 * b"\x85",
        b"K\x01\x94" + 1_000_000 * b"\x94h\x00\x86",
        1_000_000 * b"(" + b"K\x01" + 1_000_000 * b"t",
        b"K\x01" + 1_000_000 * b"(0\x85",
    ],
    ids=["alone", "remembered", "marked", "marks that are popped"],
)
def test_a_key_of_tuples_within_tuples_is_refused_before_its_hash_is_computed(key: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError, match="nested without an end"):
        load_tensors(archive(b"\x80\x04}" + key + b"K\x01s."))


def test_a_key_of_few_tuples_that_would_be_hashed_for_ever_is_refused() -> None:
    doubled = b"K\x01\x94" + b"".join(
        b"h" + bytes([place]) + b"h" + bytes([place]) + b"\x86\x94" for place in range(60)
    )
    with pytest.raises(pickle.UnpicklingError, match="nested without an end"):
        load_tensors(archive(b"\x80\x04}" + doubled + b"K\x01s."))


def test_many_tuples_beside_each_other_are_read() -> None:
    state = {number: torch.full((number % 3, 1), number) for number in range(9_000)}
    assert torch.equal(load_tensors(saved(state))[8_999], state[8_999])


def test_a_file_does_not_unpack_to_far_more_than_its_bytes() -> None:
    shared = torch.zeros(2**20)
    few = io.BytesIO()
    torch.save({str(place): shared.view(-1)[:] for place in range(5)}, few)  # as tied weights are
    assert len(load_tensors(few.getvalue())) == 5
    many = io.BytesIO()
    torch.save({str(place): shared.view(-1)[:] for place in range(50)}, many)
    with pytest.raises(pickle.UnpicklingError, match="would unpack to far more than its bytes"):
        load_tensors(many.getvalue())
