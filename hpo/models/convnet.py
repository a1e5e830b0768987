"""A plain convolutional network: stages of 3x3 convolutions, the image halved and the width doubled after each."""

from torch import nn

from hpo.kernels.layers import BatchNormReLU
from hpo.models.pooling import SpatialMean


def convnet(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    stages: int = 3,
    convolutions: int = 1,
    width: int = 32,
    dropout: float = 0.0,
) -> nn.Module:
    """`stages` of `convolutions` 3x3 convolutions with batch norm and ReLU; global average pooling at the end.

    Raises:
        ValueError: a size below 1, dropout outside [0, 1), or an image too small for so many stages.
    """
    if min(stages, convolutions, width) < 1 or not 0 <= dropout < 1:
        raise ValueError("stages, convolutions and width must be at least 1 and dropout in [0, 1)")
    if len(input_shape) != 3:
        raise ValueError("a convnet is for images; take mlp for the rows of a table")
    channels, height, side = input_shape
    if min(height, side) < 2 ** (stages - 1):
        raise ValueError(f"{stages} stages halve the image {stages - 1} times; it has only {height}x{side} pixels")
    layers: list[nn.Module] = []
    for stage in range(stages):
        fan_out = width * 2**stage
        for convolution in range(convolutions):
            last = stage < stages - 1 and convolution == convolutions - 1
            layers += [nn.Conv2d(channels, fan_out, 3, padding=1, bias=False), BatchNormReLU(fan_out, pool=last)]
            channels = fan_out
    head = [SpatialMean(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, outputs)]
    return nn.Sequential(*layers, *head)
