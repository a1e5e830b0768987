import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo.spec import DataSettings
from hpo.training.augmentation import Augmentation, color_jitter, crop_and_flip, cutout, mixup, rotation, vertical_flip


def images(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 256, (n, side, side, 2), dtype=torch.uint8, generator=generator(seed))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 50), st.integers(3, 9), st.integers(1, 4))
def test_a_crop_is_a_shift_with_zeros(seed: int, side: int, padding: int) -> None:
    original = images(6, side)
    cropped = crop_and_flip(original, padding, False, generator(seed))
    assert cropped.shape == original.shape and cropped.dtype == torch.uint8
    for before, after in zip(original, cropped, strict=True):
        padded = torch.nn.functional.pad(before, (0, 0, padding, padding, padding, padding))
        windows = [
            padded[top : top + side, left : left + side]
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
        ]
        assert any(torch.equal(after, window) for window in windows)


@given(st.integers(0, 50))
def test_a_flip_mirrors_or_leaves(seed: int) -> None:
    original = images(20, 5)
    flipped = crop_and_flip(original, 0, True, generator(seed))
    same = (flipped == original).flatten(1).all(1)
    mirrored = (flipped == original.flip(2)).flatten(1).all(1)
    assert bool((same | mirrored).all()) and 0 < int(same.sum()) < 20


@given(st.integers(0, 50), st.integers(2, 6), st.integers(1, 3))
def test_both_at_once_are_a_crop_of_the_image_or_of_its_mirror(seed: int, side: int, padding: int) -> None:
    original = torch.randint(1, 256, (9, side, side + 1, 3), dtype=torch.uint8, generator=generator(seed))
    both = crop_and_flip(original, padding, True, generator(seed))
    assert both.shape == original.shape
    for before, after in zip(original, both, strict=True):
        padded = torch.nn.functional.pad(before, (0, 0, padding, padding, padding, padding))
        windows = [
            padded[top : top + side, left : left + side + 1]
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
        ]
        assert any(torch.equal(after, window) or torch.equal(after, window.flip(1)) for window in windows)


def test_nothing_is_drawn_for_what_is_not_wanted() -> None:
    original, drawn = images(3, 4), generator(0)
    assert crop_and_flip(original, 0, False, drawn) is original
    assert torch.equal(drawn.get_state(), generator(0).get_state())


@given(st.integers(0, 50), st.integers(1, 12))
def test_cutout_paints_one_square_with_the_fill(seed: int, size: int) -> None:
    original = images(8, 9)
    fill = torch.zeros(2, dtype=torch.uint8)
    painted = (cutout(original, size, fill, generator(seed)) == 0).all(-1)
    for mask in painted:
        rows, columns = mask.any(1), mask.any(0)
        assert 1 <= int(rows.sum()) <= size and 1 <= int(columns.sum()) <= size
        assert torch.equal(mask, rows[:, None] & columns[None, :])


def test_mixup_mixes_images_and_targets_alike() -> None:
    pictures, targets = torch.rand(6, 1, 2, 2), torch.eye(6)
    mixed, soft = mixup(pictures, targets, 0.7, generator(0))
    torch.testing.assert_close(soft.sum(1), torch.ones(6))
    torch.testing.assert_close(mixed, torch.einsum("nm,mchw->nchw", soft, pictures))


def test_images_draw_on_their_own() -> None:
    original = images(1, 8).repeat(16, 1, 1, 1)
    assert len({image.numpy().tobytes() for image in crop_and_flip(original, 2, False, generator(0))}) > 4


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))


def any_images(shape: tuple[int, int, int, int], seed: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator(seed))


def greys(channels: int) -> torch.Tensor:
    return torch.full((channels,), 117, dtype=torch.uint8)


@given(SHAPES, st.integers(0, 50), st.floats(0.1, 180), st.floats(0.01, 1))
def test_the_same_generator_gives_the_same_pixels(
    shape: tuple[int, int, int, int], seed: int, degrees: float, strength: float
) -> None:
    original, fill = any_images(shape, seed), greys(shape[-1])
    for varied in (
        lambda drawn: vertical_flip(original, drawn),
        lambda drawn: rotation(original, degrees, fill, drawn),
        lambda drawn: color_jitter(original, strength, drawn),
    ):
        first, second = varied(generator(seed)), varied(generator(seed))
        assert first.shape == original.shape and first.dtype == torch.uint8
        assert torch.equal(first, second)
    assert torch.equal(original, any_images(shape, seed))  # nothing is written into the rows


