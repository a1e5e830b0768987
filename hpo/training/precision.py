"""The device and the precision of training: all that is particular to a kind of device."""

import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch

from hpo.errors import ResourceError
from hpo.files.torch_cache import keep_compiled_apart
from hpo.kernels.cpu import capabilities
from hpo.models.devices import ACCELERATORS, COUNTED, accelerator, has_float64

_GENERATOR = struct.Struct("=8xi4xQ")
"""The state of torch's generator on the host, a Mersenne twister: how many numbers are left, and where the next is."""
_DRAWN = 624
"""Numbers that the twister makes at once. torch checks neither count against the other, and would read past them."""


def choose_device(wanted: Literal["auto", "cpu", "cuda", "mps", "xpu"], float64: bool = False) -> torch.device:
    """The device for `training.device`; `auto` is the accelerator of this process where it has one.

    Args:
        wanted: the setting.
        float64: whether the inputs need it; `auto` is the CPU then where the accelerator has none.

    Raises:
        ResourceError: this process has no such accelerator, or it lacks the float64 that the inputs need.
    """
    found = accelerator()
    if wanted == "cpu" or (wanted == "auto" and (found is None or (float64 and not has_float64(found)))):
        return torch.device("cpu")
    if found is None or wanted not in ("auto", found.type):
        other = "no accelerator" if found is None else f"{found.type} alone"
        raise ResourceError(f"training.device is {wanted}, but torch sees {other} here; use auto or cpu")
    if float64 and not has_float64(found):
        raise ResourceError(
            f"training.device is {wanted}, which has no float64, and columns of these data would be blurred without;"
            " use cpu, or auto"
        )
    return found


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
        has = capabilities()
        return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    if device.type == "xpu":
        return bool(getattr(torch.xpu, "is_bf16_supported", bool)())  # which is not in every torch that will do
    return False


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device of its own memory; of the host's memory, where the data are already, infinity."""
    return float(torch.get_device_module(device).mem_get_info(device)[0]) if device.type in COUNTED else math.inf


def prediction_batch(device: torch.device) -> int:
    """Rows to predict at once: many where launching kernels costs time, few where what they make stays in the cache."""
    return 64 if device.type == "cpu" else 512


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of torch's global generators, of the host and of the device."""
    state: dict[str, Any] = {"random": torch.get_rng_state()}
    if device.type in ACCELERATORS:
        module = torch.get_device_module(device)
        drawn = module.get_rng_state(device) if device.type in COUNTED else module.get_rng_state()
        state |= {"device_random": drawn, "device": device.type}
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Takes them up again; a device of another kind than before draws on as it is.

    Raises:
        ValueError: the state is one that torch would read past its end.
    """
    torch.set_rng_state(checked_generator(state["random"]))
    if "device_random" not in state or state.get("device", "cuda") != device.type:
        return
    module, drawn = torch.get_device_module(device), state["device_random"].cpu()
    if device.type in COUNTED:
        module.set_rng_state(drawn, device)
    else:
        module.set_rng_state(drawn)


def checked_generator(state: torch.Tensor) -> torch.Tensor:
    """The state of a generator of the host's, on the host.

    Raises:
        ValueError: torch would read past its end, or it is none.
    """
    given = state.cpu()
    if given.dtype != torch.uint8 or given.shape != torch.get_rng_state().shape:
        raise ValueError("the random state is not one of torch's")
    left, drawn = _GENERATOR.unpack_from(given.numpy().tobytes())
    if left + drawn > _DRAWN + 1:
        raise ValueError(f"no random state of torch's has drawn {drawn} numbers and keeps {left} of {_DRAWN}")
    return given


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """While it lasts, torch computes the same bits again on the same machine, or says which operation cannot."""
    if not wanted:
        yield
        return
    keep_compiled_apart()  # torch's deterministic mode loads its compiler
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # a GPU's matrix products ask for it
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
