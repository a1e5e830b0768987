"""Inputs that are made to harm: refused with a message, nothing executed, nothing written outside."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from hpo import api, spec
from hpo.ensemble.pool import Pool
from hpo.errors import DataError, HpoError, SpecError, StudyError
from hpo.study import Study
from tests.conftest import Run, finish

TRACE = "executed"


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
