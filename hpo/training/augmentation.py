"""Augmentation of whole batches on the training device, each image with draws of its own."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.spec import DataSettings
from hpo.tasks.features import Tokens


class Augmentation:
    """The image augmentations of the `data` section, in the order crop, flips, rotation, colours, cutout.

    Args:
        settings: names them and their sizes.
        fill: the value `(c,)` uint8 that cutout paints, and rotation beside the image: the mean pixel.
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
        if "vertical_flip" in names:
            images = vertical_flip(images, self._generator)
        if "rotation" in names:
            images = rotation(images, self._settings.rotation_degrees, self._fill, self._generator)
        if "color_jitter" in names:
            images = color_jitter(images, self._settings.color_jitter, self._generator)
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


def vertical_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turns half of the images `(n, h, w, c)` upside down, each drawn by itself."""
    flipped = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(flipped, images.flip(1), images)


def rotation(images: Tensor, degrees: float, fill: Tensor, generator: torch.Generator) -> Tensor:
    """Rotates each image about its centre by an angle of its own, with bilinear interpolation.

    Args:
        images: uint8 `(n, h, w, c)`.
        degrees: the largest angle, in both directions.
        fill: the value `(c,)` uint8 of what was outside of the image.
        generator: of the angles, which are uniform.
    """
    n, height, width, channels = images.shape
    angle = (2 * torch.rand(n, generator=generator, device=images.device) - 1) * math.radians(degrees)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    across = torch.stack([cosine, -sine * height / width, zero], 1)  # grids go from -1 to 1, whatever the sides are
    down = torch.stack([sine * width / height, cosine, zero], 1)
    grid = functional.affine_grid(torch.stack([across, down], 1), [n, channels, height, width], align_corners=False)
    values = (images.float() - fill).permute(0, 3, 1, 2)
    turned = functional.grid_sample(values, grid, align_corners=False)  # with zeros outside, which are the fill
    return _pixels(turned.permute(0, 2, 3, 1) + fill)


def color_jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Varies brightness, contrast and saturation of each image, in this order (Howard 2013).

    Args:
        images: uint8 `(n, h, w, c)`; the saturation of one channel stays.
        strength: factors are uniform from 1 - strength to 1 + strength.
        generator: of the three factors of each image.
    """
    channels = images.shape[-1]
    draws = torch.rand(3, len(images), 1, 1, 1, generator=generator, device=images.device)
    brightness, contrast, saturation = 1 + strength * (2 * draws - 1)
    shares = _LUMA if channels == len(_LUMA) else [1 / channels] * channels
    luma = torch.tensor(shares, device=images.device)
    values = (images * brightness).clamp(0, _WHITE)
    grey = (values * luma).sum(-1, keepdim=True).mean((1, 2), keepdim=True)
    values = torch.lerp(grey, values, contrast).clamp(0, _WHITE)
    grey = (values * luma).sum(-1, keepdim=True)
    return _pixels(torch.lerp(grey, values, saturation))


_WHITE = 255
_LUMA = [0.299, 0.587, 0.114]
"""The shares of red, green and blue in what the eye sees as brightness (ITU-R BT.601)."""


def _pixels(values: Tensor) -> Tensor:
    """The nearest uint8 of floats."""
    return values.round().clamp(0, _WHITE).to(torch.uint8)


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
