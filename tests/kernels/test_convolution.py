from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from hpo.kernels import library, own_kernels
from tests.kernels.conftest import needed

CPU = torch.device("cpu")


def results(layer: nn.Conv2d, images: Tensor, fast: bool) -> list[Tensor]:
    """The outputs of a layer, and the gradients of its images and weights."""
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    layer.zero_grad()
    with own_kernels(layer, fast, CPU):
        outputs = layer(images)
    generator = torch.Generator().manual_seed(1)
    outputs.backward(torch.randn(outputs.shape, generator=generator))
    assert images.grad is not None and layer.weight.grad is not None
    return [outputs.detach(), images.grad, layer.weight.grad.clone()]


def pictures(*shape: int) -> Tensor:
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return made.to(memory_format=torch.channels_last)


def close(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(float((a - b).abs().max()) <= 1e-4 * float(b.abs().max()) for a, b in zip(found, expected, strict=True))


@needed
@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(6, 50), st.integers(6, 50), st.integers(3, 20), st.integers(3, 20), st.booleans())
def test_it_is_the_convolution(n: int, fan_in: int, fan_out: int, height: int, width: int, bias: bool) -> None:
    layer = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=bias).to(memory_format=torch.channels_last)
    images = pictures(n, fan_in, height, width)
    found, expected = results(layer, images, True), results(layer, images, False)
    assert close(found, expected)
    assert [tensor.stride() for tensor in found] == [tensor.stride() for tensor in expected]


@needed
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_work_and_the_same_bits_come_again(threads: int) -> None:
    layer = nn.Conv2d(20, 24, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    images, before = pictures(9, 20, 9, 10), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first, second = results(layer, images, True), results(layer, images, True)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert close(first, results(layer, images, False))
    finally:
        torch.set_num_threads(before)


@needed
@pytest.mark.parametrize(
    ("layer", "suits"),
    [
        (nn.Conv2d(16, 16, 3, padding=1), True),
        (nn.Conv2d(16, 16, 3, padding=(1, 1), stride=(1, 1)), True),
        (nn.Conv2d(16, 16, 3), False),
        (nn.Conv2d(16, 16, 3, padding="same"), False),
        (nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(16, 16, 3, padding=1, stride=2), False),
        (nn.Conv2d(16, 16, 3, padding=2, dilation=2), False),
        (nn.Conv2d(16, 16, 3, padding=1, groups=16), False),
        (nn.Conv2d(16, 16, 5, padding=2), False),
        (nn.Conv2d(16, 5, 3, padding=1), False),
    ],
)
def test_other_convolutions_are_torchs(layer: nn.Conv2d, suits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    call = library.call

    def counted(name: str, *rest: Any) -> None:
        seen.append(name)
        call(name, *rest)

    monkeypatch.setattr(library, "call", counted)
    layer = layer.to(memory_format=torch.channels_last)
    found = results(layer, pictures(2, 16, 8, 8), True)
    assert bool(seen) == suits and close(found, results(layer, pictures(2, 16, 8, 8), False))


@needed
def test_bfloat16_is_left_to_torch() -> None:
    layer = nn.Conv2d(16, 16, 3, padding=1).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16), own_kernels(layer, True, CPU):
        outputs = layer(pictures(2, 16, 8, 8))
        expected = functional.conv2d(pictures(2, 16, 8, 8), layer.weight, layer.bias, padding=1)
    assert outputs.dtype == torch.bfloat16 and torch.equal(outputs, expected)
