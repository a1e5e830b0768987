"""The first layer of sound."""

import numpy as np
import torch

from hpo.models.log_mel import LogMel, mel_bands
from hpo.tasks.features import Sound

RATE = 8000


def layer(length: int = RATE, mels: int = 40) -> LogMel:
    return LogMel((length,), Sound("clip", rate=RATE, mels=mels))


def test_a_tone_is_loudest_in_the_band_of_its_frequency() -> None:
    bands = mel_bands(RATE, 200, 40)
    frequencies = torch.linspace(0, RATE / 2, 101)
    for hertz in (200.0, 440.0, 1000.0, 3000.0):
        samples = 16_000 * torch.sin(2 * torch.pi * hertz * torch.arange(RATE) / RATE)
        loudest = layer().energies(samples[None]).mean(dim=1).argmax()
        nearest = int((frequencies - hertz).abs().argmin())
        assert bands[nearest, loudest] == bands[nearest].max()


def test_energies_are_those_of_numpy() -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, 2000).astype(np.float32)
    size, hop = 200, 80
    padded = np.pad(samples / 32_767, size // 2)
    window = np.hanning(size + 1)[:-1]
    frames = np.stack([padded[place : place + size] * window for place in range(0, len(samples) + 1, hop)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    expected = np.log(np.maximum(power @ mel_bands(RATE, size, 40).numpy(), 1e-6))
    np.testing.assert_allclose(layer(2000).energies(torch.from_numpy(samples)[None])[0], expected, atol=1e-3)


def test_each_band_has_frequencies_whatever_their_number() -> None:
    for mels in (4, 64, 128):
        bands = mel_bands(RATE, 200, mels)
        assert bands.shape == (101, mels) and (bands.sum(dim=0) > 0).all() and bands.min() >= 0


def test_padding_changes_no_frame_of_a_clip() -> None:
    clip = torch.from_numpy(np.random.default_rng(0).integers(-9000, 9000, 1600).astype(np.float32))[None]
    alone = layer()
    padded = torch.cat([clip, torch.full((1, 900), float(Sound.PADDING))], dim=1)
    mask, frames = alone.mask(padded), 1 + 1600 // 80
    assert mask.shape == alone(padded).shape[:2] and mask.sum() == frames == alone.mask(clip).sum()
    torch.testing.assert_close(alone(padded)[:, :frames], alone(clip))
    assert not alone(padded)[:, frames:].any()


def test_a_clip_shorter_than_a_window_has_frames() -> None:
    for length in (1, 100, 200, 201):
        clip = torch.ones(2, length)
        found = layer()(clip)
        assert found.shape[:2] == layer().mask(clip).shape and found.isfinite().all() and layer().mask(clip).any()
