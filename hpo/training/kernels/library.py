"""The compiled code: made from the `.cpp` files beside this one at its first use, and kept in the user's cache.

It is compiled for each type of values by itself.
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

_TYPES = {torch.float32: "float", torch.bfloat16: "Bfloat16"}
"""Of values, and what the code calls them."""
_HEADER = Path(__file__).parent / "values.h"
_SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
_FLAGS = ("-O3", "-mavx2", "-mfma", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC", "-std=c++17")
_ROUNDING = {"avx512_vl": "-mavx512vl", "avx512_bf16": "-mavx512bf16"}
"""With all of these a CPU rounds to bfloat16 itself, which takes eight instructions else."""
_SECONDS = 120
"""For the compiler."""


def there(kind: torch.dtype) -> bool:
    """Whether there is code for values of a type, and it is compiled, or could be."""
    return kind in _TYPES and _library(kind) is not None


def call(name: str, values: Tensor, *arguments: Any) -> None:
    """Calls a function with torch's number of threads as its last argument.

    Args:
        name: of the function, which returns nothing.
        values: its first argument, whose type is that of all values.
        arguments: a tensor is passed as a pointer to its data, None as a null one, an int as a long.
    """
    library = _library(values.dtype)
    assert library is not None, "nobody comes here without it"
    getattr(library, name)(*map(_plain, (values, *arguments)), ctypes.c_int(torch.get_num_threads()))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if argument is None:
        return ctypes.c_void_p()
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


@lru_cache(maxsize=len(_TYPES))
def _library(kind: torch.dtype) -> ctypes.CDLL | None:
    """The code for a type of values, from the user's cache if it is there; None where it cannot be compiled."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
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


def _flags(kind: torch.dtype) -> tuple[str, ...]:
    capabilities = torch.cpu.get_capabilities()
    rounds = kind is torch.bfloat16 and all(capabilities.get(name, False) for name in _ROUNDING)
    return (*_FLAGS, f"-DVALUE={_TYPES[kind]}", *(_ROUNDING.values() if rounds else ()))


def _compile(command: Sequence[str], file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        draft = Path(folder) / file.name
        command = [*command, *map(str, _SOURCES), "-o", str(draft)]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        draft.replace(file)
