"""Searches over image models: settings of their own are searched, folds are trained, and an ensemble predicts."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest

import hpo
from tests.conftest import ROOT, squares


@pytest.mark.usefixtures("ray_cluster")
def test_a_vit_is_searched_over_folds_and_its_ensemble_predicts_and_is_exported(
    document: dict[str, Any], tmp_path: Path
) -> None:
    document |= {
        "model": {"name": "vit", "patch": 4, "depth": 1, "head_width": 8},
        "training": {"epochs": 6, "batch_size": 16, "folds": 2},
        "optimizer": {"name": "adamw", "lr": 0.01, "warmup_epochs": 1},
        "parameters": {
            "model.heads": {"values": [1, 2, 3]},
            "model.pooling": {"values": ["mean", "token"]},
            "optimizer.warmup_epochs": {"min": 0, "max": 2},
        },
        "scheduler": "none",
        "budget": {"trials": 2},
    }
    document["data"].pop("validation")
    storage = tmp_path / "studies"
    result = hpo.search(document, storage=storage)
    assert len(result.trials) == 2 and result.best_value > 0.8  # by chance a third
    hpo.build_ensemble("squares", method="voting", storage=storage)
    images, _ = squares(5, seed=5)
    expected = hpo.predict("squares-1", images, storage=storage).probabilities
    assert hpo.export("squares-1", tmp_path / "vit.onnx", storage=storage) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "vit.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["predictions"], {"inputs": images[..., None]})
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_space_of_the_vit_is_searched_in_virtual_time(tmp_path: Path) -> None:
    images, labels = squares(60, seed=0)
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)

    def curve(config: dict[str, Any], epoch: int) -> tuple[dict[str, float], float]:
        tokens, width = (64 / config["model.patch"] ** 2), config["model.heads"] * config["model.head_width"]
        return {"accuracy": 0.9 - 0.5 / epoch - 1 / width}, tokens * width * config["model.depth"] / 1000

    overrides = {"data.path": str(tmp_path / "own.npz")}
    result = hpo.simulate(ROOT / "search_spaces" / "vit_cifar.yaml", curve, trials=12, overrides=overrides)
    assert result.best is not None
    assert result.best.config["model.heads"] * result.best.config["model.head_width"] >= 128
