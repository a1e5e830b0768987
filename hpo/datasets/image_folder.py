"""A folder of image files, one folder per class: `train/<class>/*` and `test/<class>/*`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hpo.datasets.dataset import Examples, Source
from hpo.errors import DataError
from hpo.spec import DataSettings

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def image_folder(settings: DataSettings, data_dir: Path) -> Source:
    """Reads every image as RGB, scaled and centre-cropped to `data.size` pixels square.

    Raises:
        DataError: a folder is missing or empty, the classes of train and test differ, or a file is no image.
    """
    root = Path(str(settings.path))
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise DataError(f"{root}: has no folder '{split}'; image_folder wants train/<class>/ and test/<class>/")
    classes = _class_names(root / "train")
    if len(classes) < 2:
        raise DataError(f"{root / 'train'}: needs a folder per class, at least two; found {len(classes)}")
    unknown = sorted(set(_class_names(root / "test")) - set(classes))
    if unknown:
        raise DataError(f"{root / 'test'}: class '{unknown[0]}' is not among the classes of train")
    train, test = (_read_split(root / split, classes, settings.size) for split in ("train", "test"))
    return Source(train, test, classes, str(root))


def read_image(path: Path, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """One image file as `(h, w, channels)` uint8, scaled and centre-cropped to `size` = (height, width).

    Raises:
        DataError: the file is no image that Pillow reads, or has more pixels than Pillow holds to be safe.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            fitted = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.BILINEAR)
    except Exception as error:  # a broken file makes Pillow's plug-ins raise almost anything
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
    pixels = np.asarray(fitted, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, by name; its subfolders are not entered."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))


def _read_split(folder: Path, classes: tuple[str, ...], size: int) -> Examples:
    files = [
        (path, label)
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for path in image_files(folder / name)
    ]
    if not files:
        raise DataError(f"{folder}: there are no images ({', '.join(SUFFIXES)})")
    images = np.stack([read_image(path, (size, size), channels=3) for path, _ in files])
    return Examples(images, np.array([label for _, label in files], dtype=np.int64))
