"""BatchNormReLU in one against its steps in torch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hpo.kernels import _in_one, convolution, normalization, own_kernels
from hpo.kernels.layers import BatchNormReLU
from tests.kernels.conftest import needed
from tests.kernels.test_normalization import drawn

CPU = torch.device("cpu")
DRAWN = (
    st.integers(2, 5),
    st.integers(2, 40),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["alone", "shortcut", "pool", "convolution", "pool and convolution"]),
)
"""Images, channels, half of the height and of the width, and what is done with them."""


def layer_for(channels: int, pool: bool) -> BatchNormReLU:
    layer = BatchNormReLU(channels, pool=pool)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.5, 2, channels))
        layer.bias.copy_(torch.linspace(-1, 1, channels))
    return layer


def convolution_for(channels: int, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, 7, 3, padding=1, bias=bias).to(memory_format=torch.channels_last)


def results(
    images: Tensor, shortcut: Tensor | None, own: bool, pool: bool = False, then: nn.Conv2d | None = None
) -> list[Tensor]:
    """Outputs, all gradients, and all buffers."""
    layer = layer_for(images.shape[1], pool)
    given = [it.clone().requires_grad_() for it in (images, shortcut) if it is not None]
    parts = nn.ModuleList([layer] if then is None else [layer, then])
    parts.zero_grad()
    with own_kernels(parts, own, CPU, images.dtype), torch.autocast("cpu", enabled=images.dtype == torch.bfloat16):
        outputs = layer(*given, then=then)
    outputs.backward(torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).to(outputs.dtype))
    gradients = [it.grad for it in (*given, *parts.parameters())]
    assert all(it is not None for it in gradients)
    return [outputs.detach(), *(it for it in gradients if it is not None), *layer.buffers()]


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    """But where a value is at zero, or two are at the same, to rounding: there it goes one way or the other."""
    for own, torchs in zip(found, expected, strict=True):
        assert own.shape == torchs.shape and own.dtype == torchs.dtype
        away = (own - torchs).abs() > 1e-4 * torchs.abs().max() + 1e-4 * torchs.abs()
        assert away.float().mean() <= 1e-3


@needed
@settings(max_examples=60)
@given(*DRAWN)
def test_it_is_what_its_steps_are(n: int, channels: int, height: int, width: int, what: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(normalization, "_VALUES", 0)
        images = drawn(n, channels, 2 * height, 2 * width)
        shortcut = drawn(n, channels, 2 * height, 2 * width).flip(0).sub(5) if what == "shortcut" else None
        pool, then = "pool" in what, convolution_for(channels) if "convolution" in what else None
        assert _in_one(layer_for(channels, pool), images, shortcut)
        first, second = (results(images, shortcut, own, pool, then) for own in (True, False))
        assert_close(first, second)


@needed
@settings(max_examples=60)
@given(*DRAWN)
def test_in_bfloat16_it_is_what_its_steps_are_in_float32(
    n: int, channels: int, height: int, width: int, what: str
) -> None:
    """Between its steps nothing is rounded, so it is nearer to that than to torch's steps in bfloat16."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(normalization, "_VALUES", 0)
        images = drawn(n, channels, 2 * height, 2 * width, kind=torch.bfloat16)
        shortcut = images.flip(0).sub(5) if what == "shortcut" else None
        pool, then = "pool" in what, convolution_for(channels) if "convolution" in what else None
        assert _in_one(layer_for(channels, pool), images, shortcut)
        found = results(images, shortcut, True, pool, then)
        expected = results(images.float(), None if shortcut is None else shortcut.float(), False, pool, then)
        assert [it.dtype for it in found[:2]] == [torch.bfloat16] * 2
        for own, exact in zip(found, expected, strict=True):
            assert (
                own - exact
            ).float().norm() <= 0.1 * exact.float().norm()  # of 1,500 draws all but one were within 0.02


@needed
@pytest.mark.parametrize("bias", [True, False])
def test_what_a_convolution_alone_sees_is_not_kept(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    images, layer, then = drawn(8, 12, 32, 32).requires_grad_(), layer_for(12, False), convolution_for(12, bias)
    made: list[Tensor] = []
    convolve: Callable[..., Tensor] = convolution.rectify_and_convolve

    def noted(*given: Any) -> Tensor:
        made.append(convolve(*given[:-1], None))
        return made[-1]

    monkeypatch.setattr(convolution, "rectify_and_convolve", noted)
    with own_kernels(nn.ModuleList([layer, then]), True, CPU):
        layer(images, then=then)
    saved = made[0].grad_fn.saved_tensors  # type: ignore[union-attr]
    assert [it.shape for it in saved].count(images.shape) == 1


@needed
@pytest.mark.parametrize("what", ["alone", "shortcut", "pool", "convolution"])
def test_when_it_predicts_it_goes_by_the_running_statistics(what: str) -> None:
    images, pool = drawn(32, 12, 32, 32), what == "pool"
    shortcut = images.flip(0) if what == "shortcut" else None
    then = convolution_for(12) if what == "convolution" else None
    layer = layer_for(12, pool).eval()
    layer.running_mean.copy_(torch.linspace(-2, 2, 12))  # type: ignore[union-attr]
    layer.running_var.copy_(torch.linspace(0.5, 3, 12))  # type: ignore[union-attr]
    before = [it.clone() for it in layer.buffers()]
    with torch.inference_mode():
        assert _in_one(layer, images, shortcut)
        with own_kernels(layer, True, CPU):
            outputs = layer(images, shortcut, then)
        torch.testing.assert_close(outputs, layer.steps(images, shortcut, then), rtol=1e-4, atol=1e-4)
        plain = nn.BatchNorm2d(12).eval()
        plain.load_state_dict(layer.state_dict())
        assert normalization.suits(images, plain.running_mean, plain.running_var, plain.weight, plain.bias)
        with own_kernels(plain, True, CPU):
            outputs = plain(images)
        torch.testing.assert_close(outputs, plain(images), rtol=1e-4, atol=1e-4)
    assert all(map(torch.equal, layer.buffers(), before))


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
