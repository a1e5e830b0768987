"""LeNet-5 (LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition")."""

from torch import nn

from hpo.models.activations import activation_of, initialize
from hpo.models.normalization import Style, convolved, normalized
from hpo.models.rules import check_dropout, check_sizes, image_shape, one_of

_POOLINGS = {"mean": nn.AvgPool2d, "max": nn.MaxPool2d}
_LEAST = 12
"""Pixels of a side of which both halvings and the second convolution, which has no padding, leave one."""


def lenet(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 6,
    pooling: str = "mean",
    activation: str = "tanh",
    normalization: str = "none",
    dropout: float = 0.0,
) -> nn.Module:
    """Two 5x5 convolutions, each with a halving of the image, and two hidden layers.

    The second convolution sees all channels, and the last layer is linear, as in today's versions.

    Args:
        input_shape: (channels, height, width), 12x12 pixels or more; LeCun et al. have 28x28, padded to 32x32.
        outputs: the number of classes, labels or targets.
        width: channels of the first convolution. The second has 8/3, the hidden layers 20 and 14 times as many: of 6,
            as in the paper, 16, 120 and 84.
        pooling: how 2x2 pixels become one: `mean`, as in the paper, or `max`.
        activation: `tanh`, as in the paper, or another one.
        normalization: `none`, as in the paper, or behind both convolutions `batch`, `layer` or `group`.
        dropout: before the last layer.

    Raises:
        ValueError: a setting or the input breaks a rule.
    """
    channels, height, side = image_shape(input_shape, "lenet", _LEAST, "halves images twice around a 5x5 convolution")
    check_sizes(width=width)
    check_dropout(dropout)
    halve = _POOLINGS[one_of("pooling", pooling, _POOLINGS)]
    second, hidden, last = max(1, width * 8 // 3), width * 20, width * 14
    style = Style(normalization, activation)
    pixels = (height // 2 - 4) // 2 * ((side // 2 - 4) // 2)
    network = nn.Sequential(
        *convolved(channels, width, 5, style),
        halve(2),
        nn.Conv2d(width, second, 5, bias=style.bias),
        normalized(second, style),
        halve(2),
        nn.Flatten(),
        *(nn.Linear(second * pixels, hidden), activation_of(activation)),
        *(nn.Linear(hidden, last), activation_of(activation)),
        nn.Dropout(dropout),
        nn.Linear(last, outputs),
    )
    initialize(network, activation)
    return network
