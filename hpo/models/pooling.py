"""The mean over an image's pixels, with which networks end."""

from torch import Tensor, nn


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
