"""A multilayer perceptron over a row of a table, with embeddings of categories, and of numbers where that is wanted."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hpo.models.mlp import mlp
from hpo.models.number_embeddings import NumberEmbedding, Periodic, PiecewiseLinear
from hpo.models.row import Codes, Quantities, Row
from hpo.tasks.features import Feature

NUMBERS = ("plain", "piecewise", "periodic")
"""How quantities are given to the perceptron."""


class TabularMLP(nn.Module):
    """What is made of the parts of a row, side by side, before a perceptron.

    Args:
        parts: each maps rows `(n, numbers)` to `(n, ...)`.
        head: maps all of that as one vector to outputs.
    """

    def __init__(self, parts: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.parts, self.head = nn.ModuleList(parts), head

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of rows `(n, numbers)`."""
        outputs: Tensor = self.head(torch.cat([part(inputs).flatten(1) for part in self.parts], dim=1))
        return outputs


def tabular_mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    layout: Sequence[Feature] = (),
    layers: int = 2,
    width: int = 256,
    dropout: float = 0.1,
    embedding: int = 8,
    numbers: str = "plain",
    number_width: int = 8,
    pieces: int = 16,
    sigma: float = 0.1,
    unknown: float = 0.01,
) -> nn.Module:
    """`layers` hidden layers of `width` units over embeddings of categories and numbers.

    Args:
        input_shape: (numbers,) of a row.
        outputs: how many numbers a row of the output has.
        layout: what the numbers of a row are; all quantities where it is empty.
        layers: hidden layers, each with batch norm, ReLU and dropout.
        width: units of each.
        dropout: the share of units that is left out in training, in [0, 1).
        embedding: numbers of the embedding of a category.
        numbers: `plain` as they are, `piecewise` or `periodic` as embeddings (Gorishniy et al. 2022).
        number_width: numbers of the embedding of a quantity.
        pieces: pieces of each quantity, or frequencies where they are periodic.
        sigma: the standard deviation of the first frequencies.
        unknown: the share of categories that training takes for unknown ones, so that these have an embedding.

    Raises:
        ValueError: a setting is out of its range, or the inputs are no rows.
    """
    if numbers not in NUMBERS:
        raise ValueError(f"numbers must be one of {', '.join(NUMBERS)}, got {numbers!r}")
    if number_width < 1 or pieces < 1 or not sigma > 0:
        raise ValueError(
            f"number_width and pieces must be at least 1 and sigma above 0, got {number_width}, {pieces}, {sigma}"
        )
    row = Row.of(input_shape, layout)
    parts: list[nn.Module] = []
    size = 0
    if row.quantities and numbers == "plain":
        parts, size = [Quantities(row)], len(row.quantities)
    elif row.quantities:
        encoding = PiecewiseLinear(row, pieces) if numbers == "piecewise" else Periodic(row, pieces, sigma)
        parts, size = [NumberEmbedding(row, encoding, number_width)], len(row.quantities) * number_width
    if row.codes:
        parts.append(Codes(row, embedding, unknown, std=1.0))
        size += len(row.codes) * embedding
    return TabularMLP(parts, mlp((size,), outputs, layers=layers, width=width, dropout=dropout))
