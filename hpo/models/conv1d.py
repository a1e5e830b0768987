"""One-dimensional convolutions along the steps of a text, a clip or a series."""

from torch import Tensor, nn

from hpo.models.steps import Pool, Steps, check_pooling

_POOLINGS = ("mean", "max", "attention")


class Convolved(nn.Module):
    """Steps with what a convolution finds around each added to them: `x + dropout(relu(conv(norm(x))))`.

    The normalization is of each step by itself (Ba et al. 2016), so that no row depends on the others of its batch.

    Args:
        width: numbers of a step.
        kernel: steps that are looked at, an odd number.
        dilation: from one of them to the next.
        dropout: the share of numbers that is left out.
    """

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2 * dilation, dilation=dilation)
        self.activation = nn.Sequential(nn.ReLU(), nn.Dropout(dropout))

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Vectors of the same shape `(n, steps, width)`; where `mask` `(n, steps)` is false there is nothing to see."""
        seen = (self.norm(vectors) * mask[:, :, None]).transpose(1, 2)
        found: Tensor = self.activation(self.convolution(seen)).transpose(1, 2)
        return vectors + found


class Conv1d(nn.Module):
    """Convolutions one behind the other, and one vector of all steps for the head.

    Args:
        steps: embeds each step.
        layers: of convolutions.
        pooling: `mean`, `max` or `attention`.
        outputs: how many numbers a row of the output has.
    """

    def __init__(self, steps: Steps, layers: list[Convolved], pooling: str, outputs: int) -> None:
        super().__init__()
        self.steps, self.layers = steps, nn.ModuleList(layers)
        self.norm = nn.LayerNorm(steps.width)
        self.pool = Pool(pooling, steps.width)
        self.head = nn.Sequential(nn.Dropout(steps.dropout.p), nn.Linear(steps.width, outputs))

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Outputs `(n, outputs)` of codes `(n, steps)` or numbers `(n, steps, channels)`."""
        vectors = self.steps(inputs)
        for layer in self.layers:
            vectors = layer(vectors, mask)
        outputs: Tensor = self.head(self.pool(self.norm(vectors), mask))
        return outputs


def conv1d(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    vocabulary: int = 0,
    layers: int = 2,
    width: int = 64,
    kernel: int = 5,
    dilation: int = 1,
    pooling: str = "max",
    dropout: float = 0.2,
) -> nn.Module:
    """`layers` convolutions of `width` channels, pooled over the steps as for sentences (Kim 2014).

    Args:
        input_shape: (length,) of texts, (steps, channels) of sound and series.
        outputs: how many numbers a row of the output has.
        vocabulary: how many codes of tokens there are; 0 where the inputs are numbers.
        layers: of convolutions, each with what it was given added to it (He et al. 2016).
        width: numbers for each step.
        kernel: steps that a convolution looks at, an odd number.
        dilation: how many times as far apart these are from layer to layer; with 2 they are 1, 2, 4, ... steps apart,
            and few layers see far (Bai et al. 2018).
        pooling: `mean` or `max` over the steps, or a mean by `attention` (Yang et al. 2016).
        dropout: the share of numbers that is left out, in [0, 1).

    Raises:
        ValueError: a setting is out of its range, or the inputs have no steps.
    """
    steps = Steps(input_shape, vocabulary, width, dropout)
    if layers < 1 or dilation < 1:
        raise ValueError(f"layers and dilation must be at least 1, got {layers} and {dilation}")
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel must be an odd number, so that a step is in the middle, got {kernel}")
    check_pooling(pooling, _POOLINGS)
    stacked = [Convolved(width, kernel, dilation**depth, dropout) for depth in range(layers)]
    return Conv1d(steps, stacked, pooling, outputs)
