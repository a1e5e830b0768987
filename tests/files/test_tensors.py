"""What `torch.save` writes is read as it was; what names anything else than tensors and plain values is refused."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
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


def said(value: str | int) -> bytes:
    """A text or a number in a pickle of protocol 2."""
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value)) + value.encode()
    digits = pickle.encode_long(value)
    return b"\x8a" + bytes([len(digits)]) + digits


def several(*values: str | int) -> bytes:
    """A tuple of them."""
    return b"(" + b"".join(map(said, values)) + b"t"


def tensor(size: Sequence[int], stride: Sequence[int], offset: int = 0, end: bytes = b"") -> bytes:
    """A listing that describes a tensor in the storage `a` of floats."""
    storage = b"(" + said("storage") + b"ctorch\nFloatStorage\n" + said("a") + said("cpu") + said(4) + b"tQ"
    shape = said(offset) + several(*size) + several(*stride) + b"\x89}t"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + shape + b"R" + end + b"."


def test_a_tensor_that_is_described_by_hand_is_read() -> None:
    kept = np.arange(4, dtype=np.float32).tobytes()
    assert load_tensors(archive(tensor([2, 2], [1, 2]), a=kept)).tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "listing",
    [
        tensor([5], [1]),
        tensor([2], [4]),
        tensor([2], [-1], 3),
        tensor([1], [1], 4),
        tensor([4, 4], [0, 0]),
        tensor([2], [2**63 - 1]),
        tensor([2], [1, 1]),
        tensor([2], [1], end=b"}" + said("storage") + said(1) + b"sb"),
        tensor([2], [1], end=b"(N}" + said("offset") + said(1) + b"stb"),
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(listing: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError, match="tensor|sets what is not its own"):
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
    for state in (b"}" + said("name") + said("float64") + b"s", b"(N}" + said("_makes") + b"Nst"):
        with pytest.raises(pickle.UnpicklingError, match="sets what is not its own|__setstate__"):
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
        b"K\x01q\x00" + 1_000_000 * b"q\x00h\x00\x86",
        1_000_000 * b"(" + b"K\x01" + 1_000_000 * b"t",
    ],
    ids=["alone", "remembered", "marked"],
)
def test_a_key_of_tuples_within_tuples_is_refused_before_its_hash_is_computed(key: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError, match="nested without an end"):
        load_tensors(archive(b"\x80\x02}" + key + b"K\x01s."))


def test_a_key_of_few_tuples_that_would_be_hashed_for_ever_is_refused() -> None:
    doubled = b"K\x01q\x00" + b"".join(
        b"h" + bytes([place]) + b"h" + bytes([place]) + b"\x86q" + bytes([place + 1]) for place in range(60)
    )
    with pytest.raises(pickle.UnpicklingError, match="nested without an end"):
        load_tensors(archive(b"\x80\x02}" + doubled + b"K\x01s."))


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (b"ccollections\nOrderedDict\n(ccollections\nOrderedDict\no0", "has the opcode OBJ"),  # forgets what is below
        (b"(icollections\nOrderedDict\n", "has the opcode INST"),
        (b"ccollections\nOrderedDict\n)\x81", "has the opcode NEWOBJ"),
        (b"0", "has the opcode POP"),
        (b"2", "has the opcode DUP"),
        (b"\x94", "has the opcode MEMOIZE"),
        (b"\x82\x01", "EXT1|extension"),
        (b"r\xff\xff\xff\x03", "numbers what it keeps beyond its own length"),  # a memo of 2**26 pointers
        (b"(\x86", "takes more from its stack than there is"),
        (b"\x87", "takes more from its stack than there is"),
    ],
)
def test_what_torch_save_does_not_write_is_refused_before_it_is_read(end: bytes, message: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=message):
        load_tensors(archive(b"\x80\x02}" + end + b"."))


def test_a_key_of_tensors_of_tensors_has_no_hash_of_its_parts() -> None:
    named = b"ctorch._utils\n_rebuild_tensor_v2\nq\x00"
    nested = b"K\x01q\x01" + 40 * b"h\x00(h\x01h\x01h\x01h\x01tRq\x01"
    with pytest.raises(pickle.UnpicklingError, match="holds _Stands, which is no tensor, number or text"):
        load_tensors(archive(b"\x80\x02}(" + named + nested + b"tK\x01s."))


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
