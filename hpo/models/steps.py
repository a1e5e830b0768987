"""The steps of texts, clips and series as vectors, and one vector of all: what all models of sequences share."""

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
        self.width = width
        """Numbers of a vector."""
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


class Attention(nn.Module):
    """The mean of steps weighted by what a small network says of each (Yang et al. 2016, equations 5 to 7).

    Args:
        width: numbers of a step, and of the hidden layer that scores it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.score = nn.Linear(width, width), nn.Linear(width, 1, bias=False)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """The weighted mean `(n, width)` of vectors `(n, steps, width)` where `mask` `(n, steps)` is true."""
        scores = self.score(self.hidden(vectors).tanh())[:, :, 0].float()
        shares = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=1) * mask
        pooled: Tensor = (vectors * shares.to(vectors.dtype)[:, :, None]).sum(dim=1)
        return pooled


class Pool(nn.Module):
    """One vector of all steps: their mean, their maximum, or a mean by attention.

    Args:
        pooling: `mean`, `max` or `attention`.
        width: numbers of a step.
    """

    def __init__(self, pooling: str, width: int) -> None:
        super().__init__()
        self.attention = Attention(width) if pooling == "attention" else None
        self._most = pooling == "max"

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """One vector `(n, width)` of vectors `(n, steps, width)` where `mask` `(n, steps)` is true; 0 of no step."""
        if self.attention is not None:
            pooled: Tensor = self.attention(vectors, mask)
            return pooled
        return most_over(vectors, mask) if self._most else mean_over(vectors, mask)


def check_pooling(pooling: str, known: tuple[str, ...]) -> None:
    """Refuses a pooling that a model has not.

    Raises:
        ValueError: it is none of the known ones.
    """
    if pooling not in known:
        raise ValueError(f"pooling must be {', '.join(known[:-1])} or {known[-1]}, got {pooling!r}")


def mean_over(vectors: Tensor, mask: Tensor) -> Tensor:
    """The mean `(n, width)` of vectors `(n, steps, width)` over the steps where `mask` `(n, steps)` is true."""
    weights = mask.to(vectors.dtype)[:, :, None]
    return (vectors * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


def most_over(vectors: Tensor, mask: Tensor) -> Tensor:
    """The maximum `(n, width)` of vectors `(n, steps, width)` over the steps where `mask` is true; 0 of no step."""
    least = torch.finfo(vectors.dtype).min
    most = vectors.masked_fill(~mask[:, :, None], least).amax(dim=1)
    return torch.where(mask.any(dim=1, keepdim=True), most, 0.0)
