"""What the CPU of this machine can do."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch

_KERNEL = Path("/proc/cpuinfo")
_TORCH_NAMES = {"avx512f": "avx512_f", "avx512vl": "avx512_vl"}
"""Linux's names -> torch's, where they differ."""


def capabilities() -> Mapping[str, object]:
    """Instruction sets by torch's names, such as `avx2`, and whether the CPU has them; one that is missing it has not.

    Linux says it where torch has no `get_capabilities` yet.
    """
    ask = getattr(torch.cpu, "get_capabilities", None)
    return ask() if ask is not None else _told_by_linux()


@lru_cache(maxsize=1)
def _told_by_linux() -> Mapping[str, object]:
    lines = _KERNEL.read_text().splitlines() if _KERNEL.exists() else []
    names = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return {_TORCH_NAMES.get(name, name): True for name in names}
