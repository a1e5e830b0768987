import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from PIL import Image

import hpo
from hpo import api, plugins, spec
from hpo.ensemble.build.folders import find
from hpo.errors import DataError, HpoError, InputError, StudyError
from hpo.study.study import Study
from hpo.tracking.store import connect
from tests.conftest import PATIENCE, Run, data_summary, finish, squares
from tests.ensemble.folders import write_ensemble


def test_an_ensemble_is_built_predicts_and_is_logged(study: Study, tmp_path: Path) -> None:
    result = hpo.build_ensemble("squares", top=3, storage=tmp_path / "studies")
    document = result.to_json()
    assert {"ensemble", "method", "members", "validation", "test", "best_single"} <= document.keys()
    assert json.loads((result.folder / "result.json").read_text())["ensemble"] == "squares-1"
    assert 1 <= len(result.members) <= 3
    assert sum(member["weight"] for member in result.members) == pytest.approx(1)

    images, _ = squares(9, seed=5)
    predictions = hpo.predict("squares-1", images, storage=tmp_path / "studies")
    assert predictions.probabilities.shape == (9, 3)
    loaded = mlflow.pyfunc.load_model(str(_model(study, tmp_path, result.run_id)))
    np.testing.assert_array_equal(loaded.predict(images[..., None]), predictions.probabilities)


def _model(study: Study, tmp_path: Path, run_id: str | None) -> Path:
    (model,) = (tmp_path / "studies" / "mlflow-artifacts").glob("models/*/artifacts/MLmodel")
    return model.parent


def test_the_test_split_is_scored_beside_the_best_single_trial(study: Study, tmp_path: Path) -> None:
    result = hpo.build_ensemble("squares", method="voting", storage=tmp_path / "studies")
    best = study.leaderboard()[0]
    stored = study.artifacts.read(best.number)
    assert stored is not None and result.best_single == best.number
    expected = (stored.predictions("test").argmax(axis=1) == study.data_summary.targets["test"]).mean()
    assert result.best_single_test["accuracy"] == pytest.approx(expected)
    # labels of test and validation differ in order: a score read off the wrong split would be at chance
    assert result.test["accuracy"] > 0.7


