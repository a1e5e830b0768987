"""Inputs that are made to harm: refused with a message, nothing executed, nothing written outside."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from hpo import api, registry, spec
from hpo.ensemble.model import Ensemble
from hpo.ensemble.pool import Pool
from hpo.errors import DataError, HpoError, SpecError, StudyError
from hpo.study import Study
from tests.conftest import Run, facts, finish
from tests.ensemble.folders import inputs, write_ensemble

TRACE = "executed"
EVIL = f"import os\nos.makedirs('{TRACE}', exist_ok=True)\ndef thing(*_, **__): ...\n"


class Bomb:
    """Leaves a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (TRACE,)


@pytest.fixture(autouse=True)
def nothing_happens(tmp_path: Path) -> Iterator[None]:
    """Nothing is executed, and nothing is written beside the test's own folder."""
    before = sorted(path.name for path in tmp_path.parent.iterdir())
    yield
    assert not Path(TRACE).exists()
    assert sorted(path.name for path in tmp_path.parent.iterdir()) == before


def part(study: Study, number: int, name: str) -> Path:
    return next((study.folder / "artifacts" / f"{number:05d}").glob(f"epoch-*/{name}"))


@pytest.mark.parametrize("tag", ["python/object/apply:os.mkdir [executed]", "python/name:os.system ''"])
def test_yaml_tags_are_refused(tag: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"study: demo\ndata: digits\nmodel: mlp\nseed: !!{tag}\n")
    with pytest.raises(SpecError, match=r"space\.yaml:4: "):
        spec.load(file)


def test_pickled_predictions_are_never_read(study: Study) -> None:
    np.save(part(study, 0, "validation.npy"), np.array([Bomb()], dtype=object), allow_pickle=True)
    pool = Pool.load(study, 50)
    assert 0 not in [trial.number for trial in pool.trials]
    assert any(line.startswith("trial 0: its validation predictions cannot be read") for line in pool.skipped)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "state.pt"])
def test_a_pickle_is_no_checkpoint(study: Study, name: str) -> None:
    if name == "state.pt":
        (study.folder / "artifacts" / "00000" / name).write_bytes(pickle.dumps(Bomb(), protocol=2))
        with pytest.raises(pickle.UnpicklingError):
            study.artifacts.load_state(0)
        torch.save({"epoch": Bomb()}, study.folder / "artifacts" / "00000" / name)
        with pytest.raises(pickle.UnpicklingError):
            study.artifacts.load_state(0)
        return
    part(study, 0, name).write_bytes(pickle.dumps(Bomb()))
    stored = study.artifacts.read(0)
    assert stored is not None
    with pytest.raises(ValueError, match="deserializing"):
        stored.weights()


def test_weights_of_another_model_are_refused(study: Study, tmp_path: Path) -> None:
    finish(study, 2.0, epochs=3)
    file = part(study, 5, "checkpoint.safetensors")
    safetensors.numpy.save_file({"0.weight": np.zeros((2, 2), np.float32)}, file)
    with pytest.raises(DataError, match="trial 5: its checkpoint does not fit its model"):
        api.build_ensemble("squares", method="single", pool=6, storage=tmp_path / "studies")


