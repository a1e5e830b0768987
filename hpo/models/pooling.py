"""The mean over an image's pixels, with which networks end, and the stride with which those for any image begin."""

from torch import Tensor, nn

_STEM = 32


def spatial_mean(features: Tensor) -> Tensor:
    """Features `(n, c, h, w)` -> `(n, c)`.

    Divided after the sum: the gradient of a mean is laid out anew, channel by channel, and what comes before it in a
    channels_last network then takes many times as long.
    """
    return features.sum(dim=(2, 3)) / (features.shape[2] * features.shape[3])


class SpatialMean(nn.Module):
    """`spatial_mean` as a layer."""

    def forward(self, features: Tensor) -> Tensor:
        """Features `(n, c, h, w)` -> `(n, c)`."""
        return spatial_mean(features)


def mean_head(features: int, outputs: int, dropout: float) -> list[nn.Module]:
    """The end of a convolutional network: the mean over pixels, dropout, and one linear layer."""
    return [SpatialMean(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(features, outputs)]


def stem_stride(height: int, width: int) -> int:
    """The stride of a first convolution that leaves 32 to 63 pixels of the shorter side; 1 for what is smaller."""
    return max(1, min(height, width) // _STEM)
