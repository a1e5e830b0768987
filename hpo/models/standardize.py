"""Preprocessing as the first layer of every model, and the targets' scale as the last: saved with the weights."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpo.models.log_mel import LogMel
from hpo.models.token_codes import TokenCodes
from hpo.tasks.features import Feature, Tokens, history, sequence, width, with_missing

_FLOOR = 1e-2
"""The least deviation of a window, as a share of that of all training steps: a window may be constant."""


class Standardize(nn.Module):
    """Inputs to zero mean and unit variance: per channel of images and series, per feature of rows.

    Images are `(n, c, h, w)`, rows `(n, features)`, series `(n, steps, channels)`. A missing value (NaN) of a row or a
    series becomes the mean. Rows that need float64 are centred and scaled in it; what comes out
    is float32 always. A checkpoint says which it was.

    Args:
        input_shape: (channels, height, width), (steps, channels) or (features,).
        layout: what the features of a table are, where some are codes of categories: then a row comes out as its
            quantities, a number for each category, 1 or 0, and one for each quantity that may be missing, 1 if it is.
        coded: whether a row keeps its features in their order instead: standardized quantities and codes as they are,
            and behind them one number for each quantity that may be missing, 1 if it is.
    """

    mean: Tensor
    std: Tensor
    quantities: Tensor
    coded: Tensor
    codes: Tensor
    may_miss: Tensor
    is_code: Tensor

    def __init__(self, input_shape: tuple[int, ...], layout: Sequence[Feature] = (), coded: bool = False) -> None:
        super().__init__()
        self._laid_out = bool(layout) and not coded
        self._keeps_codes = bool(layout) and coded
        self._input_shape = input_shape
        self.gives = (width(layout),) if self._laid_out else input_shape
        if self._keeps_codes:
            self.gives = (len(with_missing(layout)),)
        """The shape of an example that the network is given."""
        if layout:
            self._lay_out(layout)
        series = len(input_shape) == 2
        shape = (1, 1, input_shape[1]) if series else (1, input_shape[0], *[1] * (len(input_shape) - 1))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self._may_miss = len(input_shape) < 3
        self.register_load_state_dict_pre_hook(_take_type)

    def fit(self, mean: NDArray[np.float64], std: NDArray[np.float64], wide: bool = False) -> None:
        """Takes the means and the standard deviations, as `moments` gives them, in float64 if `wide`."""
        self.set_type(torch.float64 if wide else torch.float32)
        self.mean.copy_(torch.as_tensor(mean, dtype=self.mean.dtype).view_as(self.mean))
        self.std.copy_(torch.as_tensor(std, dtype=self.std.dtype).view_as(self.std))

    def set_type(self, dtype: torch.dtype) -> None:
        """Centres and scales in this type from now on."""
        self.mean, self.std = self.mean.to(dtype), self.std.to(dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardized inputs in float32, of the same shape where there is no layout."""
        scaled = ((inputs - self.mean) / self.std).float()
        if not self._may_miss:
            return scaled
        scaled = torch.nan_to_num(scaled, nan=0.0)
        if not self._laid_out and not self._keeps_codes:
            return scaled
        missing = inputs.index_select(1, self.may_miss).isnan().float()
        if self._keeps_codes:
            return torch.cat([torch.where(self.is_code, inputs.float(), scaled), missing], dim=1)
        categories = inputs.index_select(1, self.coded) == self.codes
        return torch.cat([scaled.index_select(1, self.quantities), categories.float(), missing], dim=1)

    def blank(self, rows: int) -> Tensor:
        """Examples of zeros, as a network is tried with."""
        return torch.zeros(rows, *self._input_shape)

    def _lay_out(self, layout: Sequence[Feature]) -> None:
        """Keeps the places of quantities, and of each category the place and the code: a checkpoint needs none."""
        self.register_buffer("is_code", torch.tensor([bool(it.categories) for it in layout]), persistent=False)
        places = {
            "quantities": [place for place, feature in enumerate(layout) if not feature.categories],
            "coded": [place for place, feature in enumerate(layout) for _ in range(feature.categories)],
            "codes": [code for feature in layout for code in range(1, feature.categories + 1)],
            "may_miss": [place for place, feature in enumerate(layout) if feature.may_miss],
        }
        for name, found in places.items():
            self.register_buffer(name, torch.tensor(found, dtype=torch.int64), persistent=False)


