"""Pictures as cameras, scanners, microscopes and drawing programs leave them, read as 8 bits."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from hpo.datasets.images import image_files, ranges_of, read_image
from hpo.datasets.notes import Notes
from hpo.errors import DataError

HEIGHT, WIDTH = 6, 5
SIZE = (HEIGHT, WIDTH)
ORIENTATION = 0x0112


def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)


def saved(path: Path, picture: np.ndarray, **how: Any) -> Path:
    Image.fromarray(picture).save(path, **how)
    return path


def tiff(path: Path, picture: np.ndarray, sample_format: int) -> Path:
    """A TIFF of one channel of any type; 1 is without a sign, 2 with one, 3 floats."""
    height, width = picture.shape
    data = picture.tobytes()
    short = {258: picture.dtype.itemsize * 8, 259: 1, 262: 1, 277: 1, 339: sample_format}
    long = {256: width, 257: height, 273: 8, 278: height, 279: len(data)}
    entries = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in short.items()]
    entries += [struct.pack("<HHII", tag, 4, 1, value) for tag, value in long.items()]
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)
    return path


def read(path: Path, channels: int = 1, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, tuple[str, ...]]:
    """The picture, as it is read among training pictures, and what is said of it."""
    notes = Notes()
    pixels = read_image(path, size, channels, ranges_of([path]), notes)
    return pixels[..., 0] if channels == 1 else pixels, notes.lines()


@pytest.mark.parametrize(
    ("name", "picture", "note"),
    [
        ("a.png", grey(), None),
        ("a.png", grey().astype(np.uint16) * 257, "pictures of 16 bits read as 8 bits, 0 to 65535 as 0 to 255: 1"),
        ("a.tif", grey().astype(np.uint16) * 257, "pictures of 16 bits read as 8 bits, 0 to 65535 as 0 to 255: 1"),
        ("a.pgm", grey().astype(np.uint16) * 257, "pictures of whole numbers read as 8 bits, 0 to 65535 as"),
        ("a.tif", (grey() / 255).astype(np.float32), "pictures of floats read as 8 bits, 0 to 1 as 0 to 255: 1"),
        ("a.tif", grey().astype(np.float32), "pictures of floats read as 8 bits, 0 to 255 as 0 to 255: 1"),
        ("a.png", grey().astype(np.uint16), "pictures of 16 bits read as 8 bits, 0 to 255 as 0 to 255: 1"),
    ],
)
def test_a_picture_is_the_same_however_many_bits_it_has(
    name: str, picture: np.ndarray, note: str | None, tmp_path: Path
) -> None:
    pixels, notes = read(saved(tmp_path / name, picture))
    np.testing.assert_array_equal(pixels, grey())
    assert notes == () if note is None else notes[0].startswith(note)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_detector_of_fewer_bits_than_its_file_is_not_dark(bits: int, tmp_path: Path) -> None:
    most = 2**bits - 1
    pixels, _ = read(saved(tmp_path / "a.png", np.linspace(0, most, 30).astype(np.uint16).reshape(SIZE)))
    assert pixels.min() == 0 and pixels.max() == 255 and len(np.unique(pixels)) == 30


@pytest.mark.parametrize(
    ("picture", "sample_format", "ends"),
    [
        (grey().astype(np.int16) - 100, 2, (-100, 155)),
        (grey().astype(np.int32) * 8_000_000 - 10**9, 2, (-(10**9), 1_040_000_000)),
        (grey().astype(np.uint32) * 16_843_009, 1, (0, 2**32 - 1)),
        (grey().astype(np.float32) - 1000, 3, (-1000, -745)),
    ],
)
def test_numbers_of_any_range_are_scaled_by_that_of_the_training_pictures(
    picture: np.ndarray, sample_format: int, ends: tuple[float, float], tmp_path: Path
) -> None:
    picture[0, 0], picture[0, 1] = ends
    path = tiff(tmp_path / "a.tif", picture, sample_format)
    assert list(ranges_of([path]).values()) == [ends]
    low, high = ends
    expected = np.rint((picture.astype(np.float64) - low) * (255 / (high - low)))
    np.testing.assert_array_equal(read(path)[0], expected)


def test_one_range_holds_for_all_pictures_of_a_kind(tmp_path: Path) -> None:
    dark = saved(tmp_path / "dark.png", np.full(SIZE, 1000, np.uint16))
    light = saved(tmp_path / "light.png", np.full(SIZE, 60000, np.uint16))
    plain = saved(tmp_path / "plain.png", grey())
    real = saved(tmp_path / "real.tif", np.full(SIZE, 0.5, np.float32))
    ranges = ranges_of([dark, plain, light, real])
    assert ranges == {"16-bit": (0, 65535), "float": (0, 1)}
    assert read_image(dark, SIZE, 1, ranges).max() == 4  # alone it would be 249
    assert ranges_of([plain]) == {}


def test_what_nothing_is_known_of_is_refused_and_what_is_beyond_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "heat.tif", np.array([[20.0, 35.0]] * 2, np.float32))
    with pytest.raises(DataError, match=r"heat\.tif: holds floats from 20 to 35, where 0 to 1 are expected"):
        read_image(path, (2, 2), 1)
    notes = Notes()
    pixels = read_image(path, (2, 2), 1, {"float": (25.0, 45.0)}, notes)
    assert pixels[..., 0].tolist() == [[0, 128], [0, 128]]
    assert any(
        line.startswith("pictures with values cut off, beyond the training pictures' 25 to 45: 1")
        for line in notes.lines()
    )
    nothing = saved(tmp_path / "nothing.tif", np.array([[np.nan, 1.0]], np.float32))
    for use in (lambda: ranges_of([nothing]), lambda: read_image(nothing, (2, 2), 1)):
        with pytest.raises(DataError, match=r"nothing\.tif: has pixels that are not finite numbers"):
            use()


def drawing(colour: int) -> np.ndarray:
    """A drawing that is in the alpha channel alone."""
    picture = np.full((*SIZE, 4), colour, np.uint8)
    picture[..., 3] = grey()
    return picture


def test_a_drawing_in_the_alpha_channel_is_seen(tmp_path: Path) -> None:
    pixels, notes = read(saved(tmp_path / "a.png", drawing(0)))
    np.testing.assert_array_equal(pixels, 255 - grey())
    assert notes == (f"transparent pictures laid on white: 1 ({tmp_path.name}/a.png)",)
    with pytest.raises(DataError, match=r"b\.png: is drawn in white on transparent"):
        read(saved(tmp_path / "b.png", drawing(255)))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "I;16"])
def test_what_is_transparent_is_white(mode: str, tmp_path: Path) -> None:
    picture, path = grey() | 1, tmp_path / "a.png"
    picture[0, 0] = 8  # nowhere else, since the others are odd
    alpha = np.where(picture == 8, 0, 255).astype(np.uint8)
    if mode in ("LA", "RGBA"):
        saved(path, np.dstack([picture, alpha] if mode == "LA" else [picture, picture, picture, alpha]))
    elif mode == "I;16":
        saved(path, picture.astype(np.uint16) * 257, transparency=8 * 257)
    else:
        Image.fromarray(picture).convert(mode).save(path, transparency=8)
    expected = np.where(picture == 8, 255, picture)
    np.testing.assert_array_equal(read(path)[0], expected)


def test_opaque_pictures_keep_their_values(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    opaque = np.dstack([colour, np.full(SIZE, 255, np.uint8)])
    plain, notes = read(saved(tmp_path / "a.png", colour), channels=3)
    np.testing.assert_array_equal(plain, colour)
    np.testing.assert_array_equal(read(saved(tmp_path / "b.png", opaque), channels=3)[0], colour)
    ink = Image.fromarray(colour).convert("CMYK")
    ink.save(tmp_path / "c.tif")
    np.testing.assert_array_equal(read(tmp_path / "c.tif", channels=3)[0], colour)
    assert notes == ()


@pytest.mark.parametrize("deep", [False, True])
def test_a_picture_is_turned_as_its_exif_says(deep: bool, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = grey().astype(np.uint16) * 257 if deep else grey()
    pixels, _ = read(saved(tmp_path / "a.png", picture, exif=exif), size=(WIDTH, HEIGHT))
    np.testing.assert_array_equal(pixels, np.rot90(grey(), -1))


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_of_several_pages_or_frames_the_first_is_read_and_that_is_said(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    how: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(grey()).save(path, save_all=True, append_images=[Image.fromarray(255 - grey())], **how)
    pixels, notes = read(path)
    np.testing.assert_array_equal(pixels, grey())
    assert notes == (
        f"pictures of several pages or frames, of which the first is read: 1 ({tmp_path.name}/a.{suffix})",
    )


def test_channels_of_16_bits_are_said_to_lose_half(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = np.dstack([grey()] * 3).astype(">u2") * 257
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in colour)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )
    pixels, notes = read(path)
    np.testing.assert_array_equal(pixels, grey())
    assert notes[0].startswith("pictures of several channels of 16 bits, of which the upper 8 are read: 1")


def test_what_is_no_picture_is_named_and_no_other_decoder_is_tried(tmp_path: Path) -> None:
    (tmp_path / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    whole = saved(tmp_path / "a.png", grey()).read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.png").mkdir()
    for name, message in (
        ("script.png", "its content is none of PNG, JPEG"),
        ("torn.png", "cannot be read as an image: "),
        ("folder.png", "it is no regular file"),
    ):
        with pytest.raises(DataError, match=f"{name}: .*{message}") as told:
            read_image(tmp_path / name, SIZE, 1)
        assert "\n" not in str(told.value)


def test_a_folder_says_what_it_leaves_out(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.Gif", "notes.txt", "e.heic", "f.csv", "g.md", ".DS_Store", "._a.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "deeper.png").mkdir()
    notes = Notes()
    assert [path.name for path in image_files(tmp_path, notes, tmp_path)] == ["a.png", "b.JPG", "c.Gif"]
    hidden, deeper, other = notes.lines()
    assert hidden == "hidden files and folders left out: 3 (.DS_Store, ._a.png, .ipynb_checkpoints)"
    assert deeper == "subfolders left out, since pictures must lie directly in their folder: 1 (deeper.png)"
    assert other.startswith("files left out, since they are none of .png, ") and other.endswith(
        ": 4 (e.heic, f.csv, g.md, ...)"
    )


@given(picture=arrays.arrays(np.uint16, SIZE), most=st.integers(0, 65535))
@settings(max_examples=30)
def test_sixteen_bits_keep_order_and_are_off_by_half_a_step_at_most(
    picture: np.ndarray, most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    picture = np.minimum(picture, most)
    path = saved(tmp_path_factory.mktemp("deep") / "a.tif", picture)
    (_, high) = ranges_of([path])["16-bit"]
    assert picture.max() <= high
    pixels = read(path)[0]
    np.testing.assert_allclose(pixels, picture * (255 / high), atol=0.5 + 1e-9)
