"""Recurrent networks over the steps of a text, a clip or a series, in one direction or both: LSTM and GRU."""

import torch
from torch import Tensor, nn

from hpo.models.steps import Pool, Steps, check_pooling

_POOLINGS = ("last", "mean", "max", "attention")


class Layer(nn.Module):
    """A layer of recurrent cells that reads each row from its beginning, and by other cells from its end, too.

    Args:
        forth: cells from `(n, steps, width)` to `(n, steps, units)`.
        back: those of the second direction; None where there is one direction.
    """

    def __init__(self, forth: nn.RNNBase, back: nn.RNNBase | None = None) -> None:
        super().__init__()
        self.forth, self.back = forth, back

    def forward(self, values: Tensor, ends: Tensor) -> list[Tensor]:
        """What each direction has read at each step, `(n, steps, units)`, of values whose last steps are `ends`."""
        read = [self.forth(values)[0]]
        if self.back is not None:
            read.append(_turned(self.back(_turned(values, ends))[0], ends))
        return read


class Recurrent(nn.Module):
    """Layers of recurrent cells; the second direction reads each row from its own end (Schuster and Paliwal 1997).

    Rows are turned round by their lengths, so that what pads a row is read after it in both directions, and no row
    depends on how long the others of its batch are.

    Args:
        steps: embeds each step.
        cells: of each layer one network of cells a direction, from `(n, steps, width)` to `(n, steps, units)`.
        pooling: how the steps become one vector: `last`, `mean`, `max` or `attention`.
        dropout: the share of numbers that is left out between layers and before the head.
        head: maps vectors `(n, directions * units)` to outputs.
    """

    def __init__(
        self, steps: Steps, cells: list[list[nn.RNNBase]], pooling: str, dropout: float, head: nn.Linear
    ) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(Layer(*directions) for directions in cells)
        self.pool = None if pooling == "last" else Pool(pooling, head.in_features)
        self.dropout = nn.Dropout(dropout)
        self.head = head

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of codes `(n, steps)` or numbers `(n, steps, channels)`."""
        ends = _ends(mask)
        values = self.steps(inputs)
        read: list[Tensor] = []
        for depth, layer in enumerate(self.layers):
            values = self.dropout(values) if depth else values  # the embedding has dropout of its own
            read = layer(values, ends)
            values = torch.cat(read, dim=2)
        pooled = _last(read, ends) if self.pool is None else self.pool(values, mask)
        outputs: Tensor = self.head(self.dropout(pooled))
        return outputs


def _ends(mask: Tensor) -> Tensor:
    """The place of the last step of each row where there is something, `(n,)`; 0 where there is none."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, places, 0).amax(dim=1)


def _turned(vectors: Tensor, ends: Tensor) -> Tensor:
    """Vectors `(n, steps, width)` from the end of each row to its beginning; what pads it stays behind."""
    places = torch.arange(vectors.shape[1], device=vectors.device)[None, :]
    back = ends[:, None] - places
    return _taken(vectors, torch.where(back < 0, places, back))


def _last(read: list[Tensor], ends: Tensor) -> Tensor:
    """What each direction has read at its own end, `(n, directions * units)`."""
    forward, *backward = read
    return torch.cat([_taken(forward, ends[:, None])[:, 0], *(vectors[:, 0] for vectors in backward)], dim=1)


def _taken(vectors: Tensor, places: Tensor) -> Tensor:
    """The vectors `(n, places, width)` at the places `(n, places)` of each row."""
    rows, steps, width = vectors.shape
    first = torch.arange(rows, device=vectors.device)[:, None] * steps
    taken = vectors.reshape(rows * steps, width).index_select(0, (first + places).flatten())
    return taken.view(rows, places.shape[1], width)


def lstm(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    vocabulary: int = 0,
    embedding: int = 64,
    layers: int = 1,
    width: int = 64,
    bidirectional: bool = True,
    pooling: str = "max",
    dropout: float = 0.3,
) -> nn.Module:
    """`layers` layers of `width` LSTM cells a direction (Hochreiter and Schmidhuber 1997) over embedded steps.

    Args:
        input_shape: (length,) of texts, (steps, channels) of sound and series.
        outputs: how many numbers a row of the output has.
        vocabulary: how many codes of tokens there are; 0 where the inputs are numbers.
        embedding: numbers for each step.
        layers: one above the other.
        width: cells of a layer in each direction.
        bidirectional: whether rows are read from their end, too.
        pooling: what the head is given: the `last` state of each direction, the `mean` or `max` over the steps, or a
            mean by `attention` (Yang et al. 2016).
        dropout: the share of numbers that is left out of embeddings, between layers and before the head, in [0, 1).

    Raises:
        ValueError: a setting is out of its range, or the inputs have no steps.
    """
    return _recurrent(
        nn.LSTM, Steps(input_shape, vocabulary, embedding, dropout), outputs, layers, width, bidirectional, pooling
    )


def gru(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    vocabulary: int = 0,
    embedding: int = 64,
    layers: int = 1,
    width: int = 64,
    bidirectional: bool = True,
    pooling: str = "max",
    dropout: float = 0.3,
) -> nn.Module:
    """`layers` layers of `width` gated recurrent units a direction (Cho et al. 2014) over embedded steps.

    Args:
        input_shape: (length,) of texts, (steps, channels) of sound and series.
        outputs: how many numbers a row of the output has.
        vocabulary: how many codes of tokens there are; 0 where the inputs are numbers.
        embedding: numbers for each step.
        layers: one above the other.
        width: units of a layer in each direction.
        bidirectional: whether rows are read from their end, too.
        pooling: what the head is given: the `last` state of each direction, the `mean` or `max` over the steps, or a
            mean by `attention` (Yang et al. 2016).
        dropout: the share of numbers that is left out of embeddings, between layers and before the head, in [0, 1).

    Raises:
        ValueError: a setting is out of its range, or the inputs have no steps.
    """
    return _recurrent(
        nn.GRU, Steps(input_shape, vocabulary, embedding, dropout), outputs, layers, width, bidirectional, pooling
    )


def _recurrent(
    cell: type[nn.LSTM] | type[nn.GRU],
    steps: Steps,
    outputs: int,
    layers: int,
    width: int,
    bidirectional: bool,
    pooling: str,
) -> Recurrent:
    if layers < 1 or width < 1:
        raise ValueError(f"layers and width must be at least 1, got {layers} and {width}")
    check_pooling(pooling, _POOLINGS)
    directions = 1 + bool(bidirectional)
    sizes = [steps.width] + [directions * width] * (layers - 1)
    cells: list[list[nn.RNNBase]] = [[cell(size, width, batch_first=True) for _ in range(directions)] for size in sizes]
    return Recurrent(steps, cells, pooling, steps.dropout.p, nn.Linear(directions * width, outputs))
