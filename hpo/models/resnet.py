"""Residual networks for small images (He et al. 2016, "Deep Residual Learning for Image Recognition")."""

from torch import Tensor, nn

from hpo.models.normalization import Style, convolved, normalization_of, normalized
from hpo.models.pooling import spatial_mean
from hpo.models.rules import image_shape

_RESNET_18 = 18


def resnet(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    depth: int = 20,
    width: int = 16,
    activation: str = "relu",
    normalization: str = "batch",
    dropout: float = 0.0,
) -> nn.Module:
    """A ResNet with a 3x3 stem and no initial pooling.

    Args:
        input_shape: (channels, height, width).
        outputs: the number of classes, labels or targets.
        depth: 6n+2 (8, 14, 20, 32, 44, 56, 110) for the CIFAR layout of He et al., section 4.2: three stages of n
            blocks; 18 for the ResNet-18 layout: four stages of two blocks.
        width: channels of the first stage; each stage doubles them. He et al. have 16, ResNet-18 has 64.
        activation: `relu`, `leaky_relu`, `gelu`, `tanh` or `sigmoid`.
        normalization: `batch`, `layer`, `group` or `none`.
        dropout: before the last layer.

    Raises:
        ValueError: depth is neither 18 nor 6n+2, width is below 1, dropout is outside [0, 1), or there is no such
            activation or normalization.
    """
    channels, _, _ = image_shape(input_shape, "resnet", 1, "convolves")
    if depth != _RESNET_18 and (depth < 8 or (depth - 2) % 6):
        raise ValueError(f"depth must be 6n+2 (8, 14, 20, 26, 32, ...) or 18, got {depth}")
    if width < 1 or not 0 <= dropout < 1:
        raise ValueError(f"width must be at least 1 and dropout in [0, 1), got {width} and {dropout}")
    stages = [2, 2, 2, 2] if depth == _RESNET_18 else [(depth - 2) // 6] * 3
    return ResNet(channels, outputs, stages, width, Style(normalization, activation), dropout)


def resnet18(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 64,
    activation: str = "relu",
    normalization: str = "batch",
    dropout: float = 0.0,
) -> nn.Module:
    """The ResNet-18 for small images: `resnet` with `depth: 18`, four stages of two blocks, and a width of 64.

    Args:
        input_shape: (channels, height, width).
        outputs: the number of classes, labels or targets.
        width: channels of the first stage; each stage doubles them: 64, 128, 256 and 512 as in the paper.
        activation: `relu`, `leaky_relu`, `gelu`, `tanh` or `sigmoid`.
        normalization: `batch`, `layer`, `group` or `none`.
        dropout: before the last layer.

    Raises:
        ValueError: width is below 1, dropout is outside [0, 1), or there is no such activation or normalization.
    """
    return resnet(
        input_shape,
        outputs,
        depth=_RESNET_18,
        width=width,
        activation=activation,
        normalization=normalization,
        dropout=dropout,
    )


class ResNet(nn.Module):
    """Stem, stages of basic blocks, global average pooling, one linear layer."""

    def __init__(
        self, channels: int, outputs: int, stages: list[int], width: int, style: Style, dropout: float
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*convolved(channels, width, 3, style))
        blocks: list[nn.Module] = []
        fan_in = width
        for stage, count in enumerate(stages):
            fan_out = width * 2**stage
            for block in range(count):
                blocks.append(BasicBlock(fan_in, fan_out, style, stride=2 if stage and not block else 1))
                fan_in = fan_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(fan_in, outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(n, outputs)` of images `(n, c, h, w)`."""
        features: Tensor = self.blocks(self.stem(images))
        logits: Tensor = self.head(spatial_mean(features))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Where the block halves the image, its shortcut averages 2x2 pixels before the 1x1 convolution (ResNet-D, He et al.
    2019, "Bag of Tricks", section 4.2): no pixel is thrown away. It also avoids a strided 1x1 convolution, whose
    backward pass corrupts memory in torch 2.14 on CPUs with AVX2 where it has fewer than 8 input channels.
    """

    def __init__(self, fan_in: int, fan_out: int, style: Style, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=style.bias)
        self.first_norm = normalized(fan_out, style)
        self.second = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=style.bias)
        self.second_norm = normalized(fan_out, style)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or fan_in != fan_out:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(fan_in, fan_out, 1, bias=style.bias),
                normalization_of(style.normalization, fan_out),
            )

    def forward(self, images: Tensor) -> Tensor:
        """Features `(n, fan_out, h / stride, w / stride)`."""
        features = self.first_norm(self.first(images), then=self.second)
        outputs: Tensor = self.second_norm(features, self.shortcut(images))
        return outputs