@pytest.mark.parametrize("name", ["../outside", "a/b", "..", "/tmp/outside", "a\\b", ".hidden", ""])
def test_names_do_not_leave_the_storage(name: str, study: Study, hpo: Run, tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        Study.open(tmp_path / "studies", name)
    with pytest.raises(HpoError):
        api.build_ensemble("squares", name=name, storage=tmp_path / "studies")
    with pytest.raises(HpoError):
        api.open_ensemble(name, tmp_path / "studies")
    with pytest.raises(SpecError):
        spec.load({"study": name, "data": "digits", "model": "mlp"})
    if name:
        code, _, told = hpo("predict", "--ensemble", name, "--input", "x.npy", "--storage", str(tmp_path / "studies"))
        assert code == 2 and "Traceback" not in told


def test_a_study_folder_is_no_place_for_code(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    (study.folder / "evil.py").write_text(f"import os\nos.mkdir('{TRACE}')\ndef model(shape, outputs): ...\n")
    document = {"study": "x", "data": "digits", "model": {"name": "evil:model"}}
    with pytest.raises(SpecError, match="evil"):
        api.validate(document)


def test_data_with_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x_train=np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        api.validate({"study": "x", "data": {"name": "npz", "path": str(tmp_path / "bad.npz")}, "model": "mlp"})


# ---- code that a stored file names -----------------------------------------------------------------------------------


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has not been told of any code yet, as a new command has not."""
    monkeypatch.setattr(registry, "_trusted", set())


def put(document: Any, keys: tuple[Any, ...], value: object) -> None:
    for key in keys[:-1]:
        document = document[key]
    document[keys[-1]] = value


@pytest.mark.parametrize("shape", [["mkdir", TRACE], [3, 8, 8]])
def test_an_ensemble_runs_no_command(shape: list[Any], study: Study, hpo: Run, tmp_path: Path) -> None:
    folder = write_ensemble(study.folder / "ensembles" / "made")
    file = folder / "ensemble.json"
    document = json.loads(file.read_text())
    put(document, ("input_shape",), shape)
    put(document, ("members", 0, "model"), {"name": "subprocess:Popen", "settings": {}})
    file.write_text(json.dumps(document))
    np.save(tmp_path / "x.npy", inputs("images", 2))
    asked = ("--ensemble", "made", "--input", str(tmp_path / "x.npy"))
    for trust in ((), ("--trust",)):  # not even then: its shape is one of an example, or nothing
        code, _, told = hpo("predict", *asked, *trust)
        assert code == 2 and "Traceback" not in told and not Path("preds.csv").exists()
        if not trust and shape == [3, 8, 8]:
            assert f"model 'subprocess:Popen' is code that '{file.relative_to(tmp_path)}' names" in told
            assert "add --trust (in Python trust=True; for a server HPO_TRUST=subprocess:Popen)" in told
    assert hpo("export", "--ensemble", "made", "--output", "x.onnx")[0] == 2


@pytest.mark.parametrize("section", ["sampler", "scheduler", "data", "model"])
@pytest.mark.usefixtures("npz_file")
def test_a_stored_spec_runs_no_code_of_its_folder(
    section: str, document: dict[str, Any], hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "studies.squares.evil:thing"  # `studies` is a package without an __init__.py
    whole = {**document, section: {"name": path}, "parameters": {}, "budget": {"trials": 9}}
    study = Study.create(tmp_path / "studies", spec.load(whole), facts())
    (study.folder / "evil.py").write_text(EVIL)
    monkeypatch.setattr(registry, "_trusted", set())
    commands = {"resume": (), "trials": (), "best": (), "studies": (), "reproduce": ("0",), "ensemble": ()}
    for command, arguments in commands.items():
        code, _, told = hpo(command, *arguments)
        assert (
            "Traceback" not in told and code == (0 if command in ("trials", "studies") else code) and code in (0, 1, 2)
        )
        if command == "resume":
            place = study.folder.relative_to(tmp_path) / "spec.yaml"
            assert (
                code == 2 and f"{section} '{path}' is code that '{place}' names".replace("data '", "data set '") in told
            )
    with pytest.raises(HpoError, match="add --trust"):
        api.resume(storage=tmp_path / "studies")


@pytest.mark.usefixtures("stranger")
def test_own_code_runs_where_it_was_named_or_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_net.py").write_text("from hpo.models.mlp import mlp as net\n")
    with pytest.MonkeyPatch.context() as told:
        told.setattr(registry, "_trusted", {"own_net:net"})
        settings = {"layers": 1, "width": 4}
        folder = write_ensemble(tmp_path / "made", model="own_net:net", settings=settings)
    with pytest.raises(HpoError, match="model 'own_net:net' is code that"):
        Ensemble(folder)
    spec.load({"study": "x", "data": "digits", "model": {"name": "own_net:net"}})
    assert Ensemble(folder).networks
    monkeypatch.setattr(registry, "_trusted", set())
    assert Ensemble(folder, trust=True).networks
    monkeypatch.setattr(registry, "_trusted", set())
    with pytest.raises(HpoError, match="own_net:net"):
        Ensemble(folder)
    environment = {**os.environ, "HPO_TRUST": "own_net:net,other:net"}
    script = "from hpo import registry; print(*sorted(registry.trusted()))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout == "other:net own_net:net\n", done.stderr