class WindowScale(Standardize):
    """Standardizes windows `(n, steps, channels)`: channels as all training windows, the first as its own window.

    The first channel is what is forecast, so that a forecast begins at the level where its window is, wherever series
    go (reversible instance normalization: Kim et al. 2022; NLinear: Zeng et al. 2023).

    Args:
        input_shape: (steps, channels).
        by_last: whether the level is the last value that a window has, and the scale that of all training steps; else
            they are the window's mean and its deviation.
    """

    def __init__(self, input_shape: tuple[int, ...], by_last: bool) -> None:
        super().__init__(input_shape)
        self._by_last = by_last

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardized windows in float32, of the same shape; what is missing becomes the level, or the mean."""
        level, scale = self.level_and_scale(inputs)
        own = (inputs[:, :, :1] - level[:, :, None]) / scale[:, :, None]
        others = (inputs[:, :, 1:] - self.mean[:, :, 1:]) / self.std[:, :, 1:]
        return torch.cat([own, others], dim=2).float().nan_to_num(nan=0.0)

    def restored(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Forecasts `(n, outputs)` in the units of the target, of outputs in relation to their windows."""
        level, scale = self.level_and_scale(inputs)
        return (outputs * scale + level).float()

    def level_and_scale(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The level of each window and its scale, both `(n, 1)`; of one without values those of all training steps."""
        values, mean, std = inputs[:, :, 0], self.mean[:, :, 0], self.std[:, :, 0]
        there = ~values.isnan()
        count = there.sum(dim=1, keepdim=True)
        filled = torch.where(there, values, mean)
        if self._by_last:
            steps = torch.arange(values.shape[1], device=values.device)
            last = torch.where(there, steps, 0).amax(dim=1, keepdim=True)
            return filled.gather(1, last), std.expand(len(values), 1)
        weights = there.to(values.dtype)
        level = (filled * weights).sum(dim=1, keepdim=True) / count.clamp_min(1)
        level = torch.where(count > 0, level, mean)
        variance = ((filled - level).square() * weights).sum(dim=1, keepdim=True) / count.clamp_min(1)
        scale = (variance + (_FLOOR * std).square()).sqrt()
        return level, torch.where(count > 0, scale, std)


def _take_type(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    """Takes the type of a checkpoint's means, before they are loaded."""
    mean = state.get(f"{prefix}mean")
    if mean is not None and mean.dtype == torch.float64:
        assert isinstance(module, Standardize)
        module.set_type(mean.dtype)


FirstLayer = Standardize | TokenCodes | LogMel
"""What stands before a network: it makes numbers of inputs, and says which shape an example has then (`gives`)."""


def first_layer(input_shape: tuple[int, ...], layout: Sequence[Feature] = (), coded: bool = False) -> FirstLayer:
    """The first layer of a model, by what its inputs are.

    Args:
        input_shape: of one example, as `hpo.datasets.dataset.input_shape` says.
        layout: what its numbers are; all quantities or pixels where it is empty.
        coded: whether a network is given the codes of a table's categories as they are.
    """
    feature = sequence(layout)
    past = history(layout)
    if past is not None and past.normalize != "none":
        return WindowScale(input_shape, by_last=past.normalize == "last")
    if feature is None:
        return Standardize(input_shape, layout if len(input_shape) == 1 else (), coded)
    return TokenCodes(input_shape, feature) if isinstance(feature, Tokens) else LogMel(input_shape, feature)


class Rescale(nn.Module):
    """What a network gives, in the units of the regression targets: `(n, targets)`."""

    mean: Tensor
    std: Tensor

    def __init__(self, targets: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(targets))
        self.register_buffer("std", torch.ones(targets))

    def fit(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """Takes the targets' means and standard deviations, as `moments` gives them."""
        self.mean.copy_(torch.as_tensor(mean, dtype=torch.float32))
        self.std.copy_(torch.as_tensor(std, dtype=torch.float32))

    def forward(self, outputs: Tensor) -> Tensor:
        """Outputs times the standard deviations plus the means."""
        return outputs * self.std + self.mean


class OutputError(ValueError):
    """A network gives something else than one row of outputs for each row of inputs."""


class Standardized(nn.Module):
    """A network behind its standardization, and for regression before the targets' scale.

    The network may lose a dimension of size one, as by `squeeze()`; `hpo.models.placement` finds out what else it
    wants.

    Args:
        input_shape: of one example, as `hpo.datasets.dataset.input_shape` says.
        first: makes of inputs what the network is given.
        network: maps examples `(n, *first.gives)` to `(n, outputs)`; where its `forward` has an argument `mask`, it is
            told of texts, clips and series at which steps there is something: bool `(n, steps)`.
        outputs: how many numbers a row of the output has.
        rescaled: whether the outputs are in the units of regression targets.
        foreign: whether the network is a user's own, of which nothing is known.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        first: FirstLayer,
        network: nn.Module,
        outputs: int,
        *,
        rescaled: bool,
        foreign: bool,
    ) -> None:
        super().__init__()
        self.standardize = first
        self.network = network
        self._masked = "mask" in signature(network.forward).parameters
        self.varied: Callable[[Tensor], Tensor] | None = None
        """How training varies what the network is given, if it does."""
        self.rescale = Rescale(outputs) if rescaled else None
        self.input_shape, self.outputs, self.foreign = input_shape, outputs, foreign
        self.contiguous = False
        """Whether images come to the network in the order of their dimensions, as `view` needs them."""
        self.twice = False
        """Whether a single row is predicted as two equal ones, of which one is taken."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs `(n, outputs)` for inputs as they are read: images in 0..255, rows, series, codes, samples.

        Raises:
            OutputError: the network gives something else.
        """
        rows = self.standardize(inputs)
        if self.varied is not None and self.training:
            rows = self.varied(rows)
        if self.contiguous:
            rows = in_order(rows)
        count = rows.shape[0]  # not `len`, which would fix the number of rows of an exported model
        twice = self.twice and not self.training and count == 1
        given = [rows, self._mask(inputs)] if self._masked else [rows]
        if twice:
            given = [torch.cat([each, each]) for each in given]
        outputs = self._outputs(self.network(*given), 2 if twice else count)
        outputs = outputs[:1] if twice else outputs
        if self.rescale is None:
            return outputs
        first = self.standardize
        return first.restored(outputs, inputs) if isinstance(first, WindowScale) else self.rescale(outputs)

    def _mask(self, inputs: Tensor) -> Tensor:
        """True `(n, steps)` where there is something."""
        if isinstance(self.standardize, Standardize):
            return ~inputs.isnan().all(dim=-1)
        return self.standardize.mask(inputs)

    def blank(self, rows: int) -> Tensor:
        """Inputs without content, as a model is tried with."""
        return self.standardize.blank(rows)

    def _outputs(self, given: object, rows: int) -> Tensor:
        """What the network gave for so many rows, as `(rows, outputs)`."""
        wanted = f"(n, {self.outputs}) for n {'images' if len(self.input_shape) == 3 else 'rows'}"
        if not isinstance(given, Tensor):
            raise OutputError(f"must give a tensor {wanted}, got {type(given).__name__}")
        squeezed = given.ndim < 2 and (rows == 1 or self.outputs == 1)
        if squeezed and given.numel() == rows * self.outputs:
            return given.reshape(rows, self.outputs)
        if given.shape != (rows, self.outputs):
            raise OutputError(f"must give {wanted}, got {tuple(given.shape)} for {rows}")
        return given


def in_order(values: Tensor) -> Tensor:
    """The values in the order of their dimensions; of one channel too, whose strides would pass for either order."""
    return values.flatten().view(values.shape)
