"""The compiled code: made from the `.cpp` files beside this one at its first use, and kept in the user's cache."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
_FLAGS = ("-O3", "-mavx2", "-mfma", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC", "-std=c++17")
_SECONDS = 120
"""For the compiler."""


def there() -> bool:
    """Whether the code is compiled, or could be."""
    return _library() is not None


def call(name: str, *arguments: Any) -> None:
    """Calls a function with torch's number of threads as its last argument.

    Args:
        name: of the function, which returns nothing.
        arguments: a tensor is passed as a pointer to its data, None as a null one, an int as a long.
    """
    library = _library()
    assert library is not None, "nobody comes here without it"
    getattr(library, name)(*map(_plain, arguments), ctypes.c_int(torch.get_num_threads()))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if argument is None:
        return ctypes.c_void_p()
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """The code, from the user's cache if it is there; None where it cannot be compiled."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        return None
    key = hashlib.blake2b(" ".join((compiler, *_FLAGS)).encode(), digest_size=8)
    for source in _SOURCES:
        key.update(source.read_bytes())
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        file = Path(home) / "hpo" / f"kernels-{key.hexdigest()}.so"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            _compile(compiler, file)
        return ctypes.CDLL(str(file))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # no compiler, no home, no room
        return None


def _compile(compiler: str, file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        draft = Path(folder) / file.name
        command = [compiler, *_FLAGS, *map(str, _SOURCES), "-o", str(draft)]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        draft.replace(file)
