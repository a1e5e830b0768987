"""Shared by all tests: small data, small specs, one Ray cluster."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from ruamel.yaml import YAML

from hpo import models, spec
from hpo.cli import main
from hpo.study.data_summary import DataSummary
from hpo.study.study import Study
from hpo.study.trial import Outcome, State

CLASSES, SIDE = 3, 8
ROOT = Path(__file__).parents[1]
"""The project's folder."""
FAULTS = ROOT / "scripts" / "faults"
PATIENCE = 240.0
"""Seconds for what a test waits for, but does not test: commands start slowly beside others and from a cold disk."""
Run = Callable[..., tuple[int, str, str]]
"""A command's arguments -> its exit code, stdout and stderr."""

settings.register_profile("ours", deadline=None)  # no test is one of time: machines are busy
settings.load_profile("ours")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share the Ray of a session run in one process, or in two, where there are several.

    Those of the engine take as long as all others together. Groups take long, and come first.
    """
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            group = "ray" if item.path.parent.name == "ray" else "ray of others"
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test stands in an empty folder and sees no tracking server of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def without_ray() -> dict[str, str]:
    """The environment of a command of its own, which the Ray of the tests is no business of."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}


def without_rights() -> list[str]:
    """Words before a command that run it as user 54321, whom nobody knows, and without root's rights to write."""
    words = ["unshare", "--user", "--map-user=54321"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not run a command as another user")
    return words


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The fault suite: what it searches, and how it checks processes and MLflow. Its other modules stand beside it."""
    monkeypatch.syspath_prepend(str(FAULTS))
    yield import_module("rounds")
    for name in ("rounds", "together", "hosts", "outages"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """An object store on this machine, with credentials in the environment; the options of its URIs."""
    from tests import servers  # which imports from here

    with pytest.MonkeyPatch.context() as environment:
        servers.credentials(environment)
        with servers.s3() as query:
            yield query


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for the whole test session, with a GPU that is only pretended."""
    import ray

    from hpo.engine.ray.cluster import environment

    with environment():
        ray.init(
            "local",
            num_cpus=2,
            num_gpus=1,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=128 * 1024**2,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},  # objectives of the tests
        )
        yield
        ray.shutdown()


@pytest.fixture
def hpo(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; returns exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def npz_file(tmp_path: Path) -> Path:
    """Bright squares in one of three corners: 240 training and 60 test images that a small model learns at once."""
    arrays: dict[str, np.ndarray] = {}
    for split, rows in (("train", 240), ("test", 60)):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = squares(rows, seed=rows)
    path = tmp_path / "squares.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def squares(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `(rows, 8, 8)` uint8 and labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % CLASSES
    images = generator.integers(0, 120, (rows, SIDE, SIDE), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 2)
        image[top * 4 : top * 4 + 4, left * 4 : left * 4 + 4] += 90
    return images, labels.astype(np.int64)


@pytest.fixture
def document(npz_file: Path) -> dict[str, Any]:
    """A search over a small MLP on the squares."""
    return {
        "study": "squares",
        "data": {"name": "npz", "path": str(npz_file), "validation": 0.25},
        "model": {"name": "mlp", "layers": 1, "width": 16},
        "training": {"epochs": 3, "batch_size": 32},
        "optimizer": {"name": "adam", "lr": 0.01},
        "parameters": {
            "optimizer.lr": {"min": 1e-4, "max": 0.1, "log": True},
            "model.width": {"type": "int", "min": 8, "max": 32, "log": True},
        },
        "objective": {"metric": "accuracy"},
        "scheduler": {"name": "asha", "grace": 1, "eta": 3},
        "budget": {"trials": 4},
    }


@pytest.fixture
def space(document: dict[str, Any], tmp_path: Path) -> Path:
    """That search as a file."""
    path = tmp_path / "space.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(document, file)
    return path


@pytest.fixture
def study(document: dict[str, Any], tmp_path: Path) -> Study:
    """A study with three complete trials, one pruned and one failed, and the artifacts that such trials leave."""
    made = Study.create(tmp_path / "studies", spec.load(document), data_summary())
    for skill in (2.0, 1.5, 1.0):
        finish(made, skill, epochs=3)
    finish(made, 0.5, epochs=1)
    made.writer.end(made.writer.ask().number, Outcome(State.FAILED, "Traceback\nValueError: no"))
    return made


def data_summary(rows: int = 60) -> DataSummary:
    """Facts of the squares."""
    images, labels = squares(rows, seed=1)
    return DataSummary(
        outputs=("a", "b", "c"),
        targets={"validation": labels, "test": labels[::-1].copy()},
        example=images[:1, :, :, None],
        fingerprint="of the squares",
    )


def finish(study: Study, skill: float, epochs: int, **metrics: float) -> int:
    """A trial whose predictions are right more often the larger `skill` is; its weights are those of a fresh model."""
    trial = study.writer.ask()
    generator = np.random.default_rng(trial.number)
    predictions = {
        split: probabilities(study.data_summary.targets[split], skill, generator) for split in ("validation", "test")
    }
    accuracy = float((predictions["validation"].argmax(axis=1) == study.data_summary.targets["validation"]).mean())
    for epoch in range(1, epochs + 1):
        value = accuracy * epoch / epochs
        study.writer.report(trial.number, epoch, {"accuracy": value, "nll": 1.0 - value, **metrics})
    torch.manual_seed(trial.number)
    model = models.build(study.study_spec.apply(trial.config).model, study.data_summary.input_shape, CLASSES)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    study.artifacts.write(trial.number, epochs, weights, predictions)  # type: ignore[arg-type]
    complete = epochs == study.spec.training.epochs
    study.writer.end(trial.number, Outcome(State.COMPLETE) if complete else Outcome(State.PRUNED, "stopped by asha"))
    return trial.number


def untimed(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that do not depend on how fast the machine is."""
    return {name: value for name, value in metrics.items() if "seconds" not in name and name != "latency_ms"}


def probabilities(labels: np.ndarray, skill: float, generator: np.random.Generator) -> np.ndarray:
    """Probabilities `(rows, classes)` that favour the labels by `skill`."""
    logits = generator.normal(size=(len(labels), CLASSES))
    logits[np.arange(len(labels)), labels] += skill
    exponents = np.exp(logits)
    result: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
    return result.astype(np.float32)
