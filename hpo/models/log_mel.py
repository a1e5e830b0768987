"""Clips as a network takes them: the log-mel spectrogram as the first layer of a model of sound."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.tasks.features import Sound

_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.010
_LEAST = 1e-6
"""Energies below this are taken for it before the logarithm, of samples from -1 to 1."""
_FULL = 32_767.0
_LOWEST = 20.0
"""The frequency in hertz where the lowest band begins."""


class LogMel(nn.Module):
    """Samples `(n, length)` to standardized log-mel energies `(n, frames, mels)`, a frame each 10 ms.

    Frames are 25 ms long under a Hann window, with silence before and behind a clip. Bands are triangles of equal width
    on the mel scale (O'Shaughnessy 1987, 2595 log10(1 + f / 700)), each with mean 0 and deviation 1 over the training
    clips.

    Args:
        input_shape: (length,), the most samples of a clip.
        feature: says the rate and the number of bands.
    """

    mean: Tensor
    std: Tensor
    window: Tensor
    bands: Tensor

    def __init__(self, input_shape: tuple[int, ...], feature: Sound) -> None:
        super().__init__()
        self._hop = max(1, round(_HOP_SECONDS * feature.rate))
        self._size = max(2, 2 * round(_WINDOW_SECONDS * feature.rate / 2))
        self.gives = (1 + input_shape[0] // self._hop, feature.mels)
        """The shape of an example that the network is given: frames and bands."""
        self._length = input_shape[0]
        self.register_buffer("mean", torch.zeros(feature.mels))
        self.register_buffer("std", torch.ones(feature.mels))
        self.register_buffer("window", torch.hann_window(self._size), persistent=False)
        self.register_buffer("bands", mel_bands(feature.rate, self._size, feature.mels), persistent=False)

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Takes the means and deviations of the bands, each `(mels,)`."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardized energies; behind the end of a clip they are 0, the mean."""
        with torch.autocast(inputs.device.type, enabled=False):
            scaled = (self.energies(inputs) - self.mean) / self.std
        return scaled * self.mask(inputs)[:, :, None]

    def energies(self, inputs: Tensor) -> Tensor:
        """The logarithm of the energy of each frame in each band, `(n, frames, mels)`."""
        samples = torch.where(inputs == Sound.PADDING, 0.0, inputs) / _FULL
        silent = functional.pad(samples, (self._size // 2, self._size // 2))  # what is beside a clip changes no frame
        spectrum = torch.stft(silent, self._size, self._hop, window=self.window, center=False, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(dim=3)
        return (power.transpose(1, 2) @ self.bands).clamp_min(_LEAST).log()

    def mask(self, inputs: Tensor) -> Tensor:
        """True `(n, frames)` where the clip is."""
        lengths = (inputs != Sound.PADDING).sum(dim=1)
        frames = torch.arange(1 + inputs.shape[1] // self._hop, device=inputs.device)
        return frames <= (lengths // self._hop)[:, None]

    def blank(self, rows: int) -> Tensor:
        """Silent clips, as a network is tried with."""
        return torch.zeros(rows, self._length)


def mel_bands(rate: int, size: int, mels: int) -> Tensor:
    """The weights of frequencies in bands, `(size // 2 + 1, mels)`: triangles whose ends are their neighbours' tops.

    Args:
        rate: samples a second.
        size: samples of a frame.
        mels: how many bands.
    """
    frequencies = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)
    ends = torch.linspace(_mel(_LOWEST), _mel(rate / 2), mels + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (ends / 2595) - 1)
    rising = (frequencies[:, None] - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - frequencies[:, None]) / (hertz[2:] - hertz[1:-1])
    bands = torch.minimum(rising, falling).clamp_min(0)
    empty = bands.sum(dim=0) == 0  # a low band may lie between two frequencies
    nearest = (frequencies[:, None] - hertz[1:-1]).abs().argmin(dim=0)
    bands[nearest[empty], empty.nonzero().flatten()] = 1.0
    return bands.float()


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