@given(SHAPES, st.integers(0, 50))
def test_no_strength_changes_nothing(shape: tuple[int, int, int, int], seed: int) -> None:
    original = any_images(shape, seed)
    assert torch.equal(rotation(original, 0.0, greys(shape[-1]), generator(seed)), original)
    assert torch.equal(color_jitter(original, 0.0, generator(seed)), original)


@given(st.integers(0, 50))
def test_half_of_the_images_are_turned_upside_down(seed: int) -> None:
    original = images(20, 5)
    flipped = vertical_flip(original, generator(seed))
    same = (flipped == original).flatten(1).all(1)
    upside_down = (flipped == original.flip(1)).flatten(1).all(1)
    assert bool((same | upside_down).all()) and 0 < int(same.sum()) < 20


@given(st.integers(0, 50), st.floats(1, 180))
def test_a_point_is_rotated_by_the_angle_that_is_drawn(seed: int, degrees: float) -> None:
    height, width, arm = 41, 61, 15
    original = torch.zeros(1, height, width, 1, dtype=torch.uint8)
    original[0, 18:23, 28 + arm : 33 + arm] = 255  # a square to the right of the centre
    turned = rotation(original, degrees, torch.zeros(1, dtype=torch.uint8), generator(seed))[0, ..., 0].double()
    rows, columns = torch.arange(height).double() - 20, torch.arange(width).double() - 30
    down, right = ((turned * axis).sum() / turned.sum() for axis in (rows[:, None], columns[None, :]))
    drawn = abs(2 * torch.rand(1, generator=generator(seed)).item() - 1) * degrees
    assert abs(abs(math.degrees(math.atan2(down, right))) - drawn) < 1
    assert abs(math.hypot(down, right) - arm) < 0.5


@given(st.integers(0, 50), st.floats(1, 180))
def test_the_fill_comes_in_from_outside(seed: int, degrees: float) -> None:
    fill = torch.tensor([9, 200, 77], dtype=torch.uint8)
    plain = fill.expand(4, 7, 5, 3)
    assert torch.equal(rotation(plain, degrees, fill, generator(seed)), plain)


@given(st.integers(0, 50), st.floats(0.01, 1))
def test_grey_images_stay_grey_and_one_colour_keeps_its_contrast(seed: int, strength: float) -> None:
    grey = any_images((4, 6, 6, 1), seed).expand(-1, -1, -1, 3)
    varied = color_jitter(grey, strength, generator(seed)).int()
    assert int((varied.amax(-1) - varied.amin(-1)).max()) <= 1  # of rounding
    plain = torch.full((4, 6, 6, 1), 100, dtype=torch.uint8)
    varied = color_jitter(plain, strength, generator(seed))
    brightness = 1 + strength * (2 * torch.rand(3, 4, generator=generator(seed))[0] - 1)
    expected = (100 * brightness).view(4, 1, 1, 1).expand_as(plain)
    assert float((varied - expected).abs().max()) <= 0.51


def test_what_was_there_before_draws_as_before() -> None:
    """With none of the newer ones, crop, flip and cutout take the draws that they took."""
    names = ("random_crop", "horizontal_flip", "cutout")
    settings, fill, drawn = DataSettings.model_validate({"name": "npz", "augment": names}), greys(2), generator(3)
    varied = Augmentation(settings, fill, generator(3))(images(8, 16))
    assert torch.equal(varied, cutout(crop_and_flip(images(8, 16), 4, True, drawn), 8, fill, drawn))


def test_all_of_them_are_applied_in_their_order() -> None:
    names = ("cutout", "color_jitter", "rotation", "vertical_flip")
    settings, fill, drawn = DataSettings.model_validate({"name": "npz", "augment": names}), greys(2), generator(3)
    varied = Augmentation(settings, fill, generator(3))(images(8, 16))
    expected = rotation(vertical_flip(images(8, 16), drawn), 15.0, fill, drawn)
    assert torch.equal(varied, cutout(color_jitter(expected, 0.2, drawn), 8, fill, drawn))
