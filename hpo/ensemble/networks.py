"""The members' networks; those of one architecture run as one call, their weights stacked (torch.func).

Stacking saves the overhead of a call for every member. On a GPU a small network is little else, so it is always done
there. On a CPU it pays for many members and few rows alone: 20 perceptrons of two layers of 64 units take half the time
for 1 to 64 rows, 8 four fifths, 5 a sixth more; for 512 rows none is faster. Convolutions, which become grouped ones,
take two to three times as long.
"""

import threading
import warnings
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

_CPU_MEMBERS, _CPU_ROWS = 8, 64
"""On a CPU stacking pays from so many members and up to so many rows."""
_TOLERANCE = 1e-2
"""Stacked outputs may differ by this share of the largest one (TF32 on GPUs) before they are held to be wrong."""


class Networks:
    """Runs networks side by side.

    Args:
        networks: in eval mode, on one device.
        architectures: of each network; those with equal ones differ in their weights alone.
    """

    def __init__(self, networks: Sequence[nn.Module], architectures: Sequence[Hashable]) -> None:
        places: dict[Hashable, list[int]] = {}
        for place, architecture in enumerate(architectures):
            places.setdefault(architecture, []).append(place)
        self._groups = [_Group([networks[place] for place in group]) for group in places.values()]
        order = [place for group in places.values() for place in group]
        self._back = torch.tensor(order).argsort().tolist()

    def __call__(self, inputs: Tensor) -> Tensor:
        """The networks' outputs `(networks, n, outputs)` for inputs `(n, ...)` on their device."""
        outputs = [row for group in self._groups for row in group(inputs)]
        return torch.stack([outputs[place] for place in self._back])


class _Group:
    """Networks of one architecture."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._networks = networks
        self._stacked: Stacked | None = None
        self._tried = len(networks) == 1
        self._convolves = any(parameter.ndim > 2 for parameter in networks[0].parameters())

    def __call__(self, inputs: Tensor) -> Sequence[Tensor]:
        if not self._pays(inputs):
            return self._one_by_one(inputs)
        if not self._tried:
            self._stacked, self._tried = self._try(inputs), True
        return self._one_by_one(inputs) if self._stacked is None else self._stacked(inputs).unbind()

    def _one_by_one(self, inputs: Tensor) -> list[Tensor]:
        return [network(inputs) for network in self._networks]

    def _pays(self, inputs: Tensor) -> bool:
        if inputs.device.type != "cpu":
            return True
        return len(self._networks) >= _CPU_MEMBERS and len(inputs) <= _CPU_ROWS and not self._convolves

    def _try(self, inputs: Tensor) -> "Stacked | None":
        """The stacked call, where it can be made and agrees with the networks."""
        try:
            stacked = Stacked(self._networks)
            found, expected = stacked(inputs), torch.stack(self._one_by_one(inputs))
        except Exception:  # random or in-place operations, a branch on values: a user's module may do anything
            return None
        close = (found - expected).abs().max() <= _TOLERANCE * expected.abs().max() if len(inputs) else False
        return stacked if close else None


class Stacked:
    """Networks of one architecture as one vectorised call.

    Args:
        networks: in eval mode; they differ in parameters and buffers alone.

    Raises:
        RuntimeError: when it is made or called, where a network does what cannot be vectorised.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._state = stack_module_state(list(networks))
        self._network = networks[0]
        self._lock = threading.Lock()  # a functional call swaps the network's weights for a while

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs `(networks, n, outputs)` of inputs `(n, ...)`."""

        def one(state: tuple[dict[str, Tensor], dict[str, Tensor]]) -> Tensor:
            output: Tensor = functional_call(self._network, state, (inputs,))
            return output

        with self._lock, warnings.catch_warnings():  # torch tells of operations that it does one by one
            warnings.simplefilter("ignore", UserWarning)
            stacked: Tensor = vmap(one)(self._state)
        return stacked
