"""What the first layers of a model are told of the training inputs."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hpo.datasets import Dataset
from hpo.datasets.ragged import Ragged
from hpo.models.log_mel import LogMel
from hpo.models.number_embeddings import PiecewiseLinear
from hpo.models.standardize import FirstLayer, Standardize, Standardized, first_layer
from hpo.tasks.kinds import floats

_CLIPS, _AT_ONCE = 1000, 50
"""Clips of which bands are measured, evenly among all, and how many at once."""
_ROWS = 10_000
"""Rows of a table by which quantities are parted into pieces, evenly among all."""


def fit_first(first: FirstLayer, dataset: Dataset) -> None:
    """Tells the first layer means and deviations of the training inputs; one of texts needs none."""
    if isinstance(first, Standardize):
        first.fit(*dataset.input_moments, wide=dataset.train.inputs.dtype == np.float64)
    elif isinstance(first, LogMel):
        first.fit(*_bands(dataset))


@torch.no_grad()
def fit_pieces(model: Standardized, dataset: Dataset) -> None:
    """Tells a network that embeds quantities by their pieces where these are; `fit_first` comes before it."""
    layers = [module for module in model.network.modules() if isinstance(module, PiecewiseLinear)]
    if not layers:
        return
    rows = dataset.train.inputs
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).round().astype(np.intp))
    given = model.standardize(torch.from_numpy(rows[chosen]))
    for layer in layers:
        layer.fit(given)


@lru_cache(maxsize=2)  # the same for every trial of a study
def _bands(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Mean and deviation `(mels,)` of the log-mel energies of training clips, where there is sound."""
    clips = dataset.train.inputs
    assert isinstance(clips, Ragged), "clips have lengths"
    layer = first_layer(dataset.input_shape, dataset.encoding.layout)
    assert isinstance(layer, LogMel)
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), _CLIPS)).round().astype(np.intp))
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for first in range(0, len(chosen), _AT_ONCE):
        samples = floats(torch.from_numpy(clips[chosen[first : first + _AT_ONCE]].padded()))
        energies = layer.energies(samples)[layer.mask(samples)].double()
        count, total, squares = count + len(energies), total + energies.sum(0), squares + energies.square().sum(0)
    mean = total / count
    deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
    return mean.float(), torch.where(deviation > 1e-6, deviation, torch.ones(())).float()
