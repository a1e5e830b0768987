import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hpo.kernels import normalization, own_kernels
from tests.kernels.conftest import needed

CPU = torch.device("cpu")
NEAR = {torch.float32: 1e-4, torch.bfloat16: 0.01}
"""Type of values -> the share by which they may differ: bfloat16 has eight bits."""
KINDS = st.sampled_from(list(NEAR))


def results(values: Tensor, own: bool, momentum: float = 0.1) -> list[Tensor]:
    """Outputs, gradients of values, weight and bias, and the running statistics."""
    channels = values.shape[1]
    layer = (nn.BatchNorm2d if values.ndim == 4 else nn.BatchNorm1d)(channels, momentum=momentum)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, channels))
        layer.bias.copy_(torch.linspace(-1, 1, channels))
    values = values.clone(memory_format=torch.preserve_format).requires_grad_()
    with own_kernels(layer, own, CPU):
        outputs = layer(values)
    outputs.backward(torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).to(values.dtype))
    mean, variance = layer.running_mean, layer.running_var
    assert values.grad is not None and layer.weight.grad is not None and layer.bias.grad is not None
    assert mean is not None and variance is not None and layer.num_batches_tracked == 1
    return [outputs.detach(), values.grad, layer.weight.grad, layer.bias.grad, mean, variance]


def four(channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Running mean and variance, weight and bias."""
    one, two, three, last = torch.zeros(4, channels)
    return one, two, three, last


def drawn(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
    made = (3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0)) + 5).to(kind)
    return made.contiguous(memory_format=torch.channels_last) if made.ndim == 4 else made


def assert_close(found: list[Tensor], expected: list[Tensor], near: float = 1e-4) -> None:
    for own, torchs in zip(found, expected, strict=True):
        assert own.stride() == torchs.stride() and own.dtype == torchs.dtype
        torch.testing.assert_close(own, torchs, rtol=near, atol=near * float(torchs.abs().max()))


@needed
@settings(max_examples=80)
@given(st.integers(2, 6), st.integers(2, 70), st.integers(2, 9), st.integers(2, 9), st.floats(0.0, 1.0), KINDS)
def test_it_is_batch_normalization(
    n: int, channels: int, height: int, width: int, momentum: float, kind: torch.dtype
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(normalization, "_VALUES", 0)
        values = drawn(n, channels, height, width, kind=kind)
        assert normalization.suits(values, *four(channels), training=True)
        assert_close(results(values, True, momentum), results(values, False, momentum), NEAR[kind])


@needed
@pytest.mark.parametrize("kind", NEAR)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(64, 12, 32, 32), (4100, 64), (64, 17, 17, 16), (3, 1024, 10, 10)])
def test_threads_share_the_work_and_the_same_bits_come_again(
    threads: int, shape: tuple[int, ...], kind: torch.dtype
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        values = drawn(*shape, kind=kind)
        first, second = results(values, True), results(values, True)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert_close(first, results(values, False), NEAR[kind])
    finally:
        torch.set_num_threads(before)


@needed
def test_values_far_from_zero_keep_their_variance() -> None:
    values = drawn(64, 8, 32, 32) + 1000
    exact = values.double().transpose(0, 1).flatten(1).var(dim=1)
    torch.testing.assert_close((results(values, True, momentum=1.0)[5]).double(), exact, rtol=1e-3, atol=1e-3)


@needed
def test_what_follows_may_write_over_its_output_and_some_may_be_frozen() -> None:
    gradients = []
    for own in (False, True):
        layer = nn.BatchNorm2d(12, eps=1, momentum=None)
        layer.weight.requires_grad_(False)
        values = drawn(32, 12, 32, 32).requires_grad_()
        with own_kernels(layer, own, CPU):
            outputs = torch.relu_(layer(values).add_(0.5))
        (outputs * outputs).sum().backward()
        assert values.grad is not None and layer.weight.grad is None and layer.bias.grad is not None
        assert layer.running_var is not None
        gradients.append([outputs.detach(), values.grad, layer.bias.grad, layer.running_var])
    assert_close(gradients[1], gradients[0])


@needed
def test_what_it_is_not_for_is_torchs() -> None:
    values, others = drawn(64, 8, 32, 32), four(8)
    assert normalization.suits(values, *others, training=True)
    assert not normalization.suits(values, *others, training=False)
    assert not normalization.suits(values.contiguous(), *others, training=True)
    assert not normalization.suits(values.double(), *others, training=True)
    assert not normalization.suits(drawn(2, 8, 3, 3), *others, training=True)
    assert not normalization.suits(values, *four(7), training=True)
    assert not normalization.suits(values, *others, training=True, eps=0.0)
    assert not normalization.suits(values, *others[:3], torch.zeros(8, 2)[:, 0], training=True)
    assert not normalization.suits(values, None, None, others[0], others[1], training=True)
    assert not normalization.suits(values, others[0], others[1], None, None, training=True)
    assert not normalization.suits(values.half(), *others, training=True)


@needed
def test_values_are_rounded_as_torch_rounds() -> None:
    values = drawn(64, 8, 32, 32).bfloat16()
    special = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 3.3e38])
    values.permute(0, 2, 3, 1)[0, 0, :, 2] = special.repeat(4).bfloat16()
    layer = nn.BatchNorm2d(8).eval()
    layer.running_mean.copy_(torch.linspace(-1, 1, 8))  # type: ignore[union-attr]
    others = [it.detach() for it in (layer.running_mean, layer.running_var, layer.weight, layer.bias) if it is not None]
    with torch.no_grad(), own_kernels(layer, True, CPU, torch.bfloat16):
        outputs = layer(values)
    mean, variance, weight, bias = others
    scale, shift = normalization.affine_from(mean, variance, weight, bias, layer.eps)[:2]
    expected = torch.addcmul(shift.view(1, -1, 1, 1), values.float(), scale.view(1, -1, 1, 1)).bfloat16()
    assert torch.equal(outputs.isnan(), expected.isnan())
    assert torch.equal(outputs.nan_to_num(), expected.nan_to_num())
