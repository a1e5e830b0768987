"""Compiles the `.cpp` files of this folder at their first use, keeps the result in the user's cache, and calls it.

There is one shared library a type of values.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpo.kernels.cpu import capabilities

_TYPES = {torch.float32: "float", torch.bfloat16: "Bfloat16"}
"""The supported types, and the C++ type that stands for each."""
_HEADER = Path(__file__).parent / "values.h"
_SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
_FLAGS = ("-O3", "-mavx2", "-mfma", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC", "-std=c++17")
_ROUNDING = {"avx512_vl": "-mavx512vl", "avx512_bf16": "-mavx512bf16"}
"""Capability -> flag; a CPU that has all of them rounds to bfloat16 in one instruction instead of eight."""
_SECONDS = 120
"""The most seconds that the compiler may take."""


def is_available(kind: torch.dtype) -> bool:
    """Whether the kernels can be called for values of a type; compiles them where that has not been done."""
    return kind in _TYPES and _library(kind) is not None


def build() -> str:
    """What the kernels of this machine are built with, in words: the compiler and its flags, or why there are none."""
    if not capabilities().get("avx2", False):
        return "none: the CPU has no AVX2"
    compiler = _compiler()
    if compiler is None:
        return "none: there is no C++ compiler"
    try:
        told = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"none: {compiler} fails"
    return " ".join((told.stdout.partition("\n")[0], *_FLAGS, *_rounding()))


def call(name: str, values: Tensor, *arguments: Any) -> None:
    """Calls a function with torch's number of threads as its last argument.

    Args:
        name: of the function, which returns nothing.
        values: its first argument, whose type is that of all values.
        arguments: a tensor is passed as a pointer to its data, None as a null one, an int as a long.
    """
    library = _library(values.dtype)
    assert library is not None, "ask is_available first"
    getattr(library, name)(*map(_plain, (values, *arguments)), ctypes.c_int(torch.get_num_threads()))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if argument is None:
        return ctypes.c_void_p()
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


@lru_cache(maxsize=len(_TYPES))
def _library(kind: torch.dtype) -> ctypes.CDLL | None:
    """Loads the library for a type of values, compiled now or before; None where it cannot be compiled."""
    compiler = _compiler()
    if compiler is None:
        return None
    flags = _flags(kind)
    key = hashlib.blake2b(" ".join((compiler, *flags)).encode(), digest_size=8)
    for source in (_HEADER, *_SOURCES):
        key.update(source.read_bytes())
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        file = Path(home) / "hpo" / f"kernels-{key.hexdigest()}.so"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            _compile([compiler, *flags], file)
        return ctypes.CDLL(str(file))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # no compiler, no home, no room
        return None


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


def _flags(kind: torch.dtype) -> tuple[str, ...]:
    return (*_FLAGS, f"-DVALUE={_TYPES[kind]}", *(_rounding() if kind is torch.bfloat16 else ()))


def _rounding() -> tuple[str, ...]:
    has = capabilities()
    return tuple(_ROUNDING.values()) if all(has.get(name, False) for name in _ROUNDING) else ()


def _compile(command: Sequence[str], file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        draft = Path(folder) / file.name
        command = [*command, *map(str, _SOURCES), "-o", str(draft)]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        draft.replace(file)
