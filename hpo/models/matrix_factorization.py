"""Matrix factorization with biases, for ratings of items by users (Koren, Bell & Volinsky 2009)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hpo.models.row import Codes, Row
from hpo.tasks.features import Feature

FACTOR_STD = 0.1
"""The standard deviation of fresh factors: an entity without training rows hardly differs from the mean."""


def users_and_items(input_shape: tuple[int, ...], layout: Sequence[Feature]) -> Row:
    """A row of a user and an item.

    Raises:
        ValueError: the rows of these data are none.
    """
    row = Row.of(input_shape, layout)
    entities = [feature.name for feature in layout if feature.embedded]
    others = [feature.name for feature in layout if not feature.embedded]
    if len(entities) != 2:
        found = f"those of {', '.join(map(repr, entities))}" if entities else "none"
        raise ValueError(
            "it takes two columns of entities, the users and the items (`data.columns: {USER: entity, ITEM: entity}`),"
            f" and these data have {found}"
        )
    if others:
        raise ValueError(
            f"it takes two columns of entities alone, and these data have {others[0]!r} beside them; leave it out"
            " (`data.columns`: ignore), or choose tabular_mlp or ft_transformer"
        )
    return row


class Biases(nn.Module):
    """The mean of all, and how far each user and each item is from it.

    Args:
        row: of a user and an item.
        outputs: how many numbers are predicted.
        unknown: the share of entities that training takes for unknown ones.
    """

    def __init__(self, row: Row, outputs: int, unknown: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(outputs))
        self.entities = Codes(row, outputs, unknown, std=0.0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of rows `(n, 2)`."""
        outputs: Tensor = self.mean + self.entities(inputs).sum(dim=1)
        return outputs


class MatrixFactorization(nn.Module):
    """The mean, the biases of a user and an item, and the product of their factors.

    Args:
        row: of a user and an item.
        outputs: how many numbers are predicted; an item has factors for each.
        factors: how many.
        dropout: the share of products that is left out in training.
        unknown: the share of entities that training takes for unknown ones.
    """

    def __init__(self, row: Row, outputs: int, factors: int, dropout: float, unknown: float) -> None:
        super().__init__()
        self.biases = Biases(row, outputs, unknown)
        users, items = (Row((), (row.codes[place],), (row.categories[place],)) for place in (0, 1))
        self.users = Codes(users, factors, unknown, FACTOR_STD)
        self.items = Codes(items, factors * outputs, unknown, FACTOR_STD)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of rows `(n, 2)`."""
        users = self.users(inputs)
        products = self.dropout(users * self.items(inputs).unflatten(2, (-1, users.shape[2])).squeeze(1))
        outputs: Tensor = self.biases(inputs) + products.sum(dim=2)
        return outputs


def matrix_factorization(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    layout: Sequence[Feature] = (),
    factors: int = 32,
    dropout: float = 0.0,
    unknown: float = 0.01,
) -> nn.Module:
    """The mean + the bias of the user + that of the item + the product of their `factors`.

    Args:
        input_shape: (2,), of a user and an item.
        outputs: how many numbers a row of the output has.
        layout: says which columns are of entities: the users and the items, in whatever order.
        factors: numbers of each user and of each item, 1 or more.
        dropout: the share of products of factors that is left out in training, in [0, 1).
        unknown: the share of users and of items that training takes for unknown ones, in [0, 1).

    Raises:
        ValueError: a setting is out of its range, or the rows are not of two entities.
    """
    if factors < 1 or not 0 <= dropout < 1:
        raise ValueError(f"factors must be at least 1 and dropout in [0, 1), got {factors}, {dropout}")
    return MatrixFactorization(users_and_items(input_shape, layout), outputs, factors, dropout, unknown)
