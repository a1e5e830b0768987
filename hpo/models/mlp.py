"""A multilayer perceptron over the flattened image, or over a row of a table."""

import math
from itertools import pairwise

from torch import nn


def mlp(
    input_shape: tuple[int, ...], outputs: int, *, layers: int = 2, width: int = 256, dropout: float = 0.0
) -> nn.Module:
    """`layers` hidden layers of `width` units, each with batch norm, ReLU and dropout.

    Raises:
        ValueError: layers or width below 1, or dropout outside [0, 1).
    """
    if layers < 1 or width < 1 or not 0 <= dropout < 1:
        raise ValueError(f"layers and width must be at least 1 and dropout in [0, 1), got {layers}, {width}, {dropout}")
    sizes = [math.prod(input_shape)] + [width] * layers
    hidden: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        hidden += [nn.Linear(fan_in, fan_out, bias=False), nn.BatchNorm1d(fan_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], outputs))
