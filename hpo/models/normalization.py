"""Normalization by name, and its layer for images with the activation behind it."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from hpo.kernels.layers import BatchNormReLU
from hpo.models.activations import activation_of
from hpo.models.rules import one_of

NORMALIZATIONS = ("batch", "layer", "group", "none")
"""`batch` by the statistics of a batch (Ioffe and Szegedy 2015), `layer` over all features of a row or image (Ba et al.
2016), `group` over groups of features (Wu and He 2018), or none at all."""
_GROUPS = (8, 4, 2)
"""Groups of `group`: as many as leave whole groups of 4 features or more, else one, so that any width is valid."""
_LEAST_OF_GROUP = 4


class Style(NamedTuple):
    """What follows each convolution of a network: the names of a normalization and of an activation."""

    normalization: str = "batch"
    activation: str = "relu"

    @property
    def bias(self) -> bool:
        """Whether convolutions have a bias; a normalization has one itself."""
        return self.normalization == "none"


def normalization_of(name: str, features: int, images: bool = True) -> nn.Module:
    """The normalization of this name, as a layer.

    Args:
        name: one of `NORMALIZATIONS`.
        features: channels of images, or numbers of a row.
        images: whether it is for `(n, features, h, w)`; else for `(n, features)`.

    Raises:
        ValueError: there is none of this name.
    """
    match one_of("normalization", name, NORMALIZATIONS):
        case "batch":
            return nn.BatchNorm2d(features) if images else nn.BatchNorm1d(features)
        case "layer":
            return nn.GroupNorm(1, features) if images else nn.LayerNorm(features)
        case "group":
            fits = (count for count in _GROUPS if features % count == 0 and features // count >= _LEAST_OF_GROUP)
            groups = next(fits, 1)
            return nn.GroupNorm(groups, features) if images or groups > 1 else nn.LayerNorm(features)
    return nn.Identity()


def normalized(features: int, style: Style, *, pool: bool = False) -> "BatchNormReLU | NormalizedActivation":
    """A normalization of images with the activation behind it: of `batch` and `relu` the layer that has own kernels.

    Args:
        features: channels.
        style: the normalization and the activation.
        pool: whether the maxima of 2x2 pixels are taken.

    Raises:
        ValueError: there is no such normalization or activation.
    """
    return BatchNormReLU(features, pool=pool) if style == Style() else NormalizedActivation(features, style, pool=pool)


class NormalizedActivation(nn.Module):
    """Normalization, activation, and maxima of 2x2 pixels, which takes what `hpo.kernels.layers.BatchNormReLU` takes.

    Args:
        features: channels.
        style: the normalization and the activation.
        pool: whether maxima are taken.
    """

    def __init__(self, features: int, style: Style, *, pool: bool) -> None:
        super().__init__()
        self.normalization = normalization_of(style.normalization, features)
        self.activation = activation_of(style.activation)
        self.pool = pool

    def forward(self, images: Tensor, shortcut: Tensor | None = None, then: nn.Conv2d | None = None) -> Tensor:
        """Features `(n, c, h, w)`, and a shortcut of that shape -> `(n, c, h, w)`; maxima halve height and width.

        With `then` it is what that convolution gives.
        """
        outputs: Tensor = self.normalization(images)
        outputs = self.activation(outputs if shortcut is None else outputs + shortcut)
        if self.pool:
            outputs = functional.max_pool2d(outputs, 2)
        return outputs if then is None else then(outputs)


def convolved(
    fan_in: int, fan_out: int, size: int, style: Style, *, stride: int = 1, pool: bool = False
) -> list[nn.Module]:
    """A convolution that keeps the image's size, but for its stride, and what follows it.

    Args:
        fan_in: channels that come in.
        fan_out: channels that go out.
        size: pixels of a side of its kernel, an odd number.
        style: the normalization and the activation.
        stride: pixels from one place to the next.
        pool: whether the maxima of 2x2 pixels are taken at the end.

    Raises:
        ValueError: there is no such normalization or activation.
    """
    convolution = nn.Conv2d(fan_in, fan_out, size, stride=stride, padding=size // 2, bias=style.bias)
    return [convolution, normalized(fan_out, style, pool=pool)]