def test_predictions_are_written_as_csv(study: Study, tmp_path: Path) -> None:
    hpo.build_ensemble("squares", method="voting", storage=tmp_path / "studies", name="mine")
    images, _ = squares(4, seed=5)
    predictions = hpo.predict("mine", images, storage=tmp_path / "studies")
    predictions.write_csv(tmp_path / "preds.csv")
    with (tmp_path / "preds.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["input", "prediction", "p_a", "p_b", "p_c"] and len(rows) == 4
    read = np.array([row[2:] for row in rows], np.float32)
    np.testing.assert_array_equal(read, predictions.probabilities)
    assert [row[1] for row in rows] == ["abc"[place] for place in read.argmax(axis=1)]


def test_what_cannot_be_built_is_refused_and_leaves_nothing(study: Study, tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    for arguments, message in (
        ({"top": 0}, "--top must be at least 1"),
        ({"pool": 1}, "--pool must be at least 2"),
        ({"method": "bogging"}, "unknown --method 'bogging'. Did you mean 'bagging'"),
        ({"name": "../mine"}, "--name must be letters"),
    ):
        with pytest.raises(InputError, match=message):
            hpo.build_ensemble("squares", storage=storage, **arguments)
    assert not (study.folder / "ensembles").exists()
    with pytest.raises(StudyError, match="no study 'circles'"):
        hpo.build_ensemble("circles", storage=storage)
    with pytest.raises(StudyError, match="there are no studies in"):
        hpo.build_ensemble(storage=tmp_path / "nothing")


def test_ensembles_have_names_of_their_own(study: Study, tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    assert hpo.build_ensemble(method="voting", storage=storage).name == "squares-1"
    assert hpo.build_ensemble(method="voting", storage=storage).name == "squares-2"
    with pytest.raises(StudyError, match="there is an ensemble 'squares-2' already"):
        hpo.build_ensemble(method="voting", storage=storage, name="squares-2")
    with pytest.raises(StudyError, match="no ensemble 'squares-3' .* Did you mean"):
        find("squares-3", storage)
    shutil.copytree(study.folder, storage / "copy")
    with pytest.raises(StudyError, match="exists in several studies \\(copy, squares\\)"):
        find("squares-1", storage)


def test_an_ensemble_outlives_a_broken_tracking_store(study: Study, tmp_path: Path) -> None:
    (tmp_path / "studies" / "mlflow.db").write_text("this is no database")
    result = hpo.build_ensemble(method="voting", storage=tmp_path / "studies")
    assert result.run_id is None and result.tracking_problem is not None
    assert result.tracking_problem.startswith("MLflow lacks ensemble 'squares-1'; the ensemble is in")
    assert len(hpo.predict("squares-1", squares(2, seed=0)[0], storage=tmp_path / "studies").inputs) == 2


def test_a_checkpoint_that_does_not_fit_is_left_out_by_name(study: Study, tmp_path: Path) -> None:
    best, other = (study.artifacts.read(trial.number) for trial in study.leaderboard()[:2])
    assert best is not None and other is not None
    best.place.write("checkpoint.safetensors", other.place.read("checkpoint.safetensors")[:100])
    number = study.leaderboard()[0].number
    built = hpo.build_ensemble(method="voting", storage=tmp_path / "studies")
    skipped = "; ".join(built.skipped)
    assert f"trial {number}: its weights cannot be used by the model as it is now" in skipped
    assert number not in {member["trial"] for member in built.members}


def test_an_ensemble_of_a_users_model_says_what_must_be_trusted(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "travelling_net.py").write_text(
        "from torch import nn\n\n\ndef net(input_shape, outputs, *, width=3):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, outputs))\n"
    )
    document["model"] = {"name": "travelling_net:net"}
    made = Study.create(tmp_path / "studies", spec.load(document), data_summary())
    for skill in (1.0, 2.0):
        finish(made, skill, epochs=3)
    monkeypatch.setattr(plugins, "_trusted", set())  # as in a process of its own
    with pytest.raises(InputError, match="model 'travelling_net:net' is code that '.*spec.yaml' names"):
        hpo.build_ensemble(storage=tmp_path / "studies")
    assert not (made.folder / "ensembles").exists() or not list((made.folder / "ensembles").iterdir())
    result = hpo.build_ensemble(storage=tmp_path / "studies", trust=True)
    assert result.tracking_problem is None and result.own_models == ["travelling_net:net"]
    assert not list((tmp_path / "studies" / "mlflow-artifacts").rglob("*.py"))


def test_a_spec_object_is_trusted_where_the_user_says_so(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spoken_net.py").write_text("from hpo.models.mlp import mlp as net\n")
    document["model"] = {"name": "spoken_net:net"}
    made = spec.load(document)
    monkeypatch.setattr(plugins, "_trusted", set())
    with pytest.raises(HpoError, match="model 'spoken_net:net' is code that .* trust=True"):
        hpo.validate(made)
    assert hpo.validate(made, trust=True) == made


def test_building_leaves_mlflows_globals_alone(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = tmp_path / "studies"
    for _ in range(2):
        hpo.build_ensemble(method="voting", storage=storage)
        assert "MLFLOW_TRACKING_URI" not in os.environ
    client, experiment = connect(storage)
    runs = client.search_runs([experiment])
    assert sorted(str(run.info.run_name) for run in runs) == ["squares", "squares-1", "squares-2"]
    assert not (tmp_path / "mlflow.db").exists()


def test_a_study_whose_data_have_changed_is_not_continued(
    study: Study, document: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="was started with other data: .*squares.npz' has changed since"):
        hpo.search(document, storage=tmp_path / "studies", trials=9)


def test_images_of_another_shape_are_refused(study: Study, tmp_path: Path) -> None:
    hpo.build_ensemble(method="voting", storage=tmp_path / "studies")
    with pytest.raises(DataError, match=r"images must be uint8 \(n, 8, 8, 1\), got uint8 \(2, 9, 8\)"):
        hpo.predict("squares-1", np.zeros((2, 9, 8), np.uint8), storage=tmp_path / "studies")


def test_a_process_ends_without_a_search_for_garbage() -> None:
    code = "import atexit, gc\natexit.register(lambda: print(gc.get_freeze_count() > 10_000))\nimport hpo.api\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "True\n", done.stderr


def test_a_picture_has_one_class_however_many_bits_it_has(tmp_path: Path, hpo: Run) -> None:
    write_ensemble(tmp_path / "studies" / "made" / "ensembles" / "mine")
    generator, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        grey = generator.integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(grey).save(folder / f"{number}-8.png")
        Image.fromarray(grey.astype(np.uint16) * 257).save(folder / f"{number}-16.png")
        Image.fromarray((grey / 255).astype(np.float32)).save(folder / f"{number}-float.tif")
    (folder / "notes.txt").write_text("")
    code, out, told = hpo("predict", "--ensemble", "mine", "--input", str(folder), "--storage", "studies")
    assert code == 0 and "18 predictions in preds.csv" in out
    rows = list(csv.reader((tmp_path / "preds.csv").read_text().splitlines()))[1:]
    assert len({tuple(row[1:]) for row in rows}) == 6
    for line in (
        "Note: files left out, since they are none of .png, ",
        "Note: pictures of 16 bits read as 8 bits, 0 to 65535 as 0 to 255: 6 (pictures/0-16.png, pictures/1-16.png, ",
        "Note: pictures of floats read as 8 bits, 0 to 1 as 0 to 255: 6 (pictures/0-float.tif, ",
    ):
        assert line in told
    with pytest.warns(UserWarning, match="pictures of 16 bits read as 8 bits"):
        api.predict("mine", folder / "0-16.png", storage="studies")


def test_what_is_exported_stays() -> None:
    """Whoever imports one of these must not lose it without a deprecation."""
    assert sorted(hpo.__all__) == [
        "Callback",
        "Decision",
        "Ensemble",
        "Report",
        "TrialContext",
        "ask_and_tell",
        "build_ensemble",
        "combine_predictions",
        "compare",
        "context",
        "enqueue",
        "ensembles",
        "export",
        "open_ensemble",
        "open_study",
        "open_trial",
        "optuna_objective",
        "plan",
        "predict",
        "remove",
        "remove_ensemble",
        "rename",
        "report",
        "reproduce",
        "resume",
        "search",
        "simulate",
        "status",
        "stop",
        "validate",
    ]
    assert all(hasattr(hpo, name) for name in hpo.__all__)
