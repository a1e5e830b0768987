"""A study is known by what it holds: its project may be renamed, its storage copied, its data moved."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from mlflow import MlflowClient

from hpo import api, datasets, spec
from hpo.errors import DataError, InputError, StudyError
from hpo.study.data_summary import DATA_FILE, DataSummary
from hpo.study.differences import differences
from hpo.study.study import Study
from hpo.tracking.store import connect, tracking_uri, trial_runs
from tests.conftest import Run, finish, squares
from tests.study.test_code import dataset_facts_of


@pytest.fixture
def project(document: dict[str, Any], npz_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with data and a study of them, of three trials; the user stands in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    npz_file.rename(folder / "squares.npz")
    monkeypatch.chdir(folder)
    document["data"]["path"] = "squares.npz"
    made = Study.create(Path("studies"), spec.load(document), dataset_facts(document))
    for skill in (2.0, 1.5, 1.0):
        finish(made, skill, epochs=3)
    for file in made.artifacts.folder.glob("*/epoch-*/test.npy"):
        file.unlink()  # so that the data are read
    return folder


def dataset_facts(document: dict[str, Any]) -> DataSummary:
    """Of the data that a search file names."""
    wanted = spec.load(document)
    made = Study.create(Path("for the data_summary"), wanted)
    dataset_facts_of(made)
    (made.folder / DATA_FILE).rename("data_summary.npz")
    return DataSummary.read(Path("data_summary.npz"))


def renamed(project: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> Path:
    """Another project of the same content, in which the user stands now."""
    datasets.load.cache_clear()
    other = project.with_name("other")
    if how == "copied":
        shutil.copytree(project, other)
        (project / "squares.npz").write_bytes(b"of something else by now")
    else:
        project.rename(other)
    monkeypatch.chdir(other)
    return other


@pytest.mark.parametrize("how", ["renamed", pytest.param("copied", marks=pytest.mark.slow)])
def test_a_project_that_was_renamed_or_copied_has_its_study(
    project: Path, document: dict[str, Any], hpo: Run, monkeypatch: pytest.MonkeyPatch, how: str, ray_cluster: None
) -> None:
    api.build_ensemble(method="voting", name="before")
    (project / "studies/squares/ensembles/before").rename(project / "before")
    other = renamed(project, monkeypatch, how)
    code, _, err = hpo("ensemble", "--method", "voting", "--name", "after")
    assert code == 0, err
    result = api.search({**document, "data": {**document["data"], "path": "squares.npz"}}, trials=4)
    assert result.study.trial(3).reports and result.tracking_problem is None
    client, experiment = connect(other / "studies")
    runs = [run for run in client.search_runs([experiment]) if run.info.artifact_uri]
    assert len(trial_runs(client, experiment, result.study)) == 4
    for run in runs:
        assert Path(urlsplit(str(run.info.artifact_uri)).path).is_relative_to(other / "studies" / "mlflow-artifacts")
    ensembles = [run for run in runs if run.data.tags.get("hpo.kind") == "ensemble"]
    assert len(ensembles) == 2 and all(client.list_artifacts(run.info.run_id) for run in ensembles)
    assert not (project / "studies" / "mlflow-artifacts").exists() or how == "copied"
    if how == "copied":
        theirs = MlflowClient(f"sqlite:///{project}/studies/mlflow.db").search_runs([experiment])
        assert all("/project/" in str(run.info.artifact_uri) for run in theirs)


def test_data_that_were_moved_alone_are_told_once(project: Path, hpo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.load.cache_clear()
    (project / "squares.npz").rename(project / "moved.npz")
    told = f"the data of study 'squares' are not at '{project}/squares.npz' any more; --data-path says where they are"
    for command in (["resume"], ["ensemble"], ["reproduce", "0"], ["ensemble", "--method", "deep"]):
        code, _, err = hpo(*command)
        assert code == 2 and told in err
    code, _, err = hpo("ensemble", "--method", "voting", "--data-path", "nowhere.npz")
    assert code == 2 and f"not at '{project}/nowhere.npz' any more" in err
    assert hpo("ensemble", "--method", "voting", "--data-path", "moved.npz")[0] == 0
    assert api.open_study().spec.data.path == str(project / "moved.npz")  # type: ignore[attr-defined]
    assert "squares.npz" in (project / "studies/squares/spec.yaml").read_text()


def test_a_machine_that_joins_needs_no_data(project: Path) -> None:
    (project / "squares.npz").unlink()
    with pytest.raises(DataError, match="are not at"):
        api.resume("squares")
    with pytest.raises(StudyError, match="nobody searches study 'squares' now"):
        api.resume("squares", join=True)


def test_other_data_of_the_same_path_are_refused(project: Path, hpo: Run) -> None:
    images, labels = squares(120, seed=5)
    np.savez("other.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    datasets.load.cache_clear()
    code, _, err = hpo("ensemble", "--method", "voting", "--data-path", "other.npz")
    assert code == 2 and "study 'squares' was started with other data: '" in err
    assert api.open_study().spec.data.path == str(project / "squares.npz")  # type: ignore[attr-defined]


def test_artifacts_beside_the_storage_move_with_it(
    document: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document |= {"study": "beside", "data": {**document["data"], "path": "squares.npz"}}
    made = Study.create(Path("studies"), spec.load(document), api.open_study().data_summary, artifacts="left")
    finish(made, 2.0, epochs=3)
    other = renamed(project, monkeypatch, "renamed")
    opened = Study.open(Path("studies"), "beside")
    assert opened.artifacts.read(0) is not None and opened.place.path == other / "left" / "beside"


def test_where_data_are_is_no_part_of_a_spec(document: dict[str, Any], npz_file: Path, tmp_path: Path) -> None:
    shutil.copy(npz_file, tmp_path / "copy.npz")
    there = {**document, "data": {**document["data"], "path": str(tmp_path / "copy.npz")}}
    assert differences(spec.load(document), spec.load(there)) == {}
    there["data"]["size"] = 32
    assert differences(spec.load(document), spec.load(there)) == {"data.size": (64, 32)}


def test_a_folder_that_was_renamed_is_told(study: Study, hpo: Run) -> None:
    study.folder.rename(study.folder.with_name("circles"))
    code, _, err = hpo("trials", "--study", "circles")
    assert code == 2 and "'studies/circles' is study 'squares'; name its folder so again" in err


def test_a_data_set_without_a_path_takes_none(document: dict[str, Any], study: Study) -> None:
    Study.create(study.folder.parent, spec.load({**document, "study": "d", "data": "digits"}))
    with pytest.raises(InputError, match="--data-path x.npz: the data set of study 'd' has no path; leave it out"):
        api.open_study("d", data_path="x.npz")
    with pytest.raises(StudyError, match="no study 'e'"):
        api.open_study("e", data_path="x.npz")
    assert tracking_uri(Path("studies")).endswith("/studies/mlflow.db")
