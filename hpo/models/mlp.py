"""A multilayer perceptron over the flattened image, or over a row of a table."""

import math
from itertools import pairwise

from torch import nn

from hpo.models.activations import activation_of
from hpo.models.normalization import normalization_of


def mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    layers: int = 2,
    width: int = 256,
    activation: str = "relu",
    normalization: str = "batch",
    dropout: float = 0.0,
) -> nn.Module:
    """Hidden layers of one width, each with normalization, activation and dropout.

    Args:
        input_shape: (features,) or (channels, height, width).
        outputs: the number of classes, labels or targets.
        layers: hidden layers.
        width: units of each.
        activation: `relu`, `leaky_relu`, `gelu`, `tanh` or `sigmoid`.
        normalization: `batch`, `layer`, `group` or `none`.
        dropout: behind each hidden layer.

    Raises:
        ValueError: layers or width below 1, dropout outside [0, 1), or no such activation or normalization.
    """
    if layers < 1 or width < 1 or not 0 <= dropout < 1:
        raise ValueError(f"layers and width must be at least 1 and dropout in [0, 1), got {layers}, {width}, {dropout}")
    sizes = [math.prod(input_shape)] + [width] * layers
    hidden: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        hidden += [
            nn.Linear(fan_in, fan_out, bias=normalization == "none"),
            normalization_of(normalization, fan_out, images=False),
            activation_of(activation),
            nn.Dropout(dropout),
        ]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], outputs))
