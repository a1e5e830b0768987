"""Embeddings of quantities: piecewise linear and periodic.

Gorishniy et al. 2022, On Embeddings for Numerical Features in Tabular Deep Learning.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from hpo.models.row import Quantities, Row


class PiecewiseLinear(nn.Module):
    """How much of each of its pieces a quantity has passed (equation 1): 1 of those below it, 0 of those above.

    The pieces hold as many training rows each; beyond the outer ones the line goes on. Until `fit` has seen rows they
    are those of a normal distribution.

    Args:
        row: says where the quantities are.
        pieces: how many, 1 or more.
    """

    edges: Tensor

    def __init__(self, row: Row, pieces: int) -> None:
        super().__init__()
        self.quantities, self.width = Quantities(row), pieces
        inner = Normal(0.0, 1.0).icdf(torch.arange(1, pieces) / pieces)
        edges = torch.cat([torch.tensor([-3.0]), inner, torch.tensor([3.0])])
        self.register_buffer("edges", edges.repeat(len(row.quantities), 1))

    def fit(self, inputs: Tensor) -> None:
        """Takes the pieces from rows `(n, numbers)`; where values are often equal there are fewer, the last ones empty.

        Args:
            inputs: as the network is given them.
        """
        shares = np.linspace(0, 1, self.width + 1)
        for place, values in enumerate(self.quantities(inputs).cpu().numpy().T):
            found = np.unique(np.quantile(values, shares))
            found = np.append(found, found[-1] + 1) if len(found) == 1 else found
            padded = np.append(found, np.full(self.width + 1 - len(found), found[-1]))
            self.edges[place] = torch.as_tensor(padded)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shares `(n, quantities, pieces)` of rows `(n, numbers)`."""
        left, size = self.edges[:, :-1], self.edges.diff(dim=1)
        there = size > 0
        passed = (self.quantities(inputs)[:, :, None] - left) / torch.where(there, size, 1)
        last = there & ~functional.pad(there[:, 1:], (0, 1))
        least = torch.where(torch.arange(self.width, device=there.device) == 0, -torch.inf, 0.0)
        return torch.where(there, passed.maximum(least).minimum(torch.where(last, torch.inf, 1.0)), 0)


class Periodic(nn.Module):
    """Sines and cosines of quantities, whose frequencies are learned (equation 3).

    Args:
        row: says where the quantities are.
        frequencies: of each quantity, 1 or more.
        sigma: the standard deviation of which the first frequencies are drawn, above 0.
    """

    def __init__(self, row: Row, frequencies: int, sigma: float) -> None:
        super().__init__()
        self.quantities, self.width = Quantities(row), 2 * frequencies
        self.frequencies = nn.Parameter(torch.randn(len(row.quantities), frequencies) * sigma)

    def forward(self, inputs: Tensor) -> Tensor:
        """Waves `(n, quantities, 2 * frequencies)` of rows `(n, numbers)`."""
        angles = 2 * math.pi * self.frequencies * self.quantities(inputs)[:, :, None]
        return torch.cat([angles.sin(), angles.cos()], dim=2)


class NumberEmbedding(nn.Module):
    """An embedding for each quantity: a linear map of its own behind an encoding, and ReLU.

    Args:
        row: says where the quantities are.
        encoding: of each quantity as `encoding.width` numbers.
        width: numbers of an embedding.
    """

    def __init__(self, row: Row, encoding: PiecewiseLinear | Periodic, width: int) -> None:
        super().__init__()
        self.encoding = encoding
        bound = 1 / math.sqrt(encoding.width)
        self.weight = nn.Parameter(torch.empty(len(row.quantities), encoding.width, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(len(row.quantities), width).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Embeddings `(n, quantities, width)` of rows `(n, numbers)`."""
        return functional.relu(torch.einsum("nqe,qew->nqw", self.encoding(inputs), self.weight) + self.bias)
