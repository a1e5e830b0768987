"""Inputs that are made to harm: refused with a message, nothing executed, nothing written outside."""

import fcntl
import io
import json
import math
import os
import pickle
import re
import shutil
import socketserver
import sqlite3
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from hpo import api, datasets, files, plugins, samplers, spec
from hpo.datasets.conversion import Wanted
from hpo.datasets.inputs import input_batches
from hpo.datasets.npz import read_arrays
from hpo.engine.ray.joining import Invitation
from hpo.engine.ray.threads import Threads
from hpo.engine.ray.watchdog import watched
from hpo.ensemble.build import mlflow_run, report
from hpo.ensemble.combiner import from_json
from hpo.ensemble.model import Ensemble
from hpo.ensemble.own_inputs import own_inputs
from hpo.ensemble.pool import Pool
from hpo.errors import DataError, HpoError, InputError, SpecError, StudyError, TrainingError
from hpo.files.tensors import load_tensors
from hpo.models.weights import set_weights, weights_of
from hpo.study import data as study_data
from hpo.study import environment
from hpo.study.artifacts import Folder, Stored
from hpo.study.artifacts import place as place_of
from hpo.study.artifacts.stored import packed
from hpo.study.folder import study_names
from hpo.study.hold import Hold
from hpo.study.locations import claim
from hpo.study.secret import is_proof, proof, secret_file
from hpo.study.storage.database import Database
from hpo.study.study import Study
from hpo.study.trial import Failure, Outcome, State
from hpo.tracking.problems import Unusable
from hpo.tracking.runs import Runs
from hpo.training import Context, train
from hpo.training.own_function import own_function
from tests.conftest import Run, data_summary, finish
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


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_a_state_writes_no_further_than_its_tensors(optimizer: str, document: dict[str, Any]) -> None:
    document["optimizer"] = {"name": optimizer, "lr": 0.01}
    asked = spec.load(document)
    context = Context(asked, datasets.load(asked.data, Path("data"), asked.seed), seed=0)
    first = next(train({}, context))
    assert first.state is not None
    sound = load_tensors(packed(first.state()))
    learned = sound["optimizer"]["state"][0]
    name = next(name for name in learned if name != "step")
    for value, message in (
        (torch.ones(1), "must be floats of shape"),
        (torch.ones(1).expand(3, 3, 3), "must be floats of shape"),
        (learned[name].to(torch.int8), "must be floats of shape"),
        (5, "must be floats of shape"),
    ):
        learned[name], before = value, learned[name]
        with pytest.raises(TrainingError, match=f"does not fit what is trained: the optimizer's '{name}' {message}"):
            next(train({}, replace(context, resume=sound)))
        learned[name] = before
    learned[name] = torch.ones(1).expand(learned[name].shape)  # of its shape, but one number in memory
    assert next(train({}, replace(context, resume=sound))).epoch == 2
    for epoch in (10**12, -5, 0, 2.5, "2", None):
        with pytest.raises(TrainingError, match="its epoch must be 1 to 3, got"):
            next(train({}, replace(context, resume={**sound, "epoch": epoch})))
    del sound["batches"]["draws"]
    with pytest.raises(TrainingError, match="does not fit what is trained: 'draws'"):
        next(train({}, replace(context, resume=sound)))


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_a_state_that_grows_is_refused_unread(study: Study) -> None:
    sound, file = packed({"w": torch.zeros(2**20)}), study.folder / "artifacts" / "00000" / "state.pt"
    with zipfile.ZipFile(io.BytesIO(sound)) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in source.infolist():
            bomb.writestr(member.filename, source.read(member))
    with pytest.raises(pickle.UnpicklingError, match="would unpack to more than its"):
        study.artifacts.load_state(0)
    torch.save({"w": torch.zeros(9).to_sparse()}, file)
    with pytest.raises(pickle.UnpicklingError, match="names torch._utils._rebuild_sparse_tensor"):
        study.artifacts.load_state(0)
    laughs: list[Any] = []
    for _ in range(60):
        laughs = [laughs] * 9
    torch.save({"number": 0, "epoch": laughs}, file)
    assert study.artifacts.load_state(0) is not None and study.artifacts.state_epoch(0) is None


def test_weights_of_another_model_are_left_out_by_name(study: Study, tmp_path: Path) -> None:
    finish(study, 2.0, epochs=3)
    file = part(study, 5, "checkpoint.safetensors")
    safetensors.numpy.save_file({"0.weight": np.zeros((2, 2), np.float32)}, file)
    result = api.build_ensemble("squares", method="single", pool=6, storage=tmp_path / "studies")
    told = [line for line in result.skipped if line.startswith("trial 5: its weights cannot be used by the model")]
    assert result.best_single != 5 and len(told) == 1


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
    monkeypatch.setattr(plugins, "_trusted", set())


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
    study = Study.create(tmp_path / "studies", spec.load(whole), data_summary())
    (study.folder / "evil.py").write_text(EVIL)
    monkeypatch.setattr(plugins, "_trusted", set())
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
        told.setattr(plugins, "_trusted", {"own_net:net"})
        settings = {"layers": 1, "width": 4}
        folder = write_ensemble(tmp_path / "made", model="own_net:net", settings=settings)
    with pytest.raises(HpoError, match="model 'own_net:net' is code that"):
        Ensemble(folder)
    spec.load({"study": "x", "data": "digits", "model": {"name": "own_net:net"}})
    assert Ensemble(folder).networks
    monkeypatch.setattr(plugins, "_trusted", set())
    assert Ensemble(folder, trust=True).networks
    monkeypatch.setattr(plugins, "_trusted", set())
    with pytest.raises(HpoError, match="own_net:net"):
        Ensemble(folder)
    environment = {**os.environ, "HPO_TRUST": "own_net:net,other:net"}
    script = "from hpo import plugins; print(*sorted(plugins.trusted()))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout == "other:net own_net:net\n", done.stderr


@pytest.mark.parametrize("setting", [{}, {"use_separable_cma": True}, {"with_margin": True}])
def test_the_state_of_a_sampler_is_no_pickle(
    setting: dict[str, bool], document: dict[str, Any], tmp_path: Path
) -> None:
    whole = spec.load({**document, "sampler": {"name": "cmaes", **setting}})
    made = Study.create(tmp_path / "studies", whole, data_summary())
    finish(made, 1.0, epochs=3)
    begun, bomb = made.writer.ask().number, pickle.dumps(Bomb()).hex()
    for prefix in ("cma", "sepcma", "cmawm"):  # a state is written in a trial that runs, and read of one that has ended
        made.record._storage.set_trial_system_attr(made.writer._running[begun], f"{prefix}:optimizer:0", bomb)
    made.writer.report(begun, 1, {"accuracy": 0.5, "nll": 0.5})
    made.writer.end(begun, Outcome(State.COMPLETE))
    made.writer.use(samplers.build(whole, started=2))
    assert made.writer.ask().config.keys() == whole.parameters.keys()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("address", "1:1; mkdir executed"),
        ("proof", "\xfc"),
        ("proof", 5),
        ("cpu", "x"),
        ("gpu", math.inf),
        ("mode", 1),
        ("until", None),
    ],
)
def test_an_invitation_is_of_plain_parts(part: str, value: object) -> None:
    whole = Invitation("1.2.3.4:6379", "token", 1.0, 0.0, None, "id", 1.0, "0" * 64)
    assert Invitation.read(str(whole)) == whole
    assert Invitation.read(json.dumps({**json.loads(str(whole)), part: value})) is None


# ---- links that lead out of a study ----------------------------------------------------------------------------------


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A file of the user's own, outside of all studies."""
    file = tmp_path / "home" / "notes.txt"
    file.parent.mkdir()
    file.write_text("dear\nto me, without an end")
    return file


@pytest.mark.parametrize(
    "name", ["search.lock", "journal.log", "spec.yaml", "data.npz", "artifacts", "ensembles", "retrained"]
)
def test_a_link_in_a_study_leads_nowhere(name: str, study: Study, treasure: Path, hpo: Run) -> None:
    old, target = study.folder / name, treasure
    if not Path(name).suffix:
        target = treasure.parent / name
        (target / "00001" / "epoch-0003").mkdir(parents=True)
        (target / "00001" / "epoch-0003" / "checkpoint.safetensors").write_bytes(b"dear")
        (target / f".draft.{'0' * 32}").mkdir()
        os.utime(target / f".draft.{'0' * 32}", (0, 0))
    if old.exists() and old.is_dir():
        old.rename(treasure.parent / "was")
    elif old.exists():
        if name in ("spec.yaml", "data.npz"):
            treasure.write_bytes(old.read_bytes())
        old.unlink()
    old.symlink_to(target)
    before = {path: path.read_bytes() for path in treasure.parent.rglob("*") if path.is_file()}
    for command in (("gc", "--keep", "1"), ("resume",), ("ensemble",), ("trials",), ("best",)):
        code, _, told = hpo(*command)
        assert code == 2 and f"{name}' is a link to '{target}', and what a study owns is never reached through" in told
        assert "Traceback" not in told
    code, out, told = hpo("studies", "--format", "json")
    assert code == 0 and json.loads(out)[0]["study"] == "squares" and "is a link to" in json.loads(out)[0]["problem"]
    assert {path: path.read_bytes() for path in treasure.parent.rglob("*") if path.is_file()} == before
    assert (target.parent / target.name).exists() and len(list(treasure.parent.rglob(".draft.*"))) == (
        not Path(name).suffix
    )


