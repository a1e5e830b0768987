"""Studies of several model families: simulated with every sampler and scheduler, and whole, on real Ray."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pytest

import hpo as product
from hpo import samplers, schedulers
from hpo.ensemble.model import Ensemble
from hpo.spec import Config
from hpo.spec.families import family_of
from hpo.study.study import Study
from hpo.study.trial import State
from hpo.tracking.ensembles import tracking_to
from hpo.tracking.store import tracking_uri
from tests.conftest import Run

NET = """
import math
from torch import nn


def net(input_shape, outputs, *, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), width), nn.Tanh(), nn.Linear(width, outputs))
"""


def simulated(**changed: Any) -> dict[str, Any]:
    return {
        "study": "families",
        "data": {"name": "digits"},
        "model": {"name": "convnet", "mlp": {"layers": 2}},
        "training": {"epochs": 4},
        "parameters": {
            "model.name": {"values": ["convnet", "mlp"]},
            "model.convnet.width": {"type": "int", "min": 4, "max": 12, "log": True},
            "model.mlp.width": {"type": "int", "min": 16, "max": 17},
            "model.mlp.layers": {"type": "int", "min": 1, "max": 2},
            "optimizer.lr": {"min": 1e-3, "max": 0.1, "log": True, "steps": 3},
        },
        "budget": {"trials": 20},
        **changed,
    }


def curve(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    """Better of one family; it fails where a config has a setting of the other."""
    assert {family for name in config if (family := family_of(name)) is not None} == {config["model.name"]}
    end = (0.7 if config["model.name"] == "convnet" else 0.6) - 0.1 * abs(math.log10(config["optimizer.lr"]) + 2)
    return {"accuracy": end * (1 - 0.5**epoch)}, 1.0


@pytest.fixture(autouse=True)
def quiet() -> Any:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a quasi-random sampler says that conditions are none for it
    yield
    optuna.logging.set_verbosity(verbosity)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", samplers.SAMPLERS.names)
def test_every_sampler_proposes_whole_configs_of_each_family(sampler: str) -> None:
    found = product.simulate(simulated(sampler=sampler), curve, trials=12)
    counts = Counter(trial.config["model.name"] for trial in found.trials)
    assert counts.total() == 12 and min(counts["convnet"], counts["mlp"]) >= 2
    assert State.FAILED not in {trial.state for trial in found.trials}


@pytest.mark.parametrize("scheduler", [name for name in schedulers.SCHEDULERS.names if name != "freeze_thaw"])
def test_every_scheduler_knows_families_and_children_keep_theirs(scheduler: str) -> None:
    found = product.simulate(simulated(sampler="random", scheduler=scheduler), curve)
    trials = {trial.number: trial for trial in found.trials}
    children = [trial for trial in trials.values() if trial.inherited]
    assert bool(children) == (scheduler == "pbt")
    for child in children:
        parent = trials[child.lineage["parents"][0]]  # type: ignore[index]
        assert parent.config["model.name"] == child.config["model.name"]


@pytest.mark.usefixtures("ray_cluster")
def test_an_ensemble_of_several_families_is_found_built_served_and_taught_on(npz_file: Path, hpo: Run) -> None:
    Path("pairs.py").write_text(NET)
    space = {
        "study": "families",
        "data": {"path": str(npz_file), "validation": 0.25},
        "model": {"name": "convnet", "convnet": {"stages": 1}, "pairs:net": {"width": 6}},
        "training": {"epochs": 3, "batch_size": 32},
        "parameters": {
            "model.name": {"values": ["convnet", "mlp", "pairs:net"]},
            "model.convnet.width": {"values": [4, 6]},
            "model.mlp.layers": {"values": [1, 2]},
            "model.pairs:net.width": {"values": [6, 8]},
            "optimizer.lr": {"min": 0.003, "max": 0.03, "log": True},
        },
        "sampler": "random",
        "scheduler": "none",
        "configs": [{"model.name": "mlp"}, {"model.name": "pairs:net", "model.pairs:net.width": 8}],
        "budget": {"trials": 4},
        "resources": {"gpu": 0},
    }
    found = product.search(space)
    assert found.best_value is not None
    study = Study.open(Path("studies"), "families")
    configs = [trial.config for trial in study.trials()]
    assert [config["model.name"] for config in configs[:3]] == ["convnet", "mlp", "pairs:net"]
    assert configs[2]["model.pairs:net.width"] == 8 and "model.mlp.layers" not in configs[2]
    assert study.own_code("resume") == ["pairs:net"] and study.code[0].model is not None
    with tracking_to(tracking_uri(Path("studies"))):
        runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.`hpo.kind` = 'trial'")
    assert set(runs["params.model.name"]) == {"convnet", "mlp", "pairs:net"}
    assert "8" in set(runs["params.model.pairs:net.width"])
    code, out, err = hpo("reproduce", "2", "--trust")
    assert code == 0 and "is reproduced on cpu: to the bit" in out, err

    made = product.build_ensemble("families", method="voting", top=4)
    assert {member["config"]["model.name"] for member in made.members} == {"convnet", "mlp", "pairs:net"}
    folder = Path("studies/families/ensembles") / made.name
    ensemble = Ensemble(folder)
    rows = np.load(npz_file)["x_test"][:7]
    expected = ensemble.predict_proba(rows)
    assert ensemble.member_predictions(rows).shape == (4, *expected.shape)
    with tracking_to(tracking_uri(Path("studies"))):
        served = mlflow.pyfunc.load_model(f"runs:/{made.run_id}/model")
    np.testing.assert_allclose(served.predict(rows[..., None] if rows.ndim == 3 else rows), expected, atol=1e-6)
    code, out, err = hpo("export", "--ensemble", made.name, "--output", "model.onnx")
    assert code == 0, err

    bagged = product.build_ensemble("families", method="bagging", bags=4, top=4)
    assert {member["config"]["model.name"] for member in bagged.members} == {"convnet", "mlp", "pairs:net"}
    Path("student.yaml").write_text("config: {model.name: mlp, model.mlp.layers: 1, optimizer.lr: 0.01}")
    taught = product.build_ensemble("families", method="voting", distill="student.yaml")
    assert taught.student is not None
    (student,) = taught.student.members
    assert student["name"] == "student (student.yaml, mlp)"
    config = {"model.name": "mlp", "model.layers": 1, "optimizer.lr": 0.01}
    assert student["config"] == config
    code, _, err = hpo("gc", "--keep", "1")
    assert code == 0, err
    np.testing.assert_allclose(Ensemble(folder).predict_proba(rows), expected, atol=1e-6)
