"""Headers and archives of numpy's files, of which nothing but a ValueError comes."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpo.files.arrays import load_array, open_arrays, told_damaged


def headed(header: str, content: bytes = b"\0" * 64) -> bytes:
    """An .npy file with this header."""
    text = header.encode("latin1", "replace")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def described(**changes: Any) -> str:
    return repr({"descr": "|u1", "fortran_order": False, "shape": (3,), **changes})


def saved(array: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize("array", [np.zeros((2, 3), np.float16), np.array(5), np.zeros((0, 4)), np.array(["a", "bc"])])
def test_an_array_is_read_back(array: np.ndarray[Any, Any]) -> None:
    read = load_array(saved(array))
    assert read.dtype == array.dtype and np.array_equal(read, array)


@pytest.mark.parametrize(
    "header",
    [
        described(shape=(True, 3)),
        described(shape=(3, -1)),
        described(shape=(0, 2**64)),
        described(shape=(0, 10**400)),
        described(shape=(2**64,)),
        described(shape=(2**62, 2**62)),
        described(descr="|O", shape=(2**70,)),
        described(descr="|O"),
        described(descr="nothing"),
        described(descr=("|u1", -1)),
        described(descr=[("a", "|u1", (2**40,))]),
        described(descr="|V99999999999999999999"),
        described(descr=3),
        described(shape=3),
        described(fortran_order=3),
        "{",
        "(" * 5000,
        "-" * 5000 + "1",
        "[" * 5000 + "]" * 5000,
        "{'descr': [(1, 2, 3, 4, 5)], 'fortran_order': False, 'shape': (1,)}",
        "'''",
        "\0",
        "",
    ],
    ids=lambda header: header[:50],
)
def test_a_header_that_is_none_is_a_value_error(header: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        load_array(headed(header))


@given(st.binary(max_size=200) | st.text(max_size=80).map(headed) | st.binary(max_size=80).map(b"\x93NUMPY".__add__))
@example(b"\x93NUMPY")
@example(b"")
def test_nothing_but_a_value_error_comes_of_what_is_no_array(content: bytes) -> None:
    try:
        load_array(content)
    except ValueError as error:
        assert str(error)


SCALARS = st.none() | st.booleans() | st.integers() | st.integers(2**63, 2**70) | st.text(max_size=4)
PARTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple))


@given(descr=PARTS | st.sampled_from(["<f4", "|b1", "<U3", "|S0", "|V0", "<M8[s]", "<c8"]), shape=PARTS)
def test_nothing_but_a_value_error_comes_of_a_header(descr: Any, shape: Any) -> None:
    try:
        load_array(headed(described(descr=descr, shape=shape)))
    except ValueError as error:
        assert str(error)


def damaged(kind: str) -> bytes:
    """An archive with one array, and something wrong with it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", saved(np.arange(1000)))
    whole = bytearray(content.getvalue())
    central = whole.rindex(b"PK\x01\x02")
    if kind == "encrypted":
        whole[6] |= 1
        whole[central + 8] |= 1
    elif kind == "method":
        whole[8] = whole[central + 10] = 99
    elif kind == "zlib":
        whole[40:60] = b"\xff" * 20
    elif kind == "cut":
        del whole[60:central]
    return bytes(whole)


@pytest.mark.parametrize("kind", ["encrypted", "method", "zlib", "cut"])
def test_a_damaged_archive_is_a_value_error(kind: str, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(damaged(kind))
    wanted = pytest.raises((OSError, ValueError), match=r"\S")
    with wanted, open_arrays(tmp_path / "x.npz") as file, told_damaged():
        np.load(file)["x"]


def test_a_sound_archive_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(damaged("not"))
    with open_arrays(tmp_path / "x.npz") as file, told_damaged():
        assert np.load(file)["x"].shape == (1000,)
