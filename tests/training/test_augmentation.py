import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo.training.augmentation import crop_and_flip, cutout, mixup


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
