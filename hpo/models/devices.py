"""The devices on which models run: a CPU, or the accelerator that torch has here."""

import torch
from torch import Tensor

ACCELERATORS = ("cuda", "mps", "xpu")
"""Kinds of accelerators that are used: GPUs of NVIDIA (and AMD, which torch calls so too), Apple and Intel."""
COUNTED = ("cuda", "xpu")
"""Kinds that Ray counts as GPUs and gives to trials."""


def accelerator() -> torch.device | None:
    """The accelerator of this process, as `torch.accelerator` says; None where there is none that is used."""
    if not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    return found if found is not None and found.type in ACCELERATORS else None


def predicting() -> torch.device:
    """Where models predict, if nobody says: on the accelerator, where that computes all that the CPU does."""
    found = accelerator()
    return found if found is not None and has_float64(found) else torch.device("cpu")


def release_memory() -> None:
    """Gives back what torch keeps of the accelerator's memory for later, so that other processes find it."""
    if (device := accelerator()) is not None:
        torch.get_device_module(device).empty_cache()


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; Apple's do not."""
    return device.type != "mps"


def exact(values: Tensor) -> Tensor:
    """The values where float64 is computed: on their device, or on the CPU."""
    return values if has_float64(values.device) else values.cpu()
