"""CPU kernels for convolutional networks, in C++: the setting `training.kernels`.

Batch normalization, pooling of 2x2 pixels, and 3x3 convolutions in float32 on CPUs without AVX-512 take a third to a
half of torch's time. Results differ from torch's by rounding, about 1e-5 of the largest value in float32.
docs/kernels.md says what each kernel does, how it was checked, and what it gains.
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hpo.kernels import convolution, library, normalization, pooling
from hpo.kernels.cpu import capabilities
from hpo.kernels.layers import BatchNormReLU

_HELPED = (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)


def own_kernels(
    model: nn.Module, wanted: bool | Literal["auto"], device: torch.device, kind: torch.dtype = torch.float32
) -> AbstractContextManager[Any]:
    """Returns a context in which a model's forward and backward passes use these kernels where they are faster.

    Args:
        model: any module; it is not changed.
        wanted: the setting `training.kernels`. `auto` uses them on a CPU with AVX2 where there is a compiler; with
            AVX-512 all but the convolutions.
        device: of the model.
        kind: the type of the model's features.
    """
    if not wanted or device.type != "cpu" or not any(isinstance(part, _HELPED) for part in model.modules()):
        return nullcontext()
    has = capabilities()
    if not has.get("avx2", False):
        return nullcontext()
    if not library.is_available(kind):
        if wanted is True:
            warnings.warn("training.kernels: torch's own are used, since g++ is not there or fails", stacklevel=2)
        return nullcontext()
    return _Kernels(convolves=wanted is True or not has.get("avx512_f", False))


class _Kernels(TorchFunctionMode):
    """Replaces calls of torch's functions by kernels that compute the same.

    Args:
        convolves: whether convolutions are replaced too.
    """

    def __init__(self, convolves: bool) -> None:
        super().__init__()
        self._convolves = convolves

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and self._convolves and not kwargs and convolution.suits(*args):
            return convolution.convolve(*args[:3])
        if func is functional.batch_norm and normalization.suits(*args, **kwargs):
            return normalization.normalize(*args, **kwargs)
        if func is functional.max_pool2d and pooling.suits(*args, **kwargs):
            return pooling.pool(*args, **kwargs)
        if func is functional.avg_pool2d and not kwargs and pooling.averages(*args):
            return pooling.average(*args)
        if func is BatchNormReLU.forward:
            return self._rectified(*args)
        return func(*args, **kwargs)

    def _rectified(
        self, layer: BatchNormReLU, images: Tensor, shortcut: Tensor | None, then: nn.Conv2d | None
    ) -> Tensor:
        if not _in_one(layer, images, shortcut):
            with self:
                return layer.steps(images, shortcut, then)
        assert layer.running_mean is not None and layer.running_var is not None and layer.momentum is not None
        assert layer.num_batches_tracked is not None
        statistics = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
        if layer.training:
            layer.num_batches_tracked.add_(1)
            affine = normalization.batch_affine(images, *statistics, layer.momentum, layer.eps)
        else:
            affine = normalization.affine_from(*statistics, layer.eps)
        if layer.pool:
            outputs = pooling.normalize_and_pool(images, layer.weight, layer.bias, affine)
        elif self._convolves and shortcut is None and then is not None and convolution.suits(images, *_arguments(then)):
            return convolution.rectify_and_convolve(images, layer.weight, layer.bias, affine, then.weight, then.bias)
        else:
            outputs = normalization.rectify(images, shortcut, layer.weight, layer.bias, affine)
        if then is None:
            return outputs
        with self:
            return cast(Tensor, then(outputs))


def _arguments(layer: nn.Conv2d) -> tuple[Any, ...]:
    """The arguments of `torch.conv2d` after the images; None as padding for a mode other than zeros."""
    padding = layer.padding if layer.padding_mode == "zeros" else None
    return layer.weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups


def _in_one(layer: BatchNormReLU, images: Tensor, shortcut: Tensor | None) -> bool:
    """Whether one kernel computes the whole layer for these arguments."""
    return (
        layer.momentum is not None
        and normalization.suits(
            images,
            layer.running_mean,
            layer.running_var,
            layer.weight,
            layer.bias,
            training=layer.training,
            eps=layer.eps,
        )
        and (not layer.pool or (shortcut is None and pooling.halves(images)))
        and (shortcut is None or (shortcut.shape == images.shape and normalization.is_dense(shortcut)))
        and (shortcut is None or shortcut.dtype == images.dtype)
    )
