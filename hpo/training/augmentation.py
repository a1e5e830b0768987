"""Augmentation of whole batches on the training device, each image with draws of its own."""

import torch
from torch import Tensor
from torch.nn import functional

from hpo.spec import DataSettings


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
        if "random_crop" in names:
            images = random_crop(images, self._settings.crop_padding, self._generator)
        if "horizontal_flip" in names:
            images = horizontal_flip(images, self._generator)
        if "cutout" in names:
            images = cutout(images, self._settings.cutout_size, self._fill, self._generator)
        return images


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Zero-pads images `(n, h, w, c)` on all sides and cuts the old size out at a random place."""
    n, height, width, _ = images.shape
    device = images.device
    padded = functional.pad(images, (0, 0, padding, padding, padding, padding))
    top, left = torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    return padded[torch.arange(n, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def horizontal_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each of the images `(n, h, w, c)` with probability one half."""
    flipped = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(flipped, images.flip(2), images)


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
