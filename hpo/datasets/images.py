"""Image files as 8-bit pixels: one way of reading for training and for prediction.

Pictures of 8 bits keep their values. Those of more bits or of floats are scaled to 0..255 by a range: that of the
training pictures, which the study keeps, or else what their type declares.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hpo.datasets.dataset import Ranges
from hpo.datasets.notes import Notes
from hpo.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Pillow's names of what is read; its decoders of other formats, some of which start programs, are never tried."""
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".pfm"),
)
NO_RANGES: Ranges = MappingProxyType({})

_KINDS = dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), "16-bit") | {"I": "integer", "F": "float"}
"""Pillow's modes of deep pictures."""
_DECLARED: Ranges = {"16-bit": (0, 65535), "integer": (0, 65535), "float": (0, 1)}
"""Kind -> range, where there were no training pictures of the kind."""
_WHOLE = (255, 1023, 4095, 16383, 65535)
"""The largest value of 8, 10, 12, 14 and 16 bits."""
_NAMES = {"16-bit": "16 bits", "integer": "whole numbers", "float": "floats"}
_BITS, _FORMAT = 258, 339
"""Tags of TIFF: BitsPerSample, and SampleFormat, which is 1 for whole numbers without a sign."""
_FILTER = Image.Resampling.BILINEAR
_HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")


def image_files(folder: Path, notes: Notes, base: Path) -> list[Path]:
    """The image files of a folder, by name; what else it holds is noted, and its subfolders are not entered.

    Args:
        folder: to look into.
        notes: are told of everything that is left out.
        base: names in notes are relative to it.
    """
    files = []
    for path in sorted(folder.iterdir()):
        name = str(path.relative_to(base))
        if is_hidden(path):
            notes.add("hidden files and folders left out", name)
        elif path.is_dir():
            notes.add("subfolders left out, since pictures must lie directly in their folder", name)
        elif path.suffix.lower() in SUFFIXES:
            files.append(path)
        else:
            notes.add(f"files left out, since they are none of {', '.join(SUFFIXES)}", name)
    return files


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is a system's or an editor's, not the user's."""
    return path.name.startswith(".") or path.name in _HIDDEN


def read_image(
    path: Path, size: tuple[int, int], channels: int, ranges: Ranges = NO_RANGES, notes: Notes | None = None
) -> NDArray[np.uint8]:
    """One image file as `(h, w, channels)` uint8, turned as its EXIF says, scaled and centre-cropped.

    Transparent pictures are laid on white. Of several pages or frames the first is read.

    Args:
        path: of the file.
        size: (height, width) of the result.
        channels: 1 for grey, else RGB.
        ranges: of the training pictures, for those of more than 8 bits.
        notes: are told of what could not be kept.

    Raises:
        DataError: the file is no image that is read here, it is damaged, its values have no known range, it shows
            nothing on white, or it has more pixels than Pillow holds to be safe.
    """
    notes = notes or Notes()
    with _opened(path) as image:
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # an MPO's others are previews
            notes.add("pictures of several pages or frames, of which the first is read", _shown(path))
        if image.mode not in _KINDS and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
            notes.add("pictures of several channels of 16 bits, of which the upper 8 are read", _shown(path))
        unsigned = _is_unsigned(image)
        upright = ImageOps.exif_transpose(image)
        if upright.mode in _KINDS:
            flat = _scaled(upright, _values(upright, unsigned, path), path, ranges, notes)
        elif upright.has_transparency_data:
            flat = _on_white(upright, path, notes)
        else:
            flat = upright
        fitted = ImageOps.fit(flat.convert("L" if channels == 1 else "RGB"), (size[1], size[0]), _FILTER)
    pixels = np.asarray(fitted, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def ranges_of(files: Iterable[Path]) -> dict[str, tuple[float, float]]:
    """The ranges by which the deep ones among these pictures are scaled; pictures of 8 bits need none.

    Whole numbers begin at 0 and end where 8, 10, 12, 14 or 16 bits do, floats are of 0 to 1 or 0 to 255; where the
    values do not fit these, the least and the largest count.

    Raises:
        DataError: a file cannot be read.
    """
    found: dict[str, tuple[float, float]] = {}
    for path in files:
        with _opened(path) as image:
            kind = _KINDS.get(image.mode)
            if kind is None:
                continue
            values = _values(image, _is_unsigned(image), path)
            low, high = float(values.min()), float(values.max())
        least, most = found.get(kind, (low, high))
        found[kind] = (min(least, low), max(most, high))
    return {kind: _rounded(kind, low, high) for kind, (low, high) in found.items()}


def _rounded(kind: str, low: float, high: float) -> tuple[float, float]:
    ends = (1, 255) if kind == "float" else _WHOLE
    end = next((end for end in ends if high <= end), None)
    if low >= 0 and end is not None:
        return 0.0, float(end)
    return low, high if high > low else low + 1


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, and whatever goes wrong with it as one sentence."""
    if not path.is_file():
        raise DataError(f"{path}: cannot be read as an image: it is no regular file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's news of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # a bomb is refused before it goes off
            # by its name Pillow would map the file, and end the process if that is shortened meanwhile
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: cannot be read as an image: its content is none of {', '.join(FORMATS)}, or"
            " of a kind that Pillow does not read, such as several channels of floats"
        ) from error
    except Exception as error:  # a broken file makes Pillow's plug-ins raise almost anything
        raise DataError(f"{path}: cannot be read as an image: {error}") from error


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _is_unsigned(image: Image.Image) -> bool:
    """Whether whole numbers of 32 bits have no sign; Pillow has them with a sign alone."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return image.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_FORMAT, (1,)) in (1, (1,))


def _values(image: Image.Image, unsigned: bool, path: Path) -> NDArray[Any]:
    """The values of a deep picture `(h, w)`."""
    values = np.asarray(image).view(np.uint32) if unsigned else np.asarray(image)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: has pixels that are not finite numbers; replace them")
    return values


def _scaled(image: Image.Image, values: NDArray[Any], path: Path, ranges: Ranges, notes: Notes) -> Image.Image:
    """A deep picture in 8 bits."""
    kind = _KINDS[image.mode]
    low, high = ranges.get(kind, _DECLARED[kind])
    outside = values.min() < low or values.max() > high
    if outside and kind not in ranges:
        raise DataError(
            f"{path}: holds {_NAMES[kind]} from {values.min():g} to {values.max():g}, where {low:g} to {high:g} are"
            " expected, since there were no such pictures in training that say another range; save it with 8 or 16 bits"
        )
    notes.add(f"pictures of {_NAMES[kind]} read as 8 bits, {low:g} to {high:g} as 0 to 255", _shown(path))
    if outside:
        notes.add(f"pictures with values cut off, beyond the training pictures' {low:g} to {high:g}", _shown(path))
    pixels = np.rint((np.clip(values, low, high).astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = 255
    return Image.fromarray(pixels)


def _on_white(image: Image.Image, path: Path, notes: Notes) -> Image.Image:
    """A picture laid on white where it is transparent.

    Raises:
        DataError: nothing can be seen on white of what its alpha channel draws.
    """
    whole = image.convert("RGBA")
    least, most = whole.getchannel("A").getextrema()
    if least == 255:
        return whole.convert("RGB")
    laid = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    if least != most and len(laid.getcolors(1) or ()):
        raise DataError(f"{path}: is drawn in white on transparent, and pictures are laid on white: nothing is left")
    notes.add("transparent pictures laid on white", _shown(path))
    return laid
