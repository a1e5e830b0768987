"""Folders of ensembles whose members are networks with random weights, for every task, of images and of tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpo import models, spec
from hpo.datasets.dataset import Encoding, Inputs
from hpo.datasets.moments import moments
from hpo.ensemble.calibration import Interval
from hpo.ensemble.combiner import Average, Combiner
from hpo.ensemble.model import Part, write
from hpo.models.standardize import Standardize
from hpo.study.artifacts import Artifacts, Folder
from hpo.study.data_summary import DataSummary

TASKS = ("classification", "multilabel", "regression")
OUTPUTS = ("ant", "bee", "cat")
FEATURES, SIDE = 5, 8


def inputs(kind: str, rows: int, seed: int = 0) -> Inputs:
    """Images `(rows, 8, 8, 3)` or rows of a table `(rows, 5)`, some values missing; `stamps` need float64."""
    generator = np.random.default_rng(seed)
    if kind == "images":
        return generator.integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8)
    table = generator.normal(3, 2, (rows, FEATURES)).astype(np.float32)
    table[generator.random(table.shape) < 0.1] = np.nan
    return table + np.float64(1.7e9) if kind == "stamps" else table


def write_ensemble(
    folder: Path,
    task: str = "classification",
    kind: str = "images",
    *,
    members: int = 3,
    combiner: Combiner | None = None,
    interval: Interval | None = None,
    model: str = "mlp",
    settings: Mapping[str, Any] | None = None,
    temperatures: tuple[float, ...] = (0.8, 1.0, 1.7),
    outputs: tuple[str, ...] = OUTPUTS,
    encoding: Encoding | None = None,
) -> Path:
    """Writes an ensemble; the seed of a member's weights is its place."""
    document = {
        "study": "made",
        "task": task,
        "data": {"name": "digits"},
        "model": {"name": model, **(settings or ({"layers": 1, "width": 8} if model == "mlp" else {}))},
    }
    example = inputs(kind, 64, seed=9)
    data_summary = DataSummary(outputs, {}, example[:1], "made", encoding or Encoding())
    study = spec.load(document)
    parts = []
    for place in range(members):
        torch.manual_seed(place)
        network = models.build(study.model, data_summary.input_shape, len(outputs), task)
        assert isinstance(network.standardize, Standardize)
        network.standardize.fit(*moments(example), wide=example.dtype == np.float64)
        if network.rescale is not None:
            network.rescale.fit(np.arange(3.0) * 10, np.full(3, 4.0))
        _shift_norms(network)
        artifacts = Artifacts(folder.with_name(f"{folder.name}-parts"))
        artifacts.write(place, 1, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, {})
        stored = artifacts.read(place)
        assert stored is not None
        parts.append(Part(f"trial {place}", place, {}, study.model, temperatures[place % len(temperatures)], stored))
    places = tuple(range(members))
    combiner = combiner or Average(places, tuple(np.full(members, 1 / members).tolist()), task)
    write(Folder(folder), study, data_summary, parts, combiner, interval)
    return folder


def _shift_norms(network: torch.nn.Module) -> None:
    """Running statistics as training leaves them: not 0 and 1."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
