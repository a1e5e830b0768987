"""The steps of texts, clips and series as vectors, and means over them: what all models of sequences share."""

import torch
from torch import Tensor, nn


class Steps(nn.Module):
    """Each step as a vector: the embedding of its token, or a linear map of its numbers.

    Args:
        input_shape: (length,) of texts, (steps, channels) of sound and series.
        vocabulary: how many codes of tokens there are; 0 where the inputs are numbers.
        width: numbers of a vector.
        dropout: the share of a vector's numbers that is left out in training.

    Raises:
        ValueError: the inputs have no steps, the width is below 1, or dropout is outside [0, 1).
    """

    def __init__(self, input_shape: tuple[int, ...], vocabulary: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        if len(input_shape) != (1 if vocabulary else 2):
            what = "images" if len(input_shape) == 3 else "rows of a table"
            raise ValueError(
                f"it takes texts, sound or series, and these data are {what}; choose mlp, or another model"
            )
        if width < 1 or not 0 <= dropout < 1:
            raise ValueError(f"vectors must have at least 1 number and dropout be in [0, 1), got {width}, {dropout}")
        self.map = nn.Embedding(vocabulary, width, padding_idx=0) if vocabulary else nn.Linear(input_shape[1], width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Vectors `(n, steps, width)` of codes `(n, steps)` or numbers `(n, steps, channels)`."""
        vectors: Tensor = self.dropout(self.map(inputs))
        return vectors


def mean_over(vectors: Tensor, mask: Tensor) -> Tensor:
    """The mean `(n, width)` of vectors `(n, steps, width)` over the steps where `mask` `(n, steps)` is true."""
    weights = mask.to(vectors.dtype)[:, :, None]
    return (vectors * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


def most_over(vectors: Tensor, mask: Tensor) -> Tensor:
    """The maximum `(n, width)` of vectors `(n, steps, width)` over the steps where `mask` `(n, steps)` is true."""
    least = torch.finfo(vectors.dtype).min
    return vectors.masked_fill(~mask[:, :, None], least).amax(dim=1)
