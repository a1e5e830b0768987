"""Networks that are told what a row is, trained by the built-in loop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hpo import datasets, models, spec
from hpo.models.number_embeddings import PiecewiseLinear
from hpo.spec import Named
from hpo.training import Context, train
from hpo.training.first_layers import fit_first, fit_pieces
from tests.conftest import untimed

MODELS: list[dict[str, Any]] = [
    {"name": "tabular_mlp", "numbers": "piecewise", "pieces": 4},
    {"name": "tabular_mlp", "numbers": "periodic", "sigma": 0.5},
    {"name": "ft_transformer", "layers": 2, "heads": 2, "head_width": 4},
]


def context(folder: Path, model: dict[str, Any], device: str = "cpu") -> Context:
    """Of customers who leave whose size is in the middle, and who have the colour b; some sizes are missing."""
    drawn = np.random.default_rng(0)
    size, colour = drawn.normal(size=400), drawn.choice(list("abc"), 400)
    leaves = np.where((np.abs(size) < 0.7) & (colour == "b"), "leaves", "stays")
    size[:20] = np.nan
    pd.DataFrame({"size": size, "colour": colour, "then": leaves}).to_csv(folder / "t.csv", index=False)
    document = {
        "study": "s",
        "data": {"path": str(folder / "t.csv"), "target": "then"},
        "model": model,
        "training": {"epochs": 12, "batch_size": 32, "device": device, "deterministic": True},
        "optimizer": {"name": "adamw", "lr": 0.01},
        "parameters": {"optimizer.lr": {"min": 0.001, "max": 0.1}},
    }
    read = spec.load(document)
    return Context(read, datasets.of(read, Path("data")), 0)


@pytest.mark.parametrize("model", MODELS, ids=["piecewise", "periodic", "transformer"])
def test_it_learns_and_goes_on_as_if_uninterrupted(model: dict[str, Any], tmp_path: Path, device: str) -> None:
    given = context(tmp_path, model, device)
    whole = []
    for report in train({}, given):
        whole.append(untimed(report.metrics))
        if report.epoch == 5:
            assert report.state is not None
            torch.save(report.state(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt")
    assert [untimed(report.metrics) for report in train({}, replace(given, resume=state))] == whole[5:]
    assert max(metrics["macro_f1"] for metrics in whole) > 0.85


def test_pieces_are_of_the_training_rows_as_the_network_sees_them(tmp_path: Path) -> None:
    given = context(tmp_path, MODELS[0])
    dataset = given.dataset
    model = models.build(Named(**MODELS[0]), (2,), 2, layout=dataset.encoding.layout)
    fit_first(model.standardize, dataset)
    fit_pieces(model, dataset)
    (layer,) = [module for module in model.modules() if isinstance(module, PiecewiseLinear)]
    sizes = dataset.train.inputs[:, 0]
    there = sizes[~np.isnan(sizes)]
    ends = (np.array([there.min(), there.max()]) - there.mean()) / there.std()
    np.testing.assert_allclose(layer.edges[0][[0, -1]], ends, rtol=1e-4)
    assert layer.edges.shape == (2, 5), "the size, and whether it is missing"
    assert layer.edges[1].tolist() == [0, 1, 1, 1, 1]
    assert "network.parts.0.encoding.edges" in model.state_dict()
