"""A Transformer encoder over the steps of a text, a clip or a series."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.models.steps import Pool, Steps, check_pooling

_POOLINGS = ("mean", "max", "attention", "class")
_LONGEST_WAVE = 10_000.0
"""The longest wave of sinusoidal positions, over 2 pi (Vaswani et al. 2017, section 3.5)."""


class Positions(nn.Module):
    """The place of each step, added to its vector: sines and cosines, or vectors that are learned.

    Args:
        learned: whether they are learned.
        steps: the most there are, for learned ones.
        width: numbers of a vector, an even number.
    """

    waves: Tensor

    def __init__(self, learned: bool, steps: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(0.5 * torch.randn(steps, width)) if learned else None  # as large as sines
        halves = torch.arange(0, width, 2) / width
        self.register_buffer("waves", torch.exp(-math.log(_LONGEST_WAVE) * halves), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors `(n, steps, width)` that say where they are."""
        if self.vectors is not None:
            return vectors + self.vectors[: vectors.shape[1]]
        angles = torch.arange(vectors.shape[1], device=vectors.device)[:, None] * self.waves
        return vectors + torch.cat([angles.sin(), angles.cos()], dim=1).to(vectors.dtype)


class Block(nn.Module):
    """Attention of all steps to all others, and a perceptron for each, both after a normalization (Xiong et al. 2020).

    Args:
        heads: of the attention.
        head_width: numbers of each head; `heads * head_width` is the width of a vector.
        feedforward: how many times as wide the perceptron is.
        dropout: the share of numbers that is left out.
    """

    def __init__(self, heads: int, head_width: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        width = heads * head_width
        self._heads = heads
        self.before_attention, self.before_feedforward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked, self.said = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(feedforward * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor, seen: Tensor) -> Tensor:
        """Vectors of the same shape `(n, steps, width)`; attention is paid to steps that are `seen`, `(n, steps)`."""
        vectors = vectors + self.dropout(self._attended(self.before_attention(vectors), seen))
        found: Tensor = self.feedforward(self.before_feedforward(vectors))
        whole: Tensor = vectors + self.dropout(found)
        return whole

    def _attended(self, vectors: Tensor, seen: Tensor) -> Tensor:
        rows, steps, width = vectors.shape
        asked = self.asked(vectors).view(rows, steps, 3, self._heads, width // self._heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None, :])
        said: Tensor = self.said(mixed.transpose(1, 2).reshape(rows, steps, width))
        return said


class Transformer(nn.Module):
    """Blocks of a Transformer's encoder, and one vector of all steps for the head.

    Args:
        steps: embeds each step.
        positions: says where each step is.
        blocks: one behind the other.
        pooling: `mean`, `max`, `attention`, or `class`: a vector of its own before the first step, which is learned.
        outputs: how many numbers a row of the output has.
    """

    def __init__(self, steps: Steps, positions: Positions, blocks: list[Block], pooling: str, outputs: int) -> None:
        super().__init__()
        self.steps, self.positions, self.blocks = steps, positions, nn.ModuleList(blocks)
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, steps.width)) if pooling == "class" else None
        self.pool = None if pooling == "class" else Pool(pooling, steps.width)
        self.norm, self.head = nn.LayerNorm(steps.width), nn.Linear(steps.width, outputs)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of codes `(n, steps)` or numbers `(n, steps, channels)`."""
        vectors = self.positions(self.steps(inputs))
        if self.first is None:
            seen = mask | ~mask.any(dim=1, keepdim=True)  # attention to nothing would be NaN
        else:
            first = self.first.to(vectors.dtype).expand(vectors.shape[0], -1, -1)
            vectors = torch.cat([first, vectors], dim=1)
            seen = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        for block in self.blocks:
            vectors = block(vectors, seen)
        vectors = self.norm(vectors)
        pooled = vectors[:, 0] if self.pool is None else self.pool(vectors, mask)
        outputs: Tensor = self.head(pooled)
        return outputs


def transformer(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    vocabulary: int = 0,
    layers: int = 2,
    heads: int = 4,
    head_width: int = 16,
    feedforward: int = 2,
    positions: str = "sinusoidal",
    pooling: str = "mean",
    dropout: float = 0.2,
) -> nn.Module:
    """`layers` blocks of an encoder (Vaswani et al. 2017) over embedded steps, with normalization first.

    Args:
        input_shape: (length,) of texts, (steps, channels) of sound and series.
        outputs: how many numbers a row of the output has.
        vocabulary: how many codes of tokens there are; 0 where the inputs are numbers.
        layers: blocks, one behind the other.
        heads: of the attention in each.
        head_width: numbers of a head, an even number; a step has `heads * head_width`.
        feedforward: how many times as wide the perceptron of a block is.
        positions: `sinusoidal` or `learned`.
        pooling: `mean` or `max` over the steps, a mean by `attention`, or `class`, a learned vector before the first
            step of which the head is given what becomes of it (Devlin et al. 2019).
        dropout: the share of numbers that is left out, in [0, 1).

    Raises:
        ValueError: a setting is out of its range, or the inputs have no steps.
    """
    if min(layers, heads, head_width, feedforward) < 1 or head_width % 2:
        raise ValueError(
            "layers, heads and feedforward must be at least 1 and head_width an even number,"
            f" got {layers}, {heads}, {feedforward} and {head_width}"
        )
    if positions not in ("sinusoidal", "learned"):
        raise ValueError(f"positions must be sinusoidal or learned, got {positions!r}")
    check_pooling(pooling, _POOLINGS)
    width = heads * head_width
    steps = Steps(input_shape, vocabulary, width, dropout)
    blocks = [Block(heads, head_width, feedforward, dropout) for _ in range(layers)]
    placed = Positions(positions == "learned", input_shape[0], width)
    return Transformer(steps, placed, blocks, pooling, outputs)
