"""Neural collaborative filtering: GMF, MLP, and NeuMF, which is both (He et al. 2017)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hpo.models.matrix_factorization import FACTOR_STD, Biases, users_and_items
from hpo.models.row import Codes, Row
from hpo.tasks.features import Feature

PARTS = {"gmf": ("gmf",), "mlp": ("mlp",), "neumf": ("gmf", "mlp")}
"""Value of `parts` -> the parts of the network."""


class Products(nn.Module):
    """Generalized matrix factorization: the products of a user's factors with an item's, one by one.

    Args:
        row: of a user and an item.
        factors: how many.
        unknown: the share of entities that training takes for unknown ones.
    """

    def __init__(self, row: Row, factors: int, unknown: float) -> None:
        super().__init__()
        self.entities, self.width = Codes(row, factors, unknown, FACTOR_STD), factors

    def forward(self, inputs: Tensor) -> Tensor:
        """Products `(n, factors)` of rows `(n, 2)`."""
        factors = self.entities(inputs)
        products: Tensor = factors[:, 0] * factors[:, 1]
        return products


class Tower(nn.Module):
    """A perceptron over the embeddings of a user and an item, each layer half as wide as the one before.

    Args:
        row: of a user and an item.
        factors: units of the last layer.
        layers: how many.
        dropout: the share of units that is left out in training.
        unknown: the share of entities that training takes for unknown ones.
    """

    def __init__(self, row: Row, factors: int, layers: int, dropout: float, unknown: float) -> None:
        super().__init__()
        sizes = [factors * 2**place for place in range(layers, -1, -1)]
        self.entities, self.width = Codes(row, sizes[0] // 2, unknown, FACTOR_STD), factors
        steps: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            steps += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(dropout)]
        self.steps = nn.Sequential(*steps)

    def forward(self, inputs: Tensor) -> Tensor:
        """Units `(n, factors)` of rows `(n, 2)`."""
        units: Tensor = self.steps(self.entities(inputs).flatten(1))
        return units


class NeuMF(nn.Module):
    """The parts side by side, a linear map of them, and the biases where they are wanted.

    Args:
        parts: each maps rows `(n, 2)` to `(n, part.width)`.
        outputs: how many numbers are predicted.
        biases: of users and items, which are added.
    """

    def __init__(self, parts: Sequence[Products | Tower], outputs: int, biases: Biases | None) -> None:
        super().__init__()
        self.parts, self.biases = nn.ModuleList(parts), biases
        self.head = nn.Linear(sum(part.width for part in parts), outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of rows `(n, 2)`."""
        outputs: Tensor = self.head(torch.cat([part(inputs) for part in self.parts], dim=1))
        return outputs if self.biases is None else outputs + self.biases(inputs)


def neumf(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    layout: Sequence[Feature] = (),
    parts: str = "neumf",
    factors: int = 16,
    layers: int = 2,
    dropout: float = 0.0,
    biases: bool = True,
    unknown: float = 0.01,
) -> nn.Module:
    """Products of factors, a perceptron over embeddings, or both, with a linear map of them at the end.

    Args:
        input_shape: (2,), of a user and an item.
        outputs: how many numbers a row of the output has.
        layout: says which columns are of entities: the users and the items, in whatever order.
        parts: `gmf` the products alone, `mlp` the perceptron alone, `neumf` both, with embeddings of their own.
        factors: numbers that each part ends in, 1 or more.
        layers: of the perceptron, 1 or more; the first is the widest, and each has half of the units of the one before.
        dropout: the share of the perceptron's units that is left out in training, in [0, 1).
        biases: whether the bias of the user and that of the item are added, as ratings need them; the paper has none.
        unknown: the share of users and of items that training takes for unknown ones, in [0, 1).

    Raises:
        ValueError: a setting is out of its range, or the rows are not of two entities.
    """
    if parts not in PARTS:
        raise ValueError(f"parts must be one of {', '.join(PARTS)}, got {parts!r}")
    if factors < 1 or not 1 <= layers <= 8 or not 0 <= dropout < 1:
        raise ValueError(
            f"factors must be at least 1, layers 1 to 8 and dropout in [0, 1), got {factors}, {layers}, {dropout}"
        )
    row = users_and_items(input_shape, layout)
    made: list[Products | Tower] = []
    if "gmf" in PARTS[parts]:
        made.append(Products(row, factors, unknown))
    if "mlp" in PARTS[parts]:
        made.append(Tower(row, factors, layers, dropout, unknown))
    return NeuMF(made, outputs, Biases(row, outputs, unknown) if biases else None)
