"""GoogLeNet (Szegedy et al. 2015, "Going Deeper with Convolutions")."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hpo.models.activations import initialize
from hpo.models.normalization import Style, convolved
from hpo.models.pooling import mean_head, stem_stride
from hpo.models.rules import check_dropout, check_sizes, image_shape

_LEAST = 4
"""Pixels of a side, which two halvings make one."""
_PAPERS_WIDTH = 64


class _Channels(NamedTuple):
    """Channels of an inception block's branches, as table 1 of the paper names them."""

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool: int

    @property
    def together(self) -> int:
        return self.one + self.three + self.five + self.pool


_STAGES = (
    (_Channels(64, 96, 128, 16, 32, 32), _Channels(128, 128, 192, 32, 96, 64)),
    (
        _Channels(192, 96, 208, 16, 48, 64),
        _Channels(160, 112, 224, 24, 64, 64),
        _Channels(128, 128, 256, 24, 64, 64),
        _Channels(112, 144, 288, 32, 64, 64),
        _Channels(256, 160, 320, 32, 128, 128),
    ),
    (_Channels(256, 160, 320, 32, 128, 128), _Channels(384, 192, 384, 48, 128, 128)),
)
"""The blocks 3a to 5b; between the stages the image is halved."""


def googlenet(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 16,
    activation: str = "relu",
    normalization: str = "batch",
    dropout: float = 0.2,
) -> nn.Module:
    """Nine inception blocks in three stages behind a 3x3 convolution; the mean over pixels and one linear layer.

    The first convolution leaves 32 to 63 pixels of a side, whatever the image has. The paper's auxiliary classifiers
    are left out: with normalization, gradients reach the first layers.

    Args:
        input_shape: (channels, height, width), 4x4 pixels or more.
        outputs: the number of classes, labels or targets.
        width: the unit of all channels, 64 in the paper: of 16 each branch has a quarter of the paper's.
        activation: relu, as in the paper, or another one.
        normalization: `batch`, `layer`, `group`, or `none` as in the paper.
        dropout: before the last layer; 0.4 in the paper.

    Raises:
        ValueError: a setting or the input breaks a rule.
    """
    channels, height, side = image_shape(input_shape, "googlenet", _LEAST, "halves images twice")
    check_sizes(width=width)
    check_dropout(dropout)
    style = Style(normalization, activation)
    stem = _scaled(192, width)
    layers: list[nn.Module] = convolved(channels, stem, 3, style, stride=stem_stride(height, side))
    fan_in = stem
    for stage, blocks in enumerate(_STAGES):
        layers += [nn.MaxPool2d(2)] if stage else []
        for block in blocks:
            scaled = _Channels(*(_scaled(count, width) for count in block))
            layers.append(Inception(fan_in, scaled, style))
            fan_in = scaled.together
    network = nn.Sequential(*layers, *mean_head(fan_in, outputs, dropout))
    initialize(network, activation)
    return network


def _scaled(channels: int, width: int) -> int:
    return max(1, round(channels * width / _PAPERS_WIDTH))


class Inception(nn.Module):
    """Four branches side by side: 1x1, 3x3 and 5x5 convolutions behind 1x1 ones, and maxima of 3x3 pixels.

    Args:
        fan_in: channels that come in.
        channels: of the branches.
        style: the normalization and the activation behind each convolution.
    """

    def __init__(self, fan_in: int, channels: _Channels, style: Style) -> None:
        super().__init__()
        branches = (
            convolved(fan_in, channels.one, 1, style),
            convolved(fan_in, channels.three_reduce, 1, style)
            + convolved(channels.three_reduce, channels.three, 3, style),
            convolved(fan_in, channels.five_reduce, 1, style)
            + convolved(channels.five_reduce, channels.five, 5, style),
            [nn.MaxPool2d(3, stride=1, padding=1), *convolved(fan_in, channels.pool, 1, style)],
        )
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)

    def forward(self, images: Tensor) -> Tensor:
        """Features `(n, fan_in, h, w)` -> those of all branches, `(n, channels.together, h, w)`."""
        return torch.cat([branch(images) for branch in self.branches], dim=1)
