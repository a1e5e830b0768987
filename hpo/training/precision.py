"""The device and the precision of training."""

from typing import Literal

import torch

from hpo.errors import ResourceError


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device for `training.device`; `auto` is CUDA where this process sees a GPU.

    Raises:
        ResourceError: `cuda` is wanted, and this process sees no GPU.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ResourceError("training.device is cuda, but torch sees no GPU here; use auto or cpu")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def autocast(device: torch.device, precision: Literal["auto", "float32", "bfloat16"]) -> torch.autocast | None:
    """The autocast to train under, or None for float32; `auto` is bfloat16 where the device computes in it."""
    if precision == "float32" or (precision == "auto" and not computes_bfloat16(device)):
        return None
    return torch.autocast(device.type, dtype=torch.bfloat16)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic; where it is emulated it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False
