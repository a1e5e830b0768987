"""A row of a table as a network takes it: which of its numbers are quantities, and which are codes of categories."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from hpo.tasks.features import Feature


@dataclass(frozen=True)
class Row:
    """The places of a row's quantities and codes."""

    quantities: tuple[int, ...]
    codes: tuple[int, ...]
    categories: tuple[int, ...]
    """How many categories each of the codes has, beside 0."""

    @classmethod
    def of(cls, input_shape: tuple[int, ...], layout: Sequence[Feature]) -> Self:
        """Parts the numbers of a row.

        Args:
            input_shape: (numbers,).
            layout: what each number is; all are quantities where it is empty.

        Raises:
            ValueError: the inputs are no rows.
        """
        if len(input_shape) != 1:
            what = "images" if len(input_shape) == 3 else "series or sound"
            raise ValueError(f"it takes rows of a table, and these data are {what}; choose another model")
        features = layout or (Feature(""),) * input_shape[0]
        quantities = tuple(place for place, feature in enumerate(features) if not feature.categories)
        codes = tuple(place for place, feature in enumerate(features) if feature.categories)
        return cls(quantities, codes, tuple(features[place].categories for place in codes))


class Quantities(nn.Module):
    """The quantities of rows, `(n, quantities)`.

    Args:
        row: says where they are.
    """

    places: Tensor

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.register_buffer("places", torch.tensor(row.quantities, dtype=torch.int64), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Takes them from rows `(n, numbers)`."""
        return inputs.index_select(1, self.places)


class Codes(nn.Module):
    """An embedding for each category: what all of a column share, and what is its own.

    What is unknown, code 0, has the shared part alone, and so nearly has whom no training row knows. Few training rows
    have a code 0, so a share of the known ones is taken for unknown in training.

    Args:
        row: says where the codes are.
        width: numbers of an embedding.
        unknown: the share of codes that training takes for unknown ones.
        std: the standard deviation of fresh embeddings; 0 begins with zeros.

    Raises:
        ValueError: the width is below 1, or the share outside [0, 1).
    """

    places: Tensor
    most: Tensor
    first: Tensor

    def __init__(self, row: Row, width: int, unknown: float, std: float) -> None:
        super().__init__()
        if width < 1 or not 0 <= unknown < 1:
            raise ValueError(f"embeddings must have at least 1 number and unknown be in [0, 1), got {width}, {unknown}")
        sizes = torch.tensor([0, *(most + 1 for most in row.categories)], dtype=torch.int64)
        self.register_buffer("places", torch.tensor(row.codes, dtype=torch.int64), persistent=False)
        self.register_buffer("most", torch.tensor(row.categories, dtype=torch.int64), persistent=False)
        self.register_buffer("first", sizes.cumsum(0)[:-1], persistent=False)
        self.table = nn.Embedding(sum(most + 1 for most in row.categories), width)
        nn.init.normal_(self.table.weight, std=std)
        self._unknown = unknown

    def forward(self, inputs: Tensor) -> Tensor:
        """Embeddings `(n, codes, width)` of rows `(n, numbers)`."""
        codes = inputs.index_select(1, self.places).long()
        known = (codes > 0) & (codes <= self.most)
        if self.training and self._unknown:
            known = known & (torch.rand(codes.shape, device=codes.device) >= self._unknown)
        shared: Tensor = self.table(self.first)
        own: Tensor = self.table(codes * known + self.first)
        return shared + own * known[:, :, None]
