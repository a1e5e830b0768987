import pytest
import torch
from torch.nn import functional

from hpo.kernels import buffers


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_it_is_dense_and_channels_last_and_no_view(kind: torch.dtype) -> None:
    found = buffers.images(2, 3, 4, 5, kind=kind)
    expected = torch.empty(2, 3, 4, 5, memory_format=torch.channels_last)
    assert (found.shape, found.stride(), found.dtype) == (expected.shape, expected.stride(), kind)
    assert found.is_contiguous(memory_format=torch.channels_last) and not found._is_view()
    assert buffers.like(found).stride() == found.stride()


def test_it_outlives_who_asked_for_it() -> None:
    found = buffers.images(1, 8, 16, 16).fill_(3.0)
    for _ in range(20):
        buffers.images(1, 8, 16, 16).fill_(7.0)
    assert bool((found == 3).all())


@pytest.mark.parametrize("shape", [(5, 3), (1, 1)])
def test_rows_have_room_too(shape: tuple[int, int]) -> None:
    assert buffers.like(torch.zeros(shape)).shape == shape


def test_layers_may_write_to_it() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, values: torch.Tensor) -> torch.Tensor:
            return buffers.like(values).copy_(values * 2)

        @staticmethod
        def backward(ctx: object, gradients: torch.Tensor) -> torch.Tensor:
            return gradients * 2

    values = torch.linspace(-1, 1, 8).view(1, 2, 2, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    functional.relu(Doubled.apply(values), inplace=True).sum().backward()
    assert torch.equal(values.grad, 2 * (values > 0).float())  # type: ignore[arg-type]
