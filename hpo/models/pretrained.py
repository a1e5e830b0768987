"""Weights of a file, laid into a network: what fits by name and shape is taken, and everything else is told."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpo.files.pretrained import Pretrained

_Tensors = Mapping[str, NDArray[np.generic]]
_PREFIXES = ("module.", "model.", "network.")
"""What wrappers put before names: `nn.DataParallel`, training scripts, and a trial's checkpoint."""
_OWN = ("standardize.", "rescale.")
"""What a trial's checkpoint has beside the weights of its network."""
_COUNTERS = "num_batches_tracked"
"""Older files have none of these, and nothing is computed with them."""
_SHOWN = 4


@dataclass(frozen=True)
class Match:
    """How the names of a file and of a network agree; batch counters of normalization are left out."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """Tensors of the network that the file lacks."""
    reshaped: tuple[str, ...]
    """Tensors that are in both, with different shapes."""
    unused: tuple[str, ...]
    """Tensors of the file that the network lacks."""

    def told(self, file: str) -> str:
        """The match as a sentence, for a file of this name."""
        count = len(self.loaded) + len(self.missing) + len(self.reshaped)
        parts = [f"loaded {len(self.loaded)} of {count} tensors from '{file}'"]
        for what, names in (
            ("other shape, so they begin anew", self.reshaped),
            ("not in the file, so they begin anew", self.missing),
            ("in the file alone", self.unused),
        ):
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                parts.append(f"{what}: {', '.join(names[:_SHOWN])}{more}")
        return "; ".join(parts)


def match(network: nn.Module, pretrained: Pretrained) -> Match:
    """Compares names and shapes, without and with the prefixes that wrappers add, and takes what fits best.

    Raises:
        ValueError: nothing fits.
    """
    return _best(network, pretrained)[0]


def begin_from(network: nn.Module, pretrained: Pretrained) -> None:
    """Lays the weights that fit into a network, in place.

    Raises:
        ValueError: nothing fits.
    """
    found, tensors = _best(network, pretrained)
    counters = [name for name in tensors if name.endswith(_COUNTERS) and name in network.state_dict()]
    network.load_state_dict(
        {name: torch.from_numpy(np.array(tensors[name])) for name in (*found.loaded, *counters)}, strict=False
    )


def _best(network: nn.Module, pretrained: Pretrained) -> tuple[Match, _Tensors]:
    own = {name: tuple(value.shape) for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    compared = [(_compared(own, tensors), tensors) for tensors in _stripped(pretrained.tensors)]
    best, tensors = max(compared, key=lambda pair: len(pair[0].loaded))
    if not best.loaded:
        names = ", ".join(list(pretrained.tensors)[:2])
        raise ValueError(
            f"nothing in '{pretrained.name}' fits: it has {names}, ..., and the network {', '.join(list(own)[:2])}, ..."
        )
    return best, tensors


def _stripped(tensors: _Tensors) -> Iterator[_Tensors]:
    """The tensors by the names that they have, and by those that are left without each prefix that all of them have."""
    yield tensors
    while True:
        kept = {name: value for name, value in tensors.items() if not name.startswith(_OWN)}
        prefix = next((one for one in _PREFIXES if kept and all(name.startswith(one) for name in kept)), None)
        if prefix is None:
            return
        tensors = {name.removeprefix(prefix): value for name, value in kept.items()}
        yield tensors


def _compared(own: Mapping[str, Sequence[int]], tensors: _Tensors) -> Match:
    names = [name for name in own if not name.endswith(_COUNTERS)]
    both = [name for name in names if name in tensors]
    return Match(
        loaded=tuple(name for name in both if tensors[name].shape == own[name]),
        missing=tuple(name for name in names if name not in tensors),
        reshaped=tuple(name for name in both if tensors[name].shape != own[name]),
        unused=tuple(name for name in tensors if name not in own and not name.endswith(_COUNTERS)),
    )
