"""A plain residual tower: a deep convolutional network whose width stays the same from the first block to the last.

The blocks are those of He et al. 2016 ("Deep Residual Learning for Image Recognition"); towers of one width are known
from Silver et al. 2017 ("Mastering the game of Go without human knowledge").
"""

from torch import Tensor, nn

from hpo.models.activations import initialize
from hpo.models.normalization import Style, convolved, normalized
from hpo.models.pooling import mean_head
from hpo.models.rules import check_dropout, check_sizes, image_shape


def dcn(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    stages: int = 3,
    blocks: int = 2,
    width: int = 32,
    activation: str = "relu",
    normalization: str = "batch",
    dropout: float = 0.0,
) -> nn.Module:
    """`stages` of `blocks` residual blocks of one width, the image halved between stages by means of 2x2 pixels.

    All shortcuts are identities, since nothing changes the number of channels.

    Args:
        input_shape: (channels, height, width); each stage but the last halves it.
        outputs: the number of classes, labels or targets.
        stages: halvings of the image, and one.
        blocks: residual blocks of a stage, each of two 3x3 convolutions.
        width: channels, from the first convolution to the last.
        activation: `relu`, `leaky_relu`, `gelu`, `tanh` or `sigmoid`.
        normalization: `batch`, `layer`, `group` or `none`.
        dropout: before the last layer.

    Raises:
        ValueError: a setting or the input breaks a rule.
    """
    check_sizes(stages=stages, blocks=blocks, width=width)
    check_dropout(dropout)
    least = 2 ** (stages - 1)
    channels, _, _ = image_shape(input_shape, "dcn", least, f"halves images {stages - 1} times")
    style = Style(normalization, activation)
    layers: list[nn.Module] = convolved(channels, width, 3, style)
    for stage in range(stages):
        layers += [nn.AvgPool2d(2)] if stage else []
        layers += [Block(width, style) for _ in range(blocks)]
    network = nn.Sequential(*layers, *mean_head(width, outputs, dropout))
    initialize(network, activation)
    return network


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity.

    Args:
        width: channels that come in and go out.
        style: the normalization and the activation behind each convolution.
    """

    def __init__(self, width: int, style: Style) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=style.bias)
        self.first_norm = normalized(width, style)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=style.bias)
        self.second_norm = normalized(width, style)

    def forward(self, images: Tensor) -> Tensor:
        """Features `(n, width, h, w)` -> of the same shape."""
        features = self.first_norm(self.first(images), then=self.second)
        outputs: Tensor = self.second_norm(features, images)
        return outputs
