"""Augmentation of whole batches on the training device, each image with draws of its own."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.spec import DataSettings
from hpo.tasks.features import Tokens


class Augmentation:
    """The image augmentations of the `data` section, in the order crop, flip, cutout.

    Args:
        settings: names them and their sizes.
        fill: the value `(c,)` uint8 that cutout paints, the mean pixel.
        generator: of every draw, on the images' device.
    """

    def __init__(self, settings: DataSettings, fill: Tensor, generator: torch.Generator) -> None:
        self._settings = settings
        self._fill = fill
        self._generator = generator

    def __call__(self, images: Tensor) -> Tensor:
        """Augmented copies of uint8 images `(n, h, w, c)`."""
        names = self._settings.augment
        padding = self._settings.crop_padding if "random_crop" in names else 0
        images = crop_and_flip(images, padding, "horizontal_flip" in names, self._generator)
        if "cutout" in names:
            images = cutout(images, self._settings.cutout_size, self._fill, self._generator)
        return images


def crop_and_flip(images: Tensor, padding: int, flips: bool, generator: torch.Generator) -> Tensor:
    """Crops at a random place and mirrors half of the images, in one look-up of pixels.

    Args:
        images: `(n, h, w, c)`.
        padding: pixels of zeros on all sides, of which the old size is cut out; 0 crops nothing.
        flips: whether each image is mirrored with probability one half.
        generator: of the draws.
    """
    if not padding and not flips:
        return images
    n, height, width, channels = images.shape
    device = images.device
    columns, down = torch.arange(width, device=device), torch.arange(height, device=device)
    if flips:
        flipped = torch.rand(n, 1, 1, generator=generator, device=device) < 0.5
        columns = torch.where(flipped, width - 1 - columns, columns)
    if padding:
        images = functional.pad(images, (0, 0, padding, padding, padding, padding))
        top, left = torch.randint(2 * padding + 1, (2, n, 1, 1), generator=generator, device=device)
        columns, down = columns + left, down[:, None] + top
    first = torch.arange(n, device=device).view(n, 1, 1) * images.shape[1]
    pixels = (first + down.view(-1, height, 1)) * images.shape[2] + columns.view(-1, 1, width)
    return images.reshape(-1, channels).index_select(0, pixels.flatten()).view(n, height, width, channels)


def cutout(images: Tensor, size: int, fill: Tensor, generator: torch.Generator) -> Tensor:
    """Paints a square of `size` pixels at a random place, cut off at the edges (DeVries and Taylor 2017)."""
    n, height, width, _ = images.shape
    device = images.device
    centre = torch.rand(2, n, 1, generator=generator, device=device)
    top = (centre[0] * height).long() - size // 2
    left = (centre[1] * width).long() - size // 2
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows = (rows >= top) & (rows < top + size)
    in_columns = (columns >= left) & (columns < left + size)
    hole = (in_rows[:, :, None] & in_columns[:, None, :])[..., None]
    return torch.where(hole, fill, images)


class Masking(nn.Module):
    """Blanks a span of steps and a span of bands of each example (SpecAugment: Park et al. 2019, without warping).

    Draws are those of torch's global generator, as dropout's.

    Args:
        time: the largest share of the steps.
        bands: the largest share of the bands.
    """

    def __init__(self, time: float, bands: float) -> None:
        super().__init__()
        self._time, self._bands = time, bands

    def forward(self, values: Tensor) -> Tensor:
        """Standardized examples `(n, steps, channels)`, in which what is blanked is 0, the mean."""
        steps = self._span(values, values.shape[1], self._time)[:, :, None]
        return values.masked_fill(steps | self._span(values, values.shape[2], self._bands)[:, None, :], 0.0)

    def _span(self, values: Tensor, size: int, most: float) -> Tensor:
        """True `(n, size)` in a span of each example, of 0 to `most` of the size, at any place."""
        length, place = torch.rand(2, len(values), 1, device=values.device)
        length = (length * most * size).round()
        begin = (place * (size - length)).round()
        places = torch.arange(size, device=values.device)
        inside: Tensor = (places >= begin) & (places < begin + length)
        return inside


def masking(settings: DataSettings) -> Masking | None:
    """What blanks parts of clips and series in training, if the settings name it."""
    names = settings.augment
    if not {"time_mask", "band_mask"} & {*names}:
        return None
    return Masking(
        settings.time_mask if "time_mask" in names else 0.0, settings.band_mask if "band_mask" in names else 0.0
    )


def token_dropout(codes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Replaces a share of the tokens `(n, length)` by the unknown one, each drawn by itself (word dropout).

    Iyyer et al. 2015 leave them out instead; a token that is replaced keeps the places of the others.
    """
    dropped = torch.rand(codes.shape, generator=generator, device=codes.device) < share
    return torch.where(dropped & (codes != Tokens.PADDING), float(Tokens.UNKNOWN), codes)


def mixup(images: Tensor, targets: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixes each image and its target with another of the batch (Zhang et al. 2018, "mixup", eq. 1).

    Args:
        images: float `(n, c, h, w)`.
        targets: probabilities `(n, classes)`.
        share: of the first image, drawn from Beta(alpha, alpha).
        generator: of the pairing.
    """
    partner = torch.randperm(len(images), generator=generator, device=images.device)
    return torch.lerp(images[partner], images, share), torch.lerp(targets[partner], targets, share)
