"""A search on real Ray of a space with lists, ties, forbidden combinations and known configs, with an own model."""

from pathlib import Path
from typing import Any

import pytest

from hpo import api
from hpo.tracking import store
from tests.conftest import Run

MODEL = """
import torch.nn as nn


def net(input_shape, outputs, *, widths=(8,), inner=16, outer=32):
    if outer < inner:
        raise ValueError(f"outer must be at least inner, got {outer} and {inner}")
    assert type(widths) is list and type(outer) is int
    sizes = [input_shape[0] * input_shape[1] * input_shape[2], *widths, inner, outer]
    layers = [part for one, other in zip(sizes, sizes[1:]) for part in (nn.Linear(one, other), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(outer, outputs))
"""


@pytest.fixture
def document(document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "own_spaces_net.py").write_text(MODEL)
    return {
        **document,
        "model": {"name": "own_spaces_net:net", "widths": [8]},
        "parameters": {
            "model.widths": {"values": [[8], [16, 8], [4, 4, 4]]},
            "model.inner": {"type": "int", "min": 4, "max": 32, "step": 4, "log": True, "default": 8},
            "model.outer": {"equals": "2 * model.inner"},
            "optimizer.lr": {"lognormal": [-4, 1], "default": 0.02},
            "training.label_smoothing": {"min": 0, "max": 0.2, "steps": 3},
        },
        "forbidden": [{"model.widths": [[4, 4, 4]]}, "model.outer > 48 and training.label_smoothing > 0.15"],
        "configs": [{"model.widths": [16, 8], "training.label_smoothing": 0.1}],
        "budget": {"trials": 6},
    }


@pytest.mark.usefixtures("ray_cluster")
def test_its_configs_are_trained_shown_reproduced_and_taken_over(document: dict[str, Any], hpo: Run) -> None:
    found = api.search(document)
    trials = found.study.trials()
    assert len(trials) == 6 and not any(trial.failure for trial in trials), [trial.cause for trial in trials]
    for trial in trials:
        config = trial.config
        assert config["model.widths"] in ([8], [16, 8]) and config["model.outer"] == 2 * config["model.inner"]
        assert config["training.label_smoothing"] in (0, 0.1, 0.2)
        assert not (config["model.outer"] > 48 and config["training.label_smoothing"] > 0.15)
    given = {"model.inner": 8, "model.outer": 16, "optimizer.lr": 0.02}
    assert given.items() <= trials[0].config.items() and trials[0].config["model.widths"] == [8]
    assert {**given, "model.widths": [16, 8], "training.label_smoothing": 0.1} == trials[1].config
    code, out, _ = hpo("trials", "--format", "json")
    assert code == 0 and '"model.outer": 16' in out
    client, experiment = store.connect(Path("studies"))
    runs = client.search_runs([experiment], "params.`model.outer` = '16'")
    assert runs and all(run.data.params["model.inner"] == "8" for run in runs)
    assert api.reproduce(1).reproduced
    again = api.search({**document, "study": "again", "budget": {"trials": 1}}, warm_start="squares")
    assert [trial.config for trial in again.study.trials() if trial.taken_over] == [trial.config for trial in trials]


@pytest.mark.usefixtures("ray_cluster")
def test_a_grid_of_a_file_that_extends_another_is_searched_whole_and_goes_on(
    npz_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", str(npz_file.parent))
    Path("base.yaml").write_text(
        "study: base\nmodel: {name: mlp, layers: 1}\ntraining: {epochs: 2, batch_size: 32}\nscheduler: asha\n"
        "parameters:\n  model.width: {type: int, min: 8, max: 32, log: true}\n  optimizer.lr: {values: [0.1, 0.01]}\n"
    )
    Path("own.yaml").write_text(
        f"extends: base.yaml\nstudy: grid\ndata: {{name: npz, path: '${{PLACE}}/{npz_file.name}', validation: 0.25}}\n"
        "sampler: grid\nparameters: {model.width: {steps: 3}}\nforbidden: {model.width: 32, optimizer.lr: 0.1}\n"
    )
    first = api.search(Path("own.yaml"), trials=2)
    assert len(first.study.trials()) == 2
    stored = Path("studies/grid/spec.yaml").read_text()
    assert str(npz_file) in stored and "extends" not in stored and "${" not in stored and "asha" in stored
    monkeypatch.delenv("PLACE")
    Path("base.yaml").unlink()
    trials = api.resume("grid", trials=99).study.trials()
    assert [trial.number for trial in trials] == list(range(5)) and not any(trial.failure for trial in trials)
    found = sorted((trial.config["model.width"], trial.config["optimizer.lr"]) for trial in trials)
    assert found == [(8, 0.01), (8, 0.1), (16, 0.01), (16, 0.1), (32, 0.01)]
