"""Models on their device, in the memory layout in which convolutions are fast where the network takes that.

Many a network calls `view` after a convolution, which images in channels_last do not allow, or cannot take a single
row. What a network wants is found out by passes over rows of zeros, so that it is the same in every process.
"""

from typing import TypeVar, cast

import torch
from torch import Tensor

from hpo.models.mean import Mean
from hpo.models.standardize import Standardized, in_order

_LAST = torch.channels_last


Model = TypeVar("Model", Standardized, Mean, Standardized | Mean)


def place(model: Model, device: torch.device) -> Model:
    """Moves a model to a device, in place, and finds out how its network takes its inputs there.

    A network that takes them in no way is left as it is; what it raises is told when it is used.
    """
    if isinstance(model, Mean):
        for copy in model.copies:
            place(cast(Standardized, copy), device)
        return model
    model.to(device)
    _lay(model, contiguous=False)
    if model.foreign:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # a network may draw numbers
            _suit(model, device)
    return model


def _suit(model: Standardized, device: torch.device) -> None:
    was = [(module, module.training) for module in model.modules()]
    model.eval()
    rows = model.blank(2).to(device)
    if rows.ndim == 4 and not _takes(model, rows):
        _lay(model, contiguous=True)
        if not _takes(model, rows):
            _lay(model, contiguous=False)
    if not _takes(model, rows[:1]):
        model.twice = True
        model.twice = _takes(model, rows[:1])
    for module, training in was:
        module.training = training


def _lay(model: Standardized, contiguous: bool) -> None:
    """Lays out the weights of convolutions, and the images that come to the network, in one order."""
    model.contiguous = contiguous
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = in_order(tensor.data) if contiguous else tensor.data.contiguous(memory_format=_LAST)


@torch.no_grad()
def _takes(model: Standardized, rows: Tensor) -> bool:
    if rows.ndim == 4:
        rows = rows.contiguous(memory_format=_LAST)  # as they come from batches
    try:
        model(rows)
    except Exception:  # a user's network may raise anything
        return False
    return True