@pytest.mark.parametrize("name", ["search.lock", "journal.log"])
def test_a_hard_link_in_a_study_is_not_written_to(name: str, study: Study, treasure: Path, hpo: Run) -> None:
    if name == "journal.log":
        treasure.write_bytes((study.folder / name).read_bytes() + b"without an end")
    before = treasure.read_bytes()
    (study.folder / name).unlink(missing_ok=True)
    os.link(treasure, study.folder / name)
    code, _, told = hpo("gc", "--keep", "1")
    assert code == 2 and f"{name}' is a hard link: the same file has another name elsewhere" in told
    assert "Traceback" not in told and treasure.read_bytes() == before


def test_what_a_link_below_the_artifacts_points_to_stays(study: Study, treasure: Path) -> None:
    outside = treasure.parent / "epoch-0003"
    outside.mkdir()
    (outside / "checkpoint.safetensors").write_bytes(b"dear")
    trial = study.folder / "artifacts" / "00001"
    shutil.rmtree(trial)
    trial.symlink_to(treasure.parent)
    for harm in (
        lambda: study.artifacts.evict(1),
        lambda: study.artifacts.trial(1).clear(),
        lambda: study.artifacts.trial(1).write("notes.txt", b"gone"),
        lambda: study.artifacts.trial(1).remove("notes.txt"),
        lambda: study.artifacts.trial(1).read("notes.txt"),
        lambda: study.artifacts.trial(0).read("../../../../home/notes.txt"),
    ):
        with pytest.raises(OSError, match="is reached through a link|symbolic link|leads out of its folder"):
            harm()
    assert treasure.read_text().startswith("dear") and (outside / "checkpoint.safetensors").exists()
    (study.folder / "artifacts" / "00002" / "hang.txt").symlink_to(treasure)
    with watched(60, study.artifacts.trial(2)):
        pass
    assert treasure.read_text().startswith("dear")


def test_places_that_point_elsewhere_remove_nothing_there(
    study: Study, document: dict[str, Any], hpo: Run, tmp_path: Path
) -> None:
    other = Study.create(
        tmp_path / "studies",
        spec.load({**document, "study": "other"}),
        data_summary(),
        artifacts=str(tmp_path / "shared"),
    )
    for skill in (1.0, 2.0):
        finish(other, skill, epochs=3)
    for number in (0, 1):
        (tmp_path / "home" / "artifacts" / f"{number:05d}" / "epoch-0003").mkdir(parents=True)
        (tmp_path / "home" / "artifacts" / f"{number:05d}" / "epoch-0003" / "checkpoint.safetensors").write_bytes(
            b"dear"
        )
    for place, told in (
        (tmp_path / "home", "is not proven to be this study's"),
        (tmp_path / "shared" / "other", "is another study's"),
    ):
        (study.folder / "places.json").write_text(json.dumps({"artifacts": str(place), "database": None}))
        before = sorted(path for path in place.rglob("*"))
        code, _, err = hpo("gc", "--keep", "1", "--study", "squares")
        assert code == 2 and f"says that its artifacts are in '{place}', which {told}" in err
        assert sorted(path for path in place.rglob("*")) == before
    code, _, err = hpo("gc", "--keep", "1", "--study", "other")  # its own
    assert code == 0 and len(other.artifacts.files()) == 1


@pytest.mark.parametrize("own", ["", None, 5, "x" * 32, "../" * 11])
def test_a_study_without_an_id_owns_nothing(own: object, study: Study, hpo: Run, tmp_path: Path) -> None:
    other = tmp_path / "studies" / "other"
    shutil.copytree(study.folder, other)
    journal = (study.folder / "journal.log").read_text()
    assert f'"{study.id}"' in journal
    (study.folder / "journal.log").write_text(
        re.sub(r',"check":"\w+"', "", journal).replace(f'"{study.id}"', json.dumps(own))
    )
    (study.folder / "places.json").write_text(json.dumps({"artifacts": str(other), "database": None}))
    before = sorted(other.rglob("*"))
    for marked in (False, True):
        if marked:
            (other / ".study").write_text("\n")
            before = sorted(other.rglob("*"))
        code, _, told = hpo("gc", "--keep", "1", "--study", "squares")
        assert code == 2 and "study 'squares'" in told and "damaged" in told and "Traceback" not in told
        assert sorted(other.rglob("*")) == before


def test_an_empty_marker_is_another_studys(study: Study, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / ".study").touch()
    for named in (True, False):
        with pytest.raises(StudyError, match="is another study's"):
            claim(Folder(tmp_path / "shared"), "squares", study.id, study.folder, named)


def planted(study: Study, place: Path) -> None:
    """Puts into a folder what whoever can write to the study's folder knows, and sends the study there."""
    (place / "artifacts" / "00001").mkdir(parents=True)
    (place / "artifacts" / "00001" / "state.pt").write_text("dear")
    (place / ".study").write_text(f"{study.id}\n")
    (study.folder / "places.json").write_text(json.dumps({"artifacts": str(place), "database": None}))


def test_the_id_of_a_study_proves_no_place(study: Study, hpo: Run, tmp_path: Path) -> None:
    planted(study, tmp_path / "backup")
    before = contents(tmp_path / "backup")
    code, _, told = hpo("gc", "--keep", "1")
    assert code == 2 and "is not proven to be this study's by your secret" in told and "HPO_ARTIFACTS=" in told
    assert contents(tmp_path / "backup") == before


