"""FT-Transformer (Gorishniy et al. 2021, Revisiting Deep Learning Models for Tabular Data)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.models.row import Codes, Quantities, Row
from hpo.tasks.features import Feature


class FeatureTokenizer(nn.Module):
    """A vector for each number of a row, and first of all [CLS], the same for all rows.

    A quantity is a vector of its own times its value, a category the embedding of its code; each has a bias.

    Args:
        row: says which numbers are codes.
        width: numbers of a vector.
        unknown: the share of categories that training takes for unknown ones.
    """

    def __init__(self, row: Row, width: int, unknown: float) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.quantities = Quantities(row)
        self.weight = nn.Parameter(torch.empty(len(row.quantities), width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(len(row.quantities) + len(row.codes), width).uniform_(-bound, bound))
        self.codes = Codes(row, width, unknown, std=bound) if row.codes else None
        self.cls = nn.Parameter(torch.empty(width).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Vectors `(n, 1 + numbers, width)` of rows `(n, numbers)`."""
        tokens = self.quantities(inputs)[:, :, None] * self.weight
        if self.codes is not None:
            tokens = torch.cat([tokens, self.codes(inputs)], dim=1)
        return torch.cat([self.cls.expand(inputs.shape[0], 1, -1), tokens + self.bias], dim=1)


class Block(nn.Module):
    """Attention and a feed-forward network with ReGLU, each behind a layer norm and beside a shortcut.

    Args:
        heads: of the attention.
        width: numbers of a vector, a multiple of the heads.
        hidden: units of the feed-forward network.
        normalized: whether the attention has its layer norm, which the first block's has not.
        attention_dropout: the share of attention that is left out in training.
        dropout: the share of the hidden units that is left out in training.
        residual_dropout: the share of what is added to the shortcut that is left out in training.
    """

    def __init__(
        self,
        heads: int,
        width: int,
        hidden: int,
        *,
        normalized: bool,
        attention_dropout: float,
        dropout: float,
        residual_dropout: float,
    ) -> None:
        super().__init__()
        self._heads, self._attention_dropout = heads, attention_dropout
        self.attention_norm = nn.LayerNorm(width) if normalized else nn.Identity()
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.merged = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.gated, self.back = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)
        self.dropout, self.residual_dropout = nn.Dropout(dropout), nn.Dropout(residual_dropout)

    def forward(self, tokens: Tensor, wanted: int | None = None) -> Tensor:
        """Vectors `(n, tokens, width)` of such, or of the first `wanted` of them alone."""
        normed = self.attention_norm(tokens)
        tokens = tokens[:, :wanted]
        query = self._parted(self.query(normed[:, :wanted]))
        key, value = (self._parted(part) for part in self.key_value(normed).chunk(2, dim=2))
        share = self._attention_dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(query, key, value, dropout_p=share)
        tokens = tokens + self.residual_dropout(self.merged(attended.transpose(1, 2).flatten(2)))
        values, gates = self.gated(self.norm(tokens)).chunk(2, dim=2)
        hidden = self.dropout(values * functional.relu(gates))
        outputs: Tensor = tokens + self.residual_dropout(self.back(hidden))
        return outputs

    def _parted(self, vectors: Tensor) -> Tensor:
        """Vectors `(n, tokens, width)` as the heads see them, `(n, heads, tokens, width / heads)`."""
        parted: Tensor = vectors.unflatten(2, (self._heads, -1)).transpose(1, 2)
        return parted


class FTTransformer(nn.Module):
    """A Transformer over the numbers of a row, of which the vector of [CLS] is read at the end.

    Args:
        tokenizer: makes vectors of the numbers.
        blocks: of which the last makes the vector of [CLS] alone.
        head: maps that vector to outputs.
    """

    def __init__(self, tokenizer: FeatureTokenizer, blocks: Sequence[Block], head: nn.Module) -> None:
        super().__init__()
        self.tokenizer, self.blocks, self.head = tokenizer, nn.ModuleList(blocks), head

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of rows `(n, numbers)`."""
        tokens = self.tokenizer(inputs)
        *first, last = self.blocks
        for block in first:
            tokens = block(tokens)
        outputs: Tensor = self.head(last(tokens, wanted=1)[:, 0])
        return outputs


def ft_transformer(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    layout: Sequence[Feature] = (),
    layers: int = 2,
    heads: int = 4,
    head_width: int = 8,
    expansion: float = 4 / 3,
    attention_dropout: float = 0.2,
    dropout: float = 0.1,
    residual_dropout: float = 0.0,
    unknown: float = 0.01,
) -> nn.Module:
    """A Transformer of `layers` blocks over the numbers of a row; a vector has `heads * head_width` numbers.

    Args:
        input_shape: (numbers,) of a row.
        outputs: how many numbers a row of the output has.
        layout: what the numbers of a row are; all quantities where it is empty.
        layers: blocks of attention and a feed-forward network.
        heads: of the attention.
        head_width: numbers of each head.
        expansion: hidden units of the feed-forward network for each number of a vector, above 0.
        attention_dropout: the share of attention that is left out in training, in [0, 1).
        dropout: the share of the feed-forward network's hidden units that is left out in training, in [0, 1).
        residual_dropout: the share of what a block adds that is left out in training, in [0, 1).
        unknown: the share of categories that training takes for unknown ones, so that these have an embedding.

    Raises:
        ValueError: a setting is out of its range, or the inputs are no rows.
    """
    if layers < 1 or heads < 1 or head_width < 1 or not expansion > 0:
        raise ValueError(
            "layers, heads and head_width must be at least 1 and expansion above 0, got"
            f" {layers}, {heads}, {head_width}, {expansion}"
        )
    shares = {"attention_dropout": attention_dropout, "dropout": dropout, "residual_dropout": residual_dropout}
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be in [0, 1), got {share}")
    row, width = Row.of(input_shape, layout), heads * head_width
    hidden = max(1, round(width * expansion))
    blocks = [Block(heads, width, hidden, normalized=number > 0, **shares) for number in range(layers)]
    head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs))
    return FTTransformer(FeatureTokenizer(row, width, unknown), blocks, head)
