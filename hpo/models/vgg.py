"""VGG (Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition")."""

from torch import nn

from hpo.models.activations import initialize
from hpo.models.normalization import Style, convolved
from hpo.models.pooling import mean_head
from hpo.models.rules import check_dropout, check_sizes, image_shape

_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> convolutions of each stage (configurations A, B, D and E of the paper)."""
_WIDTHS = (1, 2, 4, 8, 8)
_LEAST = 16
"""Pixels of a side, which four halvings make one."""


def vgg(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    depth: int = 11,
    width: int = 32,
    activation: str = "relu",
    normalization: str = "batch",
    dropout: float = 0.0,
) -> nn.Module:
    """Five stages of 3x3 convolutions, the image halved between them; the mean over its pixels and one linear layer.

    For small images the paper's last halving and its two hidden layers of 4096 units are left out, as is usual.

    Args:
        input_shape: (channels, height, width), 16x16 pixels or more.
        outputs: the number of classes, labels or targets.
        depth: 11, 13, 16 or 19, as in the paper, where it counts hidden layers that are not here.
        width: channels of the first stage; the others have 2, 4, 8 and 8 times as many. The paper has 64.
        activation: relu, as in the paper, or another one.
        normalization: `batch`, `layer`, `group`, or `none` as in the paper.
        dropout: before the last layer.

    Raises:
        ValueError: a setting or the input breaks a rule.
    """
    channels, _, _ = image_shape(input_shape, "vgg", _LEAST, "halves images four times")
    if depth not in _STAGES:
        raise ValueError(f"depth must be 11, 13, 16 or 19, got {depth}")
    check_sizes(width=width)
    check_dropout(dropout)
    layers: list[nn.Module] = []
    for stage, (convolutions, times) in enumerate(zip(_STAGES[depth], _WIDTHS, strict=True)):
        for convolution in range(convolutions):
            pool = convolution == convolutions - 1 and stage < len(_WIDTHS) - 1
            layers += convolved(channels, times * width, 3, Style(normalization, activation), pool=pool)
            channels = times * width
    network = nn.Sequential(*layers, *mean_head(channels, outputs, dropout))
    initialize(network, activation)
    return network