def test_a_proof_is_of_one_place(
    document: dict[str, Any], hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Study.create(tmp_path / "studies", spec.load(document), data_summary(), artifacts=str(tmp_path / "shared"))
    for skill in (2.0, 1.0):
        finish(made, skill, epochs=3)
    genuine = (tmp_path / "shared" / "squares" / ".study").read_text()
    planted(made, tmp_path / "backup" / "squares")
    (tmp_path / "backup" / "squares" / ".study").write_text(genuine)
    before = contents(tmp_path / "backup")
    code, _, told = hpo("gc", "--keep", "1")
    assert code == 2 and "is not proven" in told and contents(tmp_path / "backup") == before
    monkeypatch.setenv("HPO_ARTIFACTS", str(tmp_path / "backup"))  # the user's own word
    assert hpo("gc", "--keep", "1")[0] == 0 and contents(tmp_path / "backup") != before
    monkeypatch.delenv("HPO_ARTIFACTS")
    assert hpo("gc", "--keep", "1")[0] == 0  # once is enough


def test_a_variable_names_no_folder_of_files_for_a_study_whose_name_fits(
    study: Study, hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(study, tmp_path / "home" / "squares")
    (tmp_path / "home" / "squares" / ".study").unlink()
    before = contents(tmp_path / "home")
    monkeypatch.setenv("HPO_ARTIFACTS", str(tmp_path / "home"))
    code, _, told = hpo("gc", "--keep", "1")
    assert code == 2 and "name it once: `--artifacts` of `hpo search` or `hpo gc`\n" in told
    assert contents(tmp_path / "home") == before
    assert hpo("gc", "--keep", "1", "--artifacts", str(tmp_path / "home"))[0] == 0


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_nor_a_folder_of_empty_folders_or_links(
    kind: str, study: Study, hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(study, tmp_path / "home" / "squares")
    shutil.rmtree(tmp_path / "home" / "squares")
    (tmp_path / "home" / "squares").mkdir()
    if kind == "folder":
        (tmp_path / "home" / "squares" / "mine").mkdir()
    else:
        (tmp_path / "home" / "squares" / "mine").symlink_to(tmp_path)
    monkeypatch.setenv("HPO_ARTIFACTS", str(tmp_path / "home"))
    code, _, told = hpo("gc", "--keep", "1")
    assert code == 2 and "is not proven" in told and not (tmp_path / "home" / "squares" / ".study").exists()


def test_nothing_is_changed_in_a_place_that_was_not_claimed(study: Study, tmp_path: Path) -> None:
    planted(study, tmp_path / "backup")
    before = contents(tmp_path / "backup")
    opened = Study.open(study.folder.parent, "squares")
    for change in (
        lambda: opened.artifacts.evict(1),
        lambda: opened.place.write("a", b"b"),
        lambda: (opened.place / "artifacts").clear(),
        lambda: opened.place.remove(".study"),
        lambda: pickle.loads(pickle.dumps(opened.place / "artifacts")).write("a", b"b"),
    ):
        with pytest.raises(StudyError, match="nothing is changed in .* before it is known whose it is"):
            change()
    assert contents(tmp_path / "backup") == before


def test_a_place_that_was_moved_or_copied_with_its_study_is_its_own(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    made = Study.create(
        tmp_path / "old" / "studies", spec.load(document), data_summary(), artifacts=str(tmp_path / "old" / "shared")
    )
    own = made.id
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    (tmp_path / "old").rename(tmp_path / "new")
    for project in ("new", "copy"):
        again = Study.open(tmp_path / project / "studies", "squares")
        assert again.locations.artifacts is not None and project in str(again.locations.artifacts)
        again.hold.claim()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))  # another machine, another secret
    with pytest.raises(StudyError, match="is not proven .* HPO_ARTIFACTS="):
        again.hold.claim()
    again.hold.claim(str(tmp_path / "copy" / "shared"))
    again.hold.claim()
    assert again.id == own


def test_an_object_store_with_another_endpoint_is_another_place(
    document: dict[str, Any], hpo: Run, store: str, tmp_path: Path
) -> None:
    uri = f"s3://bucket/{tmp_path.name}?{store}"
    made = Study.create(tmp_path / "studies", spec.load(document), data_summary(), artifacts=uri)
    finish(made, 1.0, epochs=3)
    finish(made, 2.0, epochs=3)
    made.hold.claim()
    places = made.folder / "places.json"
    places.write_text(places.read_text().replace("&region=", "&allow_bucket_deletion=true&region="))
    before = made.artifacts.files()
    assert "allow_bucket_deletion" in places.read_text()
    code, _, told = hpo("gc", "--keep", "1")
    assert code == 2 and "is not proven to be this study's" in told and made.artifacts.files() == before


@pytest.mark.parametrize("form", ["local://{}/x:/y", "{}/x://y"])
def test_a_folder_that_looks_like_an_object_store_leads_nowhere(
    form: str, study: Study, treasure: Path, hpo: Run, tmp_path: Path
) -> None:
    own = study.folder / "x:" / "y"
    own.mkdir(parents=True)
    (own / ".study").write_text(study.id)
    (study.folder / "artifacts").rename(own / "artifacts")
    shutil.rmtree(own / "artifacts" / "00003")
    (own / "artifacts" / "00003").symlink_to(treasure.parent)
    artifacts = form.format(study.folder.absolute())
    (study.folder / "places.json").write_text(json.dumps({"artifacts": artifacts, "database": None}))
    code, _, told = hpo("gc", "--keep", "3")
    assert code == 2 and "a folder is named by its path, without '://', or as file:///folder" in told
    assert treasure.exists()


@pytest.mark.parametrize("place", ["mock\x1b]0;pwned\x07://x/y", "hdfs://x", "\0", "file:///%00", ["://"], 5])
def test_a_place_of_no_known_form_is_one_sentence(place: object, study: Study, hpo: Run) -> None:
    (study.folder / "places.json").write_text(json.dumps({"artifacts": place, "database": None}))
    for command in (("gc", "--dry-run"), ("gc",), ("trials",), ("resume",), ("ensemble",)):
        code, _, told = hpo(*command)
        assert code == 2 and "Traceback" not in told and not {"\x1b", "\x07", "\0"} & set(told)


@pytest.mark.parametrize(
    "option", ["sslkeylogfile={}", "sslkey={}:key", "sslkey=a&sslkey={}:key", "gsslib=x", "plugin=x"]
)
def test_a_database_in_places_loads_nothing_and_writes_no_file(
    option: str, study: Study, treasure: Path, hpo: Run
) -> None:
    url = f"postgresql://someone@127.0.0.1:1/name?sslmode=require&{option.format(treasure)}"
    (study.folder / "places.json").write_text(json.dumps({"artifacts": None, "database": url}))
    for command in ("trials", "best", "gc", "resume", "ensemble"):
        code, _, told = hpo(command)
        refused = ("more than once",) if "&" in option else (f"option '{option.partition('=')[0]}'", "not passed on")
        assert code == 2 and all(words in told for words in refused)
    assert hpo("studies")[0] == 0 and treasure.read_text().startswith("dear")
    url = "postgresql://someone@127.0.0.1:1/name?sslmode=require&sslkey=client.key&sslcert=client.crt"
    assert Database.known(url) == (Database.of(url), False)


@pytest.fixture
def service() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine, and what was sent there."""
    sent: list[bytes] = []

    class Heard(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sent.append(self.request.recv(4096))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Heard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], sent
        server.shutdown()


@pytest.mark.parametrize(
    "places",
    [
        {"artifacts": None, "database": "postgresql://u@127.0.0.1:{port}/x?sslmode=disable&gssencmode=disable"},
        {"artifacts": None, "database": "postgresql://u@/x?host={folder}&port=5432&options=-c%20search_path%3Dx"},
        {"artifacts": None, "database": "postgresql://u@127.0.0.1:{port}/x%0ADELETE_KEY%0A?sslmode=disable"},
        {"artifacts": "s3://bucket/p/squares?endpoint_override=127.0.0.1:{port}&scheme=http", "database": None},
    ],
    ids=["database", "socket", "line break", "object store"],
)
def test_nothing_is_sent_where_only_the_folder_says(
    places: dict[str, str | None], study: Study, service: tuple[int, list[bytes]], hpo: Run
) -> None:
    port, sent = service
    filled = {name: text and text.format(port=port, folder=study.folder) for name, text in places.items()}
    (study.folder / "places.json").write_text(json.dumps({**filled, "record": study.id, "proofs": ["0" * 64]}))
    for command in ("trials", "best", "gc", "resume", "ensemble"):
        code, _, told = hpo(command)
        assert code == 2 or (command in ("trials", "best") and filled["artifacts"]), told
        assert "Traceback" not in told
    assert hpo("studies")[0] == 0 and sent == []


def test_an_object_store_that_the_user_names_is_asked(
    study: Study, service: tuple[int, list[bytes]], hpo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, sent = service
    shared = f"s3://bucket/p?endpoint_override=127.0.0.1:{port}&scheme=http&request_timeout=1"
    own = shared.replace("/p?", "/p/squares?")
    (study.folder / "places.json").write_text(json.dumps({"artifacts": own, "database": None}))
    monkeypatch.setenv("HPO_ARTIFACTS", shared)
    locations = Study.open(study.folder.parent, "squares").locations
    assert locations.artifacts is not None and not locations.artifacts.lock.sealed and locations.artifacts.lock.closed
    monkeypatch.delenv("HPO_ARTIFACTS")
    sealed = Study.open(study.folder.parent, "squares").artifacts
    with pytest.raises(
        StudyError, match="nothing is asked of .*, which is not proven to be this study's by your secret"
    ):
        sealed.files()
    assert sent == []


@pytest.mark.parametrize("name", ["..", "a/../b", "a//b", "./a", "a/.."])
def test_a_name_in_an_object_store_leads_nowhere_else(name: str, store: str, tmp_path: Path) -> None:
    shelf = place_of(f"s3://bucket/{tmp_path.name}?{store}")
    for action in (shelf.read, shelf.remove, lambda name: shelf.write(name, b"")):
        with pytest.raises(OSError, match="is no name below"):
            action(name)
    with pytest.raises(OSError, match="is no name below"):
        (shelf / name).files()


def test_objects_whose_names_lead_elsewhere_are_none(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = place_of(f"s3://bucket/{tmp_path.name}?{store}") / "squares"
    shelf.write("artifacts/00001/state.pt", b"own")

    class Listed:
        """The store, in whose list stands an object with dots."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def get_file_info(self, selector: Any) -> list[Any]:
            found = list(self._inner.get_file_info(selector))
            elsewhere = SimpleNamespace(path=f"{selector.base_dir}/../../other/k", size=3, type=found[-1].type)
            return [*found, elsewhere]

    system, base = sys.modules[Folder.__module__]._open(f"s3://bucket/{tmp_path.name}?{store}")
    monkeypatch.setattr(sys.modules[Folder.__module__], "_open", lambda uri: (Listed(system), base))
    assert shelf.files() == {"artifacts/00001/state.pt": 3}
    shelf.clear()
    assert shelf.files() == {}


@pytest.fixture
def lent(document: dict[str, Any], tmp_path: Path) -> tuple[Study, Path]:
    """A study whose artifacts are in a shared folder, and the private study of somebody, whose name fits."""
    made = Study.create(tmp_path / "studies", spec.load(document), data_summary(), artifacts=str(tmp_path / "shared"))
    private = Study.create(tmp_path / "private", spec.load(document), data_summary())
    for study in (made, private):
        for skill in (2.0, 1.0):
            finish(study, skill, epochs=3)
    return made, private.folder


def test_a_link_in_place_of_a_studys_artifacts_is_not_followed(
    lent: tuple[Study, Path], hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, private = lent
    (tmp_path / "shared" / "squares").rename(tmp_path / "shared" / "away")
    before = contents(private)
    for target in (private, tmp_path / "nothing"):
        (tmp_path / "shared" / "squares").unlink(missing_ok=True)
        (tmp_path / "shared" / "squares").symlink_to(target)
        for command in (("gc", "--keep", "1", "--artifacts", str(tmp_path / "shared")), ("gc", "--keep", "1")):
            code, _, told = hpo(*command)
            assert code != 0 and "Traceback" not in told, told
        monkeypatch.setenv("HPO_ARTIFACTS", str(tmp_path / "shared"))
        code, _, told = hpo("gc", "--keep", "1")
        monkeypatch.delenv("HPO_ARTIFACTS")
        assert code != 0 and "Traceback" not in told, told
    assert contents(private) == before and not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("at", ["kept/squares", "kept"])
def test_a_place_in_the_studys_folder_that_leads_out_is_not_claimed(
    at: str, lent: tuple[Study, Path], hpo: Run
) -> None:
    study, private = lent
    kept = study.folder / "kept"
    if at == "kept":
        kept.symlink_to(private.parent)
    else:
        kept.mkdir()
        (kept / "squares").symlink_to(private)
    (study.folder / "places.json").write_text(json.dumps({"artifacts": str(kept / "squares"), "database": None}))
    before = contents(private)
    for command in (("gc", "--keep", "1", "--artifacts", str(kept)), ("gc", "--keep", "1"), ("resume",)):
        code, _, told = hpo(*command)
        assert code != 0 and "Traceback" not in told, told
    assert contents(private) == before


@pytest.mark.parametrize("uri", ["s3://bucket/a\nTo repair it: rm", "/shared/a\rb"])
def test_a_place_with_a_line_break_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="has no line break in its name, got '"):
        place_of(uri)


def test_a_key_with_a_line_break_is_one_line(study: Study, hpo: Run) -> None:
    written = (study.folder / "spec.yaml").read_text()
    (study.folder / "spec.yaml").write_text(written + '"x\\nTo repair it, run: rm": 1\n')
    for command in ("studies", "best"):
        _, out, told = hpo(command)
        assert "\nTo repair it" not in out + told and "To repair it" in out + told


def test_an_empty_secret_proves_nothing(study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    secret_file().parent.mkdir(parents=True)
    secret_file().touch(0o600)
    with pytest.raises(PermissionError, match="is too short to be a secret"):
        proof("text", make=True)


def test_a_store_that_is_sealed_is_not_proven_by_the_way(study: Study) -> None:
    places = {"artifacts": "s3://bucket/p/squares?endpoint_override=127.0.0.1:1", "database": None}
    (study.folder / "places.json").write_text(json.dumps(places))
    opened = Study.open(study.folder.parent, "squares")
    opened.locations.write(opened.folder, opened.name)
    again = Study.open(study.folder.parent, "squares").locations
    assert again.proofs == () and again.artifacts is not None and again.artifacts.lock.sealed


def test_a_study_that_is_a_link_is_refused(study: Study, hpo: Run, tmp_path: Path) -> None:
    study.folder.rename(tmp_path / "private")
    study.folder.symlink_to(tmp_path / "private")
    before = contents(tmp_path / "private")
    for command in ("trials", "best", "gc", "resume", "ensemble"):
        code, _, told = hpo(command)
        assert code == 2 and "is a link, and what a study owns is never reached through one" in told
    assert contents(tmp_path / "private") == before
    code, _, told = hpo("studies")
    assert code == 0 and "is a link" in told


def test_a_folder_with_a_name_of_several_lines_is_no_study(study: Study, hpo: Run) -> None:
    shutil.copytree(study.folder, study.folder.parent / "squares\nTo repair it: rm")
    assert study_names(study.folder.parent) == ["squares"]
    assert "To repair" not in "".join(map(str, hpo("studies")))


def test_a_pipe_or_a_device_is_no_file_of_a_study(study: Study, hpo: Run, tmp_path: Path) -> None:
    for name in ("spec.yaml", "search.lock", "journal.log", "places.json", "environment.json"):
        folder = tmp_path / "studies" / name.partition(".")[0]
        shutil.copytree(study.folder, folder)
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    code, out, _ = hpo("studies", "--format", "json")
    listed = {entry["study"]: entry.get("problem") for entry in json.loads(out)}
    assert code == 0 and listed.pop("squares") is None
    assert all("is a pipe or a device" in str(problem) for problem in listed.values()) and len(listed) == 5


# ---- links that appear while a command works -------------------------------------------------------------------------


def after(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, act: Callable[[], None]) -> None:
    """Lets somebody act after a function was called for the first time."""
    original, done = getattr(owner, name), list[bool]()

    def wrapped(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if not done:
            done.append(True)
            act()
        return result

    monkeypatch.setattr(owner, name, wrapped)


def swap(path: Path, target: Path) -> None:
    """Puts a link where something is, if it is there."""
    if os.path.lexists(path):
        path.rename(path.with_name(f"{path.name}-was"))
    path.symlink_to(target)


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["member-01.safetensors", "ensemble.json", "result.json", "report"])
def test_an_ensemble_is_not_written_through_a_link(
    name: str, study: Study, treasure: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harm() -> None:
        draft = next((study.folder / "ensembles").glob(".*"))
        swap(draft / name, treasure if Path(name).suffix else treasure.parent)

    after(monkeypatch, Stored, "copy_checkpoint", harm)
    before = contents(treasure.parent)
    with suppress(HpoError):
        result = api.build_ensemble("squares", method="voting", storage=study.folder.parent)
        assert not (result.folder / name).is_symlink()
    assert contents(treasure.parent) == before


@pytest.mark.parametrize("stage", ["copy_checkpoint", "write", "logged"])
def test_an_ensemble_does_not_follow_its_folder_elsewhere(
    stage: str, study: Study, treasure: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = treasure.parent / "ensembles"

    def harm() -> None:
        shutil.copytree(study.folder / "ensembles", elsewhere)
        swap(study.folder / "ensembles", elsewhere)
        before.update(contents(treasure.parent))

    before: dict[Path, bytes | None] = {}
    owners = {"copy_checkpoint": Stored, "write": report, "logged": mlflow_run}
    after(monkeypatch, owners[stage], stage, harm)
    with pytest.raises((HpoError, OSError), match="is reached through a link"):
        api.build_ensemble("squares", method="voting", storage=study.folder.parent)
    assert before and contents(treasure.parent) == before


def test_mlflow_gets_nothing_that_a_link_points_to(
    study: Study, treasure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harm() -> None:
        draft = next((study.folder / "ensembles").glob(".*"))
        for name in ("note.txt", "report/note.txt"):
            (draft / name).symlink_to(treasure)
        for name in ("MLmodel", "report/MLmodel", "report/code/evil.py"):  # a model that MLflow would load from the run
            (draft / name).parent.mkdir(exist_ok=True)
            (draft / name).write_text("loader_module: evil")
        swap(draft / "report" / "weights.png", treasure)

    after(monkeypatch, report, "write", harm)
    result = api.build_ensemble("squares", method="voting", name="made", storage=study.folder.parent)
    assert result.tracking_problem is None
    logged = [path for path in (tmp_path / "studies" / "mlflow-artifacts").rglob("*") if path.is_file()]
    assert any(path.name == "ensemble.json" for path in logged)
    assert not any(b"dear" in path.read_bytes() or b"evil" in path.read_bytes() for path in logged)


def test_an_ensemble_elsewhere_is_none_of_a_study(study: Study, treasure: Path, tmp_path: Path) -> None:
    write_ensemble(treasure.parent / "ensembles" / "made")
    (study.folder / "ensembles").symlink_to(treasure.parent / "ensembles")
    with pytest.raises(StudyError, match="no ensemble 'made'"):
        api.open_ensemble("made", tmp_path / "studies")
    (study.folder / "ensembles").unlink()
    folder = write_ensemble(study.folder / "ensembles" / "made")
    assert api.open_ensemble("made", tmp_path / "studies").members
    swap(folder / "member-00.safetensors", treasure.parent / "ensembles" / "made" / "member-00.safetensors")
    with pytest.raises(DataError, match="is a link"):
        api.open_ensemble("made", tmp_path / "studies")


def test_drafts_elsewhere_are_not_cleared_up(
    study: Study, treasure: Path, hpo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = treasure.parent / "ensembles" / f".draft.{'0' * 32}"
    elsewhere.mkdir(parents=True)
    os.utime(elsewhere, (0, 0))
    after(monkeypatch, Hold, "claim", lambda: swap(study.folder / "ensembles", elsewhere.parent))
    code, _, told = hpo("gc", "--keep", "1")
    assert code == 0 and elsewhere.exists() and "draft" not in told


@pytest.mark.parametrize("path", ["{}/turned", "{}/missing/../turned"])
@pytest.mark.parametrize("command", [("gc", "--keep", "1"), ("ensemble", "--method", "soup")])
def test_a_link_that_is_turned_after_the_place_was_claimed_leads_nowhere(
    command: tuple[str, ...], path: str, study: Study, treasure: Path, hpo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `places.json` names is found once: who turns a link later leads nobody elsewhere."""
    other = treasure.parent / "artifacts"
    shutil.copytree(study.folder / "artifacts", other)
    real = study.folder / "real"
    real.mkdir()
    (study.folder / "artifacts").rename(real / "artifacts")
    (real / ".study").write_text(f"{study.id}\n")
    turned = study.folder / "turned"
    turned.symlink_to(real)
    places: dict[str, Any] = {
        "artifacts": path.format(study.folder.absolute()),
        "database": None,
        "record": None,
        "beside": {},
    }
    (study.folder / "places.json").write_text(json.dumps(places))
    before = contents(treasure.parent)
    after(monkeypatch, Hold, "claim", lambda: (turned.unlink(), turned.symlink_to(treasure.parent)))  # type: ignore[arg-type, func-returns-value]
    hpo(*command)
    assert contents(treasure.parent) == before


def test_predictions_replace_a_link_and_leave_its_target_alone(treasure: Path, hpo: Run, tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path / "studies" / "made" / "ensembles" / "e")
    np.save("in.npy", inputs("images", 2, seed=0))
    told = folder / "told.csv"
    told.symlink_to(treasure)
    shutil.copy(treasure, "kept")
    code, _, err = hpo("predict", "--ensemble", "e", "--input", "in.npy", "--output", str(told))
    assert code == 0, err
    assert treasure.read_text() == Path("kept").read_text() and not told.is_symlink()
    assert told.read_text().startswith("input,prediction")


def test_an_archive_that_torch_would_read_otherwise_is_not_given_to_it() -> None:
    """Behind the listing that torch reads stands another one, which Python reads."""
    made, told = io.BytesIO(), io.BytesIO()
    torch.save({"state": torch.zeros(4)}, told)
    with zipfile.ZipFile(io.BytesIO(told.getvalue())) as small, zipfile.ZipFile(made, "w") as archive:
        for name in small.namelist():
            kind = zipfile.ZIP_DEFLATED if name.endswith("data/0") else zipfile.ZIP_STORED
            archive.writestr(name, bytes(2**22) if name.endswith("data/0") else small.read(name), kind)
    content = made.getvalue()
    end = content.rindex(b"PK\5\6")
    size, offset = struct.unpack("<II", content[end + 12 : end + 20])
    listing, place = bytearray(content[offset : offset + size]), 0
    while place < len(listing):
        lengths = struct.unpack("<HHH", listing[place + 28 : place + 34])
        listing[place + 10 : place + 12] = b"\0\0"
        listing[place + 20 : place + 28] = struct.pack("<II", 1, 1)
        place += 46 + sum(lengths)
    with pytest.raises(pickle.UnpicklingError):
        load_tensors(content[:end] + bytes(listing) + content[end:])
    assert load_tensors(told.getvalue())["state"].tolist() == [0.0] * 4


def test_a_state_of_a_member_that_is_there_twice_is_refused() -> None:
    made = io.BytesIO()
    torch.save({"state": torch.zeros(4)}, made)
    with zipfile.ZipFile(made, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(next(name for name in archive.namelist() if name.endswith("data/0")), bytes(16))
    with pytest.raises(pickle.UnpicklingError, match="would unpack to more|two of its members have one name"):
        load_tensors(made.getvalue())


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("lineage", {"parents": [5]}),
        ("lineage", {"parents": []}),
        ("lineage", {"parents": "0"}),
        ("lineage", {"parents": [0.5]}),
        ("lineage", None),
    ],
)
def test_a_trial_whose_parent_is_none_before_it_is_one_sentence(
    attribute: str, value: Any, study: Study, hpo: Run
) -> None:
    record = study.record
    trial = record.ask()
    for name, kept in (("inherited", 1), (attribute, value)):
        if kept is not None:
            record._storage.set_trial_user_attr(trial._trial_id, name, kept)
    for command in (("trials",), ("ensemble", "--method", "soup"), ("gc",)):
        code, _, told = hpo(*command)
        assert code == 2 and "it goes on with the training of no trial before it" in told


@pytest.mark.parametrize(("name", "value"), [("gpu_seconds", "many"), ("gpu_seconds", [1]), ("code", [3]), ("code", 5)])
def test_a_study_whose_own_notes_are_damaged_is_one_sentence(name: str, value: Any, study: Study) -> None:
    study.record.set_user_attr(name, value)
    opened = Study.open(study.folder.parent, "squares")
    with pytest.raises(StudyError, match="is damaged"):
        opened.spent() if name == "gpu_seconds" else opened.code


def test_a_reason_of_empty_lines_has_no_cause(study: Study, hpo: Run) -> None:
    study.writer.end(study.writer.ask().number, Outcome(State.FAILED, "\n\n"))
    assert hpo("trials")[0] == 0


@pytest.mark.parametrize("said", [0, None, [], {}])
def test_a_proof_that_is_no_text_proves_nothing(said: object) -> None:
    assert not is_proof("any", said)


def test_what_other_packages_say_is_harmless(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A logger that nobody handles, and a warning, may have what a database or a file says."""
    code = (
        "import logging, warnings\nfrom hpo.cli import program\nprogram._show_control_characters()\n"
        "logging.getLogger('psycopg').warning('said \x1b]0;title\x07')\nwarnings.warn('said \u202e')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    told = capfd.readouterr().err
    assert told.count("said") >= 2 and not {"\x1b", "\x07", "\u202e"} & set(told)


def test_a_record_of_many_threads_sets_no_more_than_a_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    had: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", had.append)
    for count in (200_000, -3):
        Threads(1).use(count)
    assert had == [1024, 1]


def test_a_task_of_the_combiner_is_one_of_ours() -> None:
    with pytest.raises(ValueError, match="its task 'kinds' is none"):
        from_json({"kind": "average", "weights": [0.5, 0.5], "task": "kinds"}, 2, 3)


@pytest.mark.parametrize("way", ["simulate", "ask_and_tell"])
def test_a_place_that_nobody_has_claimed_is_not_written_to(way: str, treasure: Path, tmp_path: Path) -> None:
    wanted: dict[str, Any] = {
        "study": "curves",
        "training": {"epochs": 3},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "budget": {"trials": 2},
        "sampler": "random",
    }
    api.simulate(wanted, lambda config, epoch: ({"loss": 1.0}, 1.0), storage=tmp_path / "studies", trials=1)
    (treasure.parent / "artifacts" / "00001").mkdir(parents=True)
    (treasure.parent / "artifacts" / "00001" / "state.pt").write_text("dear")
    places = {"artifacts": str(treasure.parent), "database": None}
    (tmp_path / "studies" / "curves" / "places.json").write_text(json.dumps(places))
    before = contents(treasure.parent)
    with pytest.raises(StudyError, match="is not proven to be this study's"):
        if way == "simulate":
            api.simulate(wanted, lambda config, epoch: ({"loss": 1.0}, 1.0), storage=tmp_path / "studies")
        else:
            with api.ask_and_tell(wanted, storage=tmp_path / "studies"):
                pass
    assert contents(treasure.parent) == before


def test_folders_without_an_end_are_one_sentence(study: Study, hpo: Run) -> None:
    at = os.open(study.folder / "artifacts" / "00003", os.O_RDONLY)
    for _ in range(150):
        os.mkdir("x", dir_fd=at)
        below = os.open("x", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    code, _, told = hpo("gc", "--keep", "1")
    assert code == 1 and "has more folders in each other than the 100 that are read" in told and "Trace" not in told


def test_a_lock_that_is_a_link_lets_nobody_wait(study: Study, hpo: Run) -> None:
    (study.folder / "journal.log.lock").symlink_to("nowhere")
    code, _, told = hpo("resume", "--trials", "20")
    assert code == 2 and "journal.log.lock' is a link to 'nowhere'" in told


def test_a_trial_with_a_parameter_of_no_search_is_one_sentence(study: Study, hpo: Run) -> None:
    journal = study.folder / "journal.log"
    lines = [re.sub(r',"check":"[0-9a-f]{8}"', "", line) for line in journal.read_text().splitlines()]
    changed = [re.sub(r'"param_name":"[^"]+"', '"param_name":"__class__.x"', line) for line in lines]
    assert changed != lines
    journal.write_text("\n".join(changed) + "\n")
    for command in ("trials", "best", "ensemble", "gc"):
        code, _, told = hpo(command)
        assert code == 2 and "is damaged: it has a parameter that the search has not" in told, command


def test_a_journal_that_is_a_link_makes_no_file(study: Study, treasure: Path) -> None:
    opened = Study.open(study.folder.parent, "squares")
    swap(study.folder / "journal.log", treasure.parent / "made")
    with pytest.raises(StudyError, match="cannot be read: .* is a link"):
        opened.trials()
    (study.folder / "journal.log").unlink()
    with pytest.raises(StudyError, match="has no record of study 'squares'"):
        opened.trials()
    assert list(treasure.parent.iterdir()) == [treasure] and not (study.folder / "journal.log").exists()


def test_members_are_not_trained_elsewhere(
    study: Study, treasure: Path, document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(monkeypatch, Hold, "claim", lambda: swap(study.folder / "retrained", treasure.parent))
    monkeypatch.setattr(study_data, "load", lambda *_, **__: datasets.load(study.study_spec.data, tmp_path, 0))
    with pytest.raises(StudyError, match="members cannot be trained into '.*retrained/deep': .* through a link"):
        api.build_ensemble("squares", method="deep", storage=study.folder.parent)
    assert list(treasure.parent.iterdir()) == [treasure]


def test_test_rows_are_predicted_into_a_place_of_the_study_alone(study: Study, hpo: Run, tmp_path: Path) -> None:
    for file in (study.folder / "artifacts").glob("*/epoch-*/test.npy"):
        file.unlink()
    (tmp_path / "home").mkdir()
    (study.folder / "artifacts").rename(tmp_path / "home" / "artifacts")
    places = {"artifacts": str(tmp_path / "home"), "database": None, "data": study.study_spec.data.path}
    (study.folder / "places.json").write_text(json.dumps(places))
    before = contents(tmp_path / "home")
    with pytest.MonkeyPatch.context() as patched, pytest.raises(StudyError, match="is not proven to be this stud"):
        patched.setattr(study_data, "load", lambda *_, **__: datasets.load(study.study_spec.data, tmp_path, 0))
        api.build_ensemble("squares", method="single", storage=study.folder.parent)
    assert contents(tmp_path / "home") == before


def test_where_a_trial_hangs_is_not_written_elsewhere(
    study: Study, treasure: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    treasure = treasure.rename(treasure.with_name("hang.txt"))
    after(monkeypatch, Folder, "write", lambda: swap(study.folder / "artifacts" / "00002", treasure.parent))
    with pytest.raises(OSError, match="reached through a link"), watched(60, study.artifacts.trial(2)):
        pytest.fail("it was opened")
    assert treasure.read_text().startswith("dear")


def test_a_place_that_turns_to_another_folder_is_not_followed(
    study: Study, hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("own", "home"):
        shutil.copytree(study.folder / "artifacts", tmp_path / folder / "squares" / "artifacts")
    claim(Folder(tmp_path / "own") / "squares", "squares", study.id, study.folder, named=True)
    door = tmp_path / "door"
    door.symlink_to(tmp_path / "own")
    (study.folder / "places.json").write_text(json.dumps({"artifacts": str(door / "squares"), "database": None}))

    def turn() -> None:
        door.unlink()
        door.symlink_to(tmp_path / "home")

    after(monkeypatch, Hold, "claim", turn)
    before = contents(tmp_path / "home")
    assert hpo("gc", "--keep", "1")[0] == 0
    assert (
        contents(tmp_path / "home") == before
        and len(list((tmp_path / "own" / "squares" / "artifacts").glob("0*"))) == 1
    )


# ---- documents that grow when they are read --------------------------------------------------------------------------

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{place}: &a{place} [{', '.join([f'*a{place - 1}'] * 9)}]\n" for place in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "space.yaml:5: not YAML: has more than 20,000 values, aliases written out"),
        ("a: &a [*a]\n", "space.yaml:1: not YAML: alias '\\*a' stands for something that it is a part of"),
        ("a: " + "[" * 3000, "space.yaml:1: not YAML: is nested more than 40 deep"),
        ("".join(" " * depth + "a:\n" for depth in range(60)), "space.yaml:41: not YAML: is nested more than 40"),
        ("a: " + "x" * 2**20, "cannot be read: it has 1,048,579 bytes, and 1,048,576 are the most"),
    ],
)
def test_yaml_that_grows_is_refused_before_it_does(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=message):
        spec.load(file)


def test_a_pipe_or_a_device_is_no_search_and_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(SpecError, match="is a pipe or a device"):
            spec.load(path)
        for reading in (lambda: read_arrays(path), lambda: next(input_batches(path, Wanted((3,))))):  # noqa: B023
            with pytest.raises(DataError, match="is a pipe or a device"):
                reading()
    with pytest.raises(SpecError, match="is a pipe or a device"):
        api.validate({"study": "x", "data": {"name": "npz", "path": str(tmp_path / "pipe")}, "model": "mlp"})


def claiming(shape: tuple[int, ...]) -> bytes:
    """An .npy file whose header says that it is of this shape, and that has nothing more."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


def test_archives_and_headers_that_claim_too_much_are_refused_unread(study: Study, tmp_path: Path) -> None:
    bomb = zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with bomb, bomb.open("x_train.npy", "w") as member:
        member.write(claiming((300 * 2**20,)))
        for _ in range(300):
            member.write(bytes(2**20))
    with pytest.raises(DataError, match="would unpack to 314,572,928, more than 100 times as much; save it without"):
        read_arrays(tmp_path / "bomb.npz")
    (tmp_path / "claim.npy").write_bytes(claiming((10**12,)))
    with zipfile.ZipFile(tmp_path / "claim.npz", "w") as archive:
        archive.writestr("x_train.npy", claiming((10**6, 10**6)))
    for name in ("claim.npy", "claim.npz"):
        with pytest.raises(DataError, match=r"claims an array of (1000000000000|1000000x1000000) uint8 and has"):
            read_arrays(tmp_path / name)
    part(study, 0, "validation.npy").write_bytes(claiming((10**12,)))
    assert any("trial 0: its validation predictions cannot be read" in line for line in Pool.load(study, 50).skipped)
    (study.folder / "data.npz").write_bytes((tmp_path / "claim.npz").read_bytes())
    with pytest.raises(StudyError, match="data.npz is damaged"):
        assert Study.open(tmp_path / "studies", "squares").data_summary


def test_files_that_are_larger_than_they_may_be_are_not_read(study: Study, hpo: Run) -> None:
    for file in (part(study, 0, "validation.npy"), study.folder / "search.lock", study.folder / "environment.json"):
        with file.open("ab") as sparse:
            sparse.truncate(60 * 2**30)
    assert any(
        "trial 0: its validation predictions cannot be read: it has 64," in told
        for told in Pool.load(study, 50).skipped
    )
    with (study.folder / "search.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert study.hold.searcher is not None
    assert environment.read(study.folder) is None
    with study.hold.held():
        assert (study.folder / "search.lock").stat().st_size < 2**10
    with (study.folder / "journal.log").open("ab") as sparse:
        whole = sparse.tell()
        sparse.truncate(60 * 2**30)
    with pytest.raises(StudyError, match="is not as it was written"), study.hold.held():
        Study.open(study.folder.parent, "squares").trials()
    assert whole < (study.folder / "journal.log").stat().st_size


@pytest.mark.parametrize(
    "line", [b"{torn\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"[1]\n", b'{"op_code": 99}\n', b'{"op_code": 4}\n']
)
def test_one_damaged_journal_does_not_hide_the_other_studies(
    line: bytes, study: Study, document: dict[str, Any], hpo: Run, tmp_path: Path
) -> None:
    Study.create(tmp_path / "studies", spec.load({**document, "study": "sound"}), data_summary())
    lines = (study.folder / "journal.log").read_bytes().splitlines(keepends=True)
    (study.folder / "journal.log").write_bytes(b"".join([*lines[:3], line, *lines[3:]]))
    code, out, told = hpo("studies", "--format", "json")
    problems = {entry["study"]: entry.get("problem") for entry in json.loads(out)}
    assert code == 0 and problems["sound"] is None and "study 'squares'" in problems["squares"] and "Left out: " in told
    for command in ("trials", "best", "resume", "gc"):
        code, _, told = hpo(command, "--study", "squares")
        assert code == 2 and "Traceback" not in told and "study 'squares'" in told


def _rewritten(study: Study, old: str, new: str) -> None:
    """Changes the record of a study, as one who knows what its lines are."""
    file = study.folder / "journal.log"
    text = re.sub(r',"check":"\w+"', "", file.read_text())
    assert old in text
    file.write_text(text.replace(old, new))


def _without_a_record(study: Study) -> None:
    (study.folder / "journal.log").unlink()
    (study.folder / "journal.log").mkdir()


def _spec_says(study: Study, **changes: object) -> None:
    file = study.folder / "spec.yaml"
    file.write_text(json.dumps({**spec.parse_plain(file.read_text()), **changes}))


def _has_no_such_setting(study: Study) -> None:
    _spec_says(study, model={"name": "mlp", "layers": 1, "width": 8, "spec": 1})
    _rewritten(study, '"user_attr":{"spec":{', '"user_attr":{"kept":{')
    _rewritten(study, '"user_attr":{"format":2}', '"user_attr":{"format":1}')


def test_a_trial_of_a_damaged_study_is_reproduced_in_a_sentence(study: Study, hpo: Run) -> None:
    damages: dict[str, Callable[[Study], None]] = {
        "'mlp' has no such setting": _has_no_such_setting,
        "no list of names": lambda study: _summary_says(study, outputs=np.array("x")),
    }
    for told, damage in damages.items():
        kept = {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()}
        damage(study)
        code, _, err = hpo("reproduce", "0")
        assert code in (1, 2) and told in err and "Traceback" not in err
        for path, content in kept.items():
            path.write_bytes(content)


def _summary_says(study: Study, **changes: Any) -> None:
    with np.load(study.folder / "data.npz") as archive:
        kept = {**archive, **changes}
    np.savez(study.folder / "data.npz", **kept)


DAMAGES: dict[str, Callable[[Study], None]] = {
    "no file": _without_a_record,
    "a spec": lambda study: _rewritten(study, '"user_attr":{"spec":{', '"user_attr":{"spec":[1]},"x":{"y":{'),
    "metrics": lambda study: _rewritten(study, r"\"metrics\": {", r"\"metrics\": [1], \"x\": {"),
    "a metric": lambda study: _rewritten(study, r"\"accuracy\": ", r"\"accuracy\": [1], \"x\": "),
    "a moment": lambda study: _rewritten(study, r"\"moment\": [", r"\"moment\": [[], "),
    "a reason": lambda study: _rewritten(study, '"reason":"', '"reason":5},"x":{"y":"'),
    "an objective": lambda study: _spec_says(study, objective={"metric": "fame"}),
    "a task": lambda study: _spec_says(study, task=[], objective=None),
    "a place": lambda study: files.write(
        study.folder, "places.json", b'{"artifacts": "postgresql://u@[::1", "database": null}'
    ),
    "a database": lambda study: files.write(
        study.folder, "places.json", b'{"artifacts": null, "database": "postgresql://u@[::1"}'
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_whatever_is_wrong_in_a_study_the_others_are_listed(
    damage: str, study: Study, document: dict[str, Any], hpo: Run, tmp_path: Path
) -> None:
    Study.create(tmp_path / "studies", spec.load({**document, "study": "sound"}), data_summary())
    DAMAGES[damage](study)
    code, out, told = hpo("studies", "--format", "json")
    listed = {entry["study"]: entry.get("problem") for entry in json.loads(out)}
    assert code == 0 and listed["sound"] is None and listed["squares"] and "Traceback" not in told
    assert hpo("studies")[0] == 0
    for command in ("trials", "best"):
        code, _, told = hpo(command, "--study", "squares")
        assert code == 2 and "Traceback" not in told


def test_a_study_that_nobody_has_thought_of_is_listed_as_a_problem(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def best(self: Study) -> None:
        raise KeyError("x" * 5000)

    monkeypatch.setattr(Study, "best", best)
    found, problems = api.all_studies(tmp_path / "studies")
    assert not found and "move it away" in problems["squares"] and len(problems["squares"]) < 1300


def test_what_is_told_of_a_damaged_spec_is_bounded(study: Study, hpo: Run) -> None:
    (study.folder / "spec.yaml").write_text("study: squares\n" + "".join(f"{'x' * 50}{n}: 1\n" for n in range(3000)))
    code, out, told = hpo("studies")
    assert code == 0 and len(out) + len(told) < 5000
    code, _, told = hpo("trials", "--study", "squares")
    assert code == 2 and len(told) < 50_000 and "and 2,9" in told


def test_the_name_of_a_folder_is_not_obeyed_by_a_terminal(study: Study, hpo: Run, tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "a\x1b]0;title\x07"
    folder.mkdir()
    (folder / "journal.log").touch()
    for command in (("studies",), ("best", "--study", "nope"), ("studies", "--format", "json")):
        _, out, told = hpo(*command)  # no study can be called so
        assert not {"\x1b", "\x07"} & set(out + told) and "]0;title" not in out + told
    _, _, told = hpo("best", "--study", folder.name)
    assert not {"\x1b", "\x07"} & set(told) and "]0;title" in told


@pytest.mark.parametrize("error", [RuntimeError, OSError, FileNotFoundError])
def test_no_traceback_is_obeyed_by_a_terminal(
    error: type[Exception], study: Study, hpo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*_: object, **__: object) -> None:
        raise error("\x1b]0;title\x07")

    monkeypatch.setattr(api, "open_study", raising)
    code, _, told = hpo("trials")
    assert code == 1 and "\\x1b]0;title\\x07" in told and not {"\x1b", "\x07"} & set(told)
    assert ("Traceback" in told) == (error is RuntimeError)


@pytest.mark.usefixtures("npz_file")
def test_who_is_told_to_trust_is_told_what(document: dict[str, Any], hpo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Study.create(
        Path("studies"), spec.load({**document, "model": {"name": "evil:thing"}, "parameters": {}}), data_summary()
    )
    made.writer.ask()
    monkeypatch.setattr(plugins, "_trusted", set())
    code, out, _ = hpo("trials")
    assert code == 0 and "`hpo resume --study squares --trust` goes on with it, and runs 'evil:thing', which" in out
    assert "'studies/squares/spec.yaml' names: look there first" in " ".join(out.split())


# ---- programs --------------------------------------------------------------------------------------------------------


def program_study(treasure: Path, **command: Any) -> Study:
    """A study, which may be a stranger's, whose command would change a file."""
    named = {"run": ["sh", "-c", f"echo gone > {treasure}; echo '{{{{\"loss\": 1}}}}'"], **command}
    document = {
        "study": "evil",
        "command": named,
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    }
    made = Study.create(Path("studies"), spec.load_search(document))
    made.writer.report(made.writer.ask().number, 1, {"loss": 1.0})
    return made


@pytest.mark.parametrize("command", [("resume",), ("reproduce", "0")])
def test_a_program_that_is_stored_is_not_run(
    command: tuple[str, ...], hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "treasure").write_text("gold")
    program_study(tmp_path / "treasure")
    monkeypatch.setattr(plugins, "_trusted", set())
    code, out, told = hpo(*command)
    assert (code, out) == (2, "") and "is code that 'studies/evil/spec.yaml' names" in told
    assert "is run only if you say so: add --trust" in told and (tmp_path / "treasure").read_text() == "gold"
    code, out, _ = hpo("trials")
    assert code == 0 and "`hpo resume --study evil --trust` goes on with it, and runs" in " ".join(out.split())


def test_trust_in_a_command_is_in_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = program_study(tmp_path / "treasure").spec
    monkeypatch.setattr(plugins, "_trusted", set())
    plugins.trust(stored.import_paths)
    assert own_function(stored) is not None
    assert stored.command is not None
    for change in ({"environment": {"LD_PRELOAD": "evil.so"}}, {"folder": "elsewhere"}, {"run": ("sh",)}):
        other = stored.model_copy(update={"command": stored.command.model_copy(update=change)})
        with pytest.raises(InputError, match="add --trust"):
            own_function(other)


def test_what_a_program_has_printed_is_not_obeyed_by_a_terminal(hpo: Run, treasure: Path, tmp_path: Path) -> None:
    made = program_study(tmp_path / "treasure")
    made.artifacts.trial(0).write("stdout.txt", b"\x1b]0;title\x07 red\n\xff")
    code, out, _ = hpo("log", "0")
    assert code == 0 and "\\x1b]0;title\\x07 red" in out and not {"\x1b", "\x07"} & set(out)
    made.artifacts.trial(0).remove("stdout.txt")
    (made.folder / "artifacts" / "00000" / "stdout.txt").symlink_to(treasure)
    code, out, told = hpo("log", "0")
    assert code == 2 and out == "" and "trial 0 of study 'evil' has no log" in told
    made.artifacts.trial(0).remove("stdout.txt")
    (made.folder / "artifacts" / "00000" / "stdout.txt").write_bytes(bytes(2**22))
    code, _, told = hpo("log", "0")
    assert code == 2 and "cannot be read: it has 4,194,304 bytes, and 2,097,152 are the most" in told


# ---- MLflow's files in the storage folder ----------------------------------------------------------------------------


def tell_mlflow(study: Study) -> None:
    """As a search tells MLflow of the trials whose end it does not know."""
    runs = Runs(study, study.folder.parent)
    for news in runs.unknown(study.trials()).values():
        runs.write(news)


def change_mlflow(storage: Path, statement: str) -> None:
    with closing(sqlite3.connect(storage / "mlflow.db")) as database, database:
        database.execute(statement)


def test_files_of_mlflow_stay_in_the_storage_folder(study: Study, treasure: Path, tmp_path: Path) -> None:
    study.writer.end(study.writer.ask().number, Outcome(State.FAILED, "Traceback\nValueError: no", Failure.ERROR))
    tell_mlflow(study)
    storage = tmp_path / "studies"
    for place in (treasure.parent, storage / "mlflow-artifacts" / ".." / ".." / "home"):
        change_mlflow(storage, f"UPDATE runs SET status = 'RUNNING', artifact_uri = 'file://{place}'")
        with pytest.raises(Unusable, match="says that files go to"):
            tell_mlflow(study)
    (storage / "mlflow-artifacts" / "mine").symlink_to(treasure.parent)
    change_mlflow(storage, f"UPDATE runs SET artifact_uri = 'file://{storage}/mlflow-artifacts/mine'")
    with pytest.raises(OSError, match="is reached through a link"):
        tell_mlflow(study)
    assert list(treasure.parent.iterdir()) == [treasure]


@pytest.mark.parametrize(
    ("statements", "what"),
    [
        (
            ["CREATE TRIGGER evil AFTER INSERT ON runs BEGIN UPDATE runs SET artifact_uri = 'file:///home'; END"],
            "trigger",
        ),
        (["CREATE TRIGGER evil BEFORE UPDATE ON runs FOR EACH ROW WHEN 1 BEGIN DELETE FROM runs; END"], "trigger"),
        (
            [
                "CREATE TRIGGER evil BEFORE UPDATE ON runs FOR EACH ROW WHEN (SELECT 1) BEGIN"
                " SELECT RAISE(ABORT, 'no'); END"
            ],
            "trigger",
        ),
        (["ALTER TABLE experiments RENAME TO mine", "CREATE VIEW experiments AS SELECT * FROM mine"], "view"),
        (["CREATE VIRTUAL TABLE evil USING fts5(x)"], "virtual table"),
    ],
)
def test_a_database_of_mlflow_runs_nothing_that_stands_in_it(
    statements: list[str], what: str, study: Study, treasure: Path, hpo: Run
) -> None:
    tell_mlflow(study)
    storage = study.folder.parent
    for statement in statements:
        change_mlflow(storage, statement)
    message = f"mlflow.db' has a {what} '(evil|experiments)', which MLflow's database never has"
    with pytest.raises(Unusable, match=message):
        tell_mlflow(study)
    code, _, told = hpo("ui")
    assert code == 2 and re.search(message, told)
    result = api.build_ensemble("squares", method="single", storage=storage)
    assert result.tracking_problem is not None and re.search(message, result.tracking_problem)
    assert list(treasure.parent.iterdir()) == [treasure]


def test_the_store_of_the_folder_is_known_by_any_name(
    study: Study, treasure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.writer.end(study.writer.ask().number, Outcome(State.FAILED, "Traceback\nValueError: no", Failure.ERROR))
    tell_mlflow(study)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///studies/mlflow.db")
    change_mlflow(
        tmp_path / "studies", f"UPDATE runs SET status = 'RUNNING', artifact_uri = 'file://{treasure.parent}'"
    )
    with pytest.raises(Unusable, match="says that files go to"):
        tell_mlflow(study)
    assert list(treasure.parent.iterdir()) == [treasure]


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db-wal", "mlflow-artifacts"])
def test_mlflow_is_not_reached_through_a_link(name: str, study: Study, treasure: Path, hpo: Run) -> None:
    storage, other = study.folder.parent, treasure.parent / name
    tell_mlflow(study)
    if (storage / name).exists():
        (storage / name).rename(other)
    (storage / name).symlink_to(other)
    before = sorted(treasure.parent.rglob("*"))
    with pytest.raises(Unusable, match=f"'{storage.resolve()}/{name}' is a link to '{other}', and what MLflow has in"):
        tell_mlflow(study)
    if name == "mlflow.db":
        code, _, told = hpo("ui")
        assert code == 2 and "is a link to" in told
    assert sorted(treasure.parent.rglob("*")) == before


def test_mlflows_pages_are_not_started_from_the_folder(study: Study, hpo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda program, arguments, environment: started.append(environment))
    tell_mlflow(study)
    Path("mlflow.py").write_text(EVIL)
    assert hpo("ui")[0] == 0
    done = subprocess.run([sys.executable, "-m", "mlflow", "--version"], env=started[0], capture_output=True, text=True)
    assert done.returncode == 0 and "mlflow, version" in done.stdout
    code = "import mlflow.environment_variables as e; print(e.MLFLOW_SERVER_ENABLE_JOB_EXECUTION.get())"
    done = subprocess.run([sys.executable, "-c", code], env=started[0], capture_output=True, text=True)
    assert done.stdout.strip() == "False"  # jobs that the database holds are not run


def test_an_array_that_is_cut_off_meanwhile_is_an_error_and_ends_no_process(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5000, 4), np.float32))
    batches = input_batches(tmp_path / "x.npy", Wanted((4,)))
    next(batches)
    os.truncate(tmp_path / "x.npy", 200)
    with pytest.raises(DataError, match="x.npy: cannot be read as .npy"):
        list(batches)


def test_parquet_that_is_replaced_after_its_check_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas, parquet = pytest.importorskip("pandas"), pytest.importorskip("pyarrow.parquet")
    good, other = pandas.DataFrame({"a": [1, 2]}), pandas.DataFrame({"b": [3]})
    good.to_parquet(tmp_path / "x.parquet")
    other.to_parquet(tmp_path / "other.parquet")
    read = parquet.read_metadata

    def swapped(*arguments: Any, **options: Any) -> Any:
        found = read(*arguments, **options)
        (tmp_path / "other.parquet").replace(tmp_path / "x.parquet")
        return found

    monkeypatch.setattr(parquet, "read_metadata", swapped)
    assert own_inputs(tmp_path / "x.parquet").to_dict("list") == {"a": [1, 2]}


def test_a_journal_of_mlflow_removes_no_file_that_it_names(study: Study, treasure: Path, hpo: Run) -> None:
    tell_mlflow(study)
    name, end = os.fsencode(treasure), bytes.fromhex("d9d505f920a163d7")
    pages = (study.folder.parent / "mlflow.db").stat().st_size // 4096
    head = (end + struct.pack(">5I", 0, 7, pages, 512, 4096)).ljust(512, b"\0")
    journal = study.folder.parent / "mlflow.db-journal"
    journal.write_bytes(
        head + struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + end
    )
    code, _, told = hpo("ui")
    assert code == 2 and f"'{journal.resolve()}' names a file elsewhere" in told
    with pytest.raises(Unusable, match="names a file elsewhere"):
        tell_mlflow(study)
    journal.write_bytes(head)  # what a crash has left
    tell_mlflow(study)
    assert not journal.exists() and treasure.exists()


def test_torchs_old_format_is_not_read() -> None:
    """Its loader lets a content write into memory that it has freed."""
    old, archive = io.BytesIO(), io.BytesIO()
    torch.save({"x": torch.ones(3)}, old, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x", "x")
    for content in (old.getvalue(), old.getvalue() + archive.getvalue(), b" " + packed({"x": torch.ones(3)})):
        with pytest.raises(pickle.UnpicklingError, match="is not as torch.save writes it"):
            load_tensors(content)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_of_other_kinds_are_not_read() -> None:
    for tensor in (
        torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8),
        torch.ones(2).to_sparse(),
        torch.ones(2, device="meta"),
    ):
        with pytest.raises((pickle.UnpicklingError, RuntimeError)):
            load_tensors(packed({"x": tensor}))


def test_a_content_does_not_say_how_it_is_loaded() -> None:
    given = nn.Linear(2, 1).state_dict()
    given._metadata[""]["assign_to_params_buffers"] = True  # type: ignore[attr-defined]
    loaded = load_tensors(packed({"model": given}))["model"]
    assert not hasattr(loaded, "_metadata") and loaded.keys() == given.keys()


def test_only_a_module_that_has_an_extra_state_reads_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Linear(2, 1)
    weights = {**weights_of(module), "aaa._extra_state": np.zeros(9, np.uint8)}
    monkeypatch.setattr("hpo.models.weights.load_tensors", lambda content: pytest.fail("it was read"))
    with pytest.raises(RuntimeError, match="aaa._extra_state"):
        set_weights(module, weights)
