"""BatchNormReLU in one against its steps in torch."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hpo.models.normalization import BatchNormReLU
from hpo.training.kernels import _in_one, normalization, own_kernels
from tests.training.kernels.conftest import needed
from tests.training.kernels.test_normalization import drawn

CPU = torch.device("cpu")


def layer_for(channels: int, pool: bool) -> BatchNormReLU:
    layer = BatchNormReLU(channels, pool=pool)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.5, 2, channels))
        layer.bias.copy_(torch.linspace(-1, 1, channels))
    return layer


def results(images: Tensor, shortcut: Tensor | None, own: bool, pool: bool = False) -> list[Tensor]:
    """Outputs, all gradients, and all buffers."""
    layer = layer_for(images.shape[1], pool)
    given = [it.clone().requires_grad_() for it in (images, shortcut) if it is not None]
    with own_kernels(layer, own, CPU):
        outputs = layer(*given)
    outputs.backward(torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)))
    gradients = [it.grad for it in (*given, *layer.parameters())]
    assert all(it is not None for it in gradients)
    return [outputs.detach(), *(it for it in gradients if it is not None), *layer.buffers()]


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    """But where a value is at zero, or two are at the same, to rounding: there it goes one way or the other."""
    for own, torchs in zip(found, expected, strict=True):
        assert own.shape == torchs.shape and own.dtype == torchs.dtype
        away = (own - torchs).abs() > 1e-4 * torchs.abs().max() + 1e-4 * torchs.abs()
        assert away.float().mean() <= 1e-3


@needed
@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 5),
    st.integers(2, 40),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["alone", "shortcut", "pool"]),
)
def test_it_is_what_its_steps_are(n: int, channels: int, height: int, width: int, what: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(normalization, "_VALUES", 0)
        images = drawn(n, channels, 2 * height, 2 * width)
        shortcut = drawn(n, channels, 2 * height, 2 * width).flip(0).sub(5) if what == "shortcut" else None
        assert _in_one(layer_for(channels, what == "pool"), images, shortcut)
        first, second = (results(images, shortcut, own, what == "pool") for own in (True, False))
        assert_close(first, second)


@needed
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("pool", [False, True])
def test_threads_share_the_work_and_the_same_bits_come_again(threads: int, pool: bool) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        images, shortcut = drawn(64, 20, 32, 32), None if pool else drawn(64, 20, 32, 32)
        first, second = results(images, shortcut, True, pool), results(images, shortcut, True, pool)
        assert all(map(torch.equal, first, second))
        assert_close(first, results(images, shortcut, False, pool))
    finally:
        torch.set_num_threads(before)


@needed
@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.eval(),
        lambda layer: setattr(layer, "momentum", None),
        lambda layer: layer.double(),
    ],
)
def test_what_there_is_no_code_for_goes_step_by_step(change: Callable[[BatchNormReLU], object]) -> None:
    images = drawn(32, 12, 32, 32)
    layer, plain = layer_for(12, False), layer_for(12, False)
    change(layer)
    change(plain)
    images = images.to(layer.weight.dtype)
    assert not _in_one(layer, images, None)
    with own_kernels(nn.Sequential(layer), True, CPU):
        outputs = layer(images)
    torch.testing.assert_close(outputs, plain.steps(images), rtol=1e-4, atol=1e-4)
    assert all(map(torch.allclose, layer.buffers(), plain.buffers()))


@needed
def test_shortcuts_that_do_not_fit_are_left_to_torch() -> None:
    images, layer = drawn(32, 12, 32, 32), layer_for(12, False)
    assert _in_one(layer, images, images)
    assert not _in_one(layer, images, images[:1])
    assert not _in_one(layer, images, images.double())
    assert not _in_one(layer, images, images.contiguous())
    assert not _in_one(layer_for(12, True), images, images)
    assert not _in_one(layer_for(12, True), drawn(32, 12, 31, 33), None)


@needed
def test_what_is_not_a_number_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalization, "_VALUES", 0)
    for pool in (False, True):
        images = drawn(2, 9, 4, 4)
        images[0, 3, 1, 1] = torch.nan
        outputs = results(images, None, True, pool)[0]
        assert outputs[:, 3].isnan().all() and not outputs[:, :3].isnan().any()
