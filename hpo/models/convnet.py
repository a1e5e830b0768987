"""A plain convolutional network: stages of 3x3 convolutions, the image halved and the width doubled after each."""

from torch import nn

from hpo.models.normalization import Style, convolved
from hpo.models.pooling import mean_head
from hpo.models.rules import image_shape


def convnet(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    stages: int = 3,
    convolutions: int = 1,
    width: int = 32,
    activation: str = "relu",
    normalization: str = "batch",
    dropout: float = 0.0,
) -> nn.Module:
    """Stages of 3x3 convolutions with normalization and activation; the mean over pixels and one linear layer.

    Args:
        input_shape: (channels, height, width); each stage but the last halves it.
        outputs: the number of classes, labels or targets.
        stages: halvings of the image, and one.
        convolutions: of each stage.
        width: channels of the first stage; each stage doubles them.
        activation: `relu`, `leaky_relu`, `gelu`, `tanh` or `sigmoid`.
        normalization: `batch`, `layer`, `group` or `none`.
        dropout: before the last layer.

    Raises:
        ValueError: a size below 1, dropout outside [0, 1), no such activation or normalization, or an image too small
            for so many stages.
    """
    if min(stages, convolutions, width) < 1 or not 0 <= dropout < 1:
        raise ValueError("stages, convolutions and width must be at least 1 and dropout in [0, 1)")
    channels, _, _ = image_shape(input_shape, "convnet", 2 ** (stages - 1), f"halves images {stages - 1} times")
    layers: list[nn.Module] = []
    for stage in range(stages):
        fan_out = width * 2**stage
        for convolution in range(convolutions):
            last = stage < stages - 1 and convolution == convolutions - 1
            layers += convolved(channels, fan_out, 3, Style(normalization, activation), pool=last)
            channels = fan_out
    return nn.Sequential(*layers, *mean_head(channels, outputs, dropout))
