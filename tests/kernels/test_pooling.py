from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hpo.kernels import own_kernels, pooling
from tests.kernels.conftest import needed

CPU = torch.device("cpu")


def results(images: Tensor, own: bool, layer: nn.Module | None = None) -> list[Tensor]:
    """The outputs, and the gradients of the images."""
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    model = nn.Sequential(layer or nn.MaxPool2d(2), nn.Conv2d(images.shape[1], 2, 1))
    with own_kernels(model, own, CPU, images.dtype):
        outputs = model[0](images)
    outputs.backward(torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).to(images.dtype))
    assert images.grad is not None
    return [outputs.detach(), images.grad]


KINDS = st.sampled_from([torch.float32, torch.bfloat16])


def drawn(*shape: int, values: int = 1000, kind: torch.dtype = torch.float32) -> Tensor:
    """Images, many pixels of which are equal where there are few values."""
    made = torch.randint(values, shape, generator=torch.Generator().manual_seed(0)).to(kind)
    return made.contiguous(memory_format=torch.channels_last)


@needed
@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.sampled_from([2, 1000]), KINDS)
def test_it_is_the_maximum(n: int, channels: int, height: int, width: int, values: int, kind: torch.dtype) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pooling, "_VALUES", 0)
        images = drawn(n, channels, 2 * height, 2 * width, values=values, kind=kind)
        for own, torchs in zip(results(images, True), results(images, False), strict=True):
            assert torch.equal(own, torchs) and (own.stride() == torchs.stride() or channels == 1)


@needed
@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), KINDS)
def test_it_is_the_mean(n: int, channels: int, height: int, width: int, threads: int, kind: torch.dtype) -> None:
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pooling, "_VALUES", 0)
        torch.set_num_threads(threads)
        images = drawn(n, channels, 2 * height, 2 * width, kind=kind)
        layer = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        assert pooling.averages(images, 2, 2, 0, True, False)
        for own, torchs in zip(results(images, True, layer), results(images, False, layer), strict=True):
            torch.testing.assert_close(own, torchs)
            assert own.stride() == torchs.stride() or channels == 1
    torch.set_num_threads(before)


@needed
def test_what_is_not_a_number_is_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "_VALUES", 0)
    images = drawn(2, 11, 4, 4)
    images[0, :, 1, 0] = images[1, 3, 2, 2] = images[1, 3, 2, 3] = torch.nan
    images[1, 9, 0, 0] = torch.inf
    for own, torchs in zip(results(images, True), results(images, False), strict=True):
        assert torch.equal(own.nan_to_num(-1), torchs.nan_to_num(-1))


@needed
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_the_work(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        images = drawn(32, 20, 32, 32)
        assert pooling.suits(images.requires_grad_(), 2)
        assert all(map(torch.equal, results(images.detach(), True), results(images.detach(), False)))
    finally:
        torch.set_num_threads(before)


@needed
def test_other_means_are_torchs() -> None:
    images = drawn(32, 16, 32, 32)
    assert pooling.averages(images, 2) and pooling.averages(images, (2, 2), 2, 0, True, False)
    assert not pooling.averages(images, 3) and not pooling.averages(images, 2, 1)
    assert not pooling.averages(images, 2, 2, 1) and not pooling.averages(images, 2, divisor_override=3)
    assert not pooling.averages(drawn(33, 16, 31, 32), 2) and not pooling.averages(images.double(), 2)
    assert not pooling.averages(images.contiguous(), 2) and not pooling.averages(drawn(1, 2, 4, 4), 2)


@needed
@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3},
        {"kernel_size": 2, "stride": 1},
        {"kernel_size": 2, "padding": 1},
        {"kernel_size": 2, "dilation": 2},
        {"kernel_size": 2, "return_indices": True},
    ],
)
def test_other_pools_are_torchs(arguments: dict[str, Any]) -> None:
    assert pooling.suits(drawn(32, 16, 32, 32).requires_grad_(), 2, 2, 0, 1, False)
    assert not pooling.suits(drawn(32, 16, 32, 32).requires_grad_(), **arguments)
    assert not pooling.suits(drawn(33, 16, 31, 32).requires_grad_(), 2)
    assert not pooling.suits(drawn(32, 16, 32, 32).contiguous().requires_grad_(), 2)
    assert not pooling.suits(drawn(32, 16, 32, 32), 2)
