"""The folder in which torch keeps what it has compiled, and from which it runs it: the user's own."""

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_HEADERS = "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"
"""Says whether torch keeps headers that it has compiled: below /tmp, whatever the other variable says (torch 2.14)."""


def keep_compiled_apart() -> None:
    """Gives torch's compiler a folder of this user's, unless the environment names one.

    torch's own is below /tmp, where another user may have made it first, and torch runs what it finds there. It is
    called before anything that may compile. Headers are not compiled ahead, unless the environment says so.
    """
    config: Any = sys.modules.get("torch._inductor.config")  # it has read the environment already
    if os.environ.setdefault(_HEADERS, "0") == "0" and hasattr(config, "cpp_cache_precompile_headers"):
        config.cpp_cache_precompile_headers = False
    if not os.environ.get(_VARIABLE):
        os.environ[_VARIABLE] = str(_own() or tempfile.mkdtemp(prefix="hpo-compiled-"))


def _own() -> Path | None:
    """A folder below the user's cache that nobody else can write to; None where there can be none."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpo" / "compiled"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = folder.stat()
    except (OSError, RuntimeError):
        return None
    return folder if kept.st_uid == os.getuid() and not kept.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None
