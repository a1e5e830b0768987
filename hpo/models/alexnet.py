"""AlexNet (Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks")."""

from torch import nn

from hpo.models.activations import activation_of, initialize
from hpo.models.normalization import Style, convolved, normalization_of
from hpo.models.pooling import stem_stride
from hpo.models.rules import check_dropout, check_sizes, image_shape

_LEAST = 8
"""Pixels of a side, which three halvings make one."""


def alexnet(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 32,
    hidden: int = 512,
    activation: str = "relu",
    normalization: str = "batch",
    dropout: float = 0.5,
) -> nn.Module:
    """Five convolutions, the image halved after the first, second and fifth, and two hidden layers with dropout.

    The first convolution leaves 32 to 63 pixels of a side, whatever the image has. Batch normalization stands in the
    place of the paper's local response normalization.

    Args:
        input_shape: (channels, height, width), 8x8 pixels or more.
        outputs: the number of classes, labels or targets.
        width: channels of the first convolution; the others have 3, 6, 4 and 4 times as many, as in the version of
            Krizhevsky 2014 ("One weird trick for parallelizing convolutional neural networks"), whose width is 64.
        hidden: units of both hidden layers; 4096 in the paper.
        activation: relu, as in the paper, or another one.
        normalization: `batch`, `layer`, `group` or `none`.
        dropout: in front of both hidden layers.

    Raises:
        ValueError: a setting or the input breaks a rule.
    """
    channels, height, side = image_shape(input_shape, "alexnet", _LEAST, "halves images three times")
    check_sizes(width=width, hidden=hidden)
    check_dropout(dropout)
    stride = stem_stride(height, side)
    style = Style(normalization, activation)
    pixels = ((height - 1) // stride + 1) // 8 * (((side - 1) // stride + 1) // 8)
    network = nn.Sequential(
        *convolved(channels, width, max(5, 2 * stride + 1), style, stride=stride, pool=True),
        *convolved(width, 3 * width, 5, style, pool=True),
        *convolved(3 * width, 6 * width, 3, style),
        *convolved(6 * width, 4 * width, 3, style),
        *convolved(4 * width, 4 * width, 3, style, pool=True),
        nn.Flatten(),
        *_hidden(4 * width * pixels, hidden, dropout, style),
        *_hidden(hidden, hidden, dropout, style),
        nn.Linear(hidden, outputs),
    )
    initialize(network, activation)
    return network


def _hidden(fan_in: int, fan_out: int, dropout: float, style: Style) -> list[nn.Module]:
    return [
        nn.Dropout(dropout),
        nn.Linear(fan_in, fan_out, bias=style.bias),
        normalization_of(style.normalization, fan_out, images=False),
        activation_of(style.activation),
    ]
