"""A study whose training begins from a file of weights: it goes on with this file alone, and ensembles need none."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from hpo import api, datasets, models, spec
from hpo.engine.ray.best_epoch import BestEpoch
from hpo.engine.ray.member_training import Job, _fingerprint
from hpo.errors import DataError, SpecError, StudyError
from hpo.searching import reproduce
from hpo.searching.opening import _open_or_create, _summary
from hpo.searching.options import SearchOptions
from hpo.study import data as study_data
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from hpo.training import Context, train
from tests.conftest import Run


@pytest.fixture
def project(document: dict[str, Any], npz_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, weights and a study of one trial that began from them; the user stands in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    npz_file.rename(folder / "squares.npz")
    monkeypatch.chdir(folder)
    network = models.build(spec.load({**document, "data": {"path": "squares.npz"}}).model, (1, 8, 8), 3).network
    torch.save(network.state_dict(), "begun.pth")
    document["data"]["path"], document["model"]["weights"] = "squares.npz", "begun.pth"
    document["parameters"] = {"optimizer.lr": {"min": 1e-4, "max": 0.1, "log": True}}
    document["training"] |= {"device": "cpu", "precision": "float32"}
    wanted = spec.load(document)
    dataset = datasets.of(wanted, Path("data"))
    study = Study.create(Path("studies"), wanted, _summary(dataset))
    trial = study.writer.ask()
    best = BestEpoch(wanted, study.artifacts, trial.number)
    for report in train(trial.config, Context(wanted, dataset, wanted.trial_seed(trial.number))):
        best.see(report)
        study.writer.report(trial.number, report.epoch, report.metrics)
    best.store()
    study.writer.end(trial.number, Outcome(State.COMPLETE))
    return folder


def other_weights(path: str = "begun.pth") -> None:
    """Other weights of the same names and shapes in the file."""
    torch.save({name: value + 1 for name, value in torch.load(path, weights_only=True).items()}, path)


def test_a_trial_is_reproduced_from_the_file_and_not_from_another(project: Path) -> None:
    torch.set_num_threads(1)
    study = Study.open(Path("studies"), "squares")
    assert reproduce.reproduce(study, 0, Path("data")).reproduced
    other_weights()
    with pytest.raises(StudyError, match="was started with other weights: '.*begun.pth' has changed since. Put the"):
        reproduce.reproduce(study, 0, Path("data"))
    Path("begun.pth").unlink()
    with pytest.raises(SpecError, match="model.weights: no such file: .*begun.pth"):
        reproduce.reproduce(study, 0, Path("data"))
    with pytest.raises(DataError, match="begun.pth' is not there; put it back"):
        study_data.load(study, Path("data"), trains=True)


def test_a_search_goes_on_with_the_same_weights_wherever_they_are(project: Path, document: dict[str, Any]) -> None:
    Path("begun.pth").rename("moved.pth")
    document["model"]["weights"] = "moved.pth"
    wanted = spec.load(document)
    options = SearchOptions(space=document, storage=Path("studies"))
    study = _open_or_create(wanted, options, datasets.of(wanted, Path("data")))
    study_data.remember_place(study, wanted)
    again = Study.open(Path("studies"), "squares")
    assert again.study_spec.model.weights == str(project / "moved.pth")
    other_weights("moved.pth")
    with pytest.raises(StudyError, match="was started with other weights"):
        _open_or_create(wanted, options, datasets.of(wanted, Path("data")))
    del document["model"]["weights"]
    with pytest.raises(StudyError, match="was started with another spec: model.weights was a file, is not set"):
        _open_or_create(spec.load(document), options, datasets.of(spec.load(document), Path("data")))


def test_weights_move_with_their_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = project.with_name("other")
    shutil.move(project, other)
    monkeypatch.chdir(other)
    study = Study.open(Path("studies"), "squares")
    assert study.study_spec.model.weights == str(other / "begun.pth")
    assert study_data.load(study, Path("data"), trains=True).pretrained is not None


def test_ensembles_and_predictions_need_no_file(project: Path, hpo: Run) -> None:
    Path("begun.pth").unlink()
    built = api.build_ensemble("squares", method="single", storage="studies")
    assert built is not None
    code, _out, err = hpo(
        "predict", "--trial", "0", "--input", "squares.npz", "--storage", "studies", "--output", "rows.csv"
    )
    assert (code, Path("rows.csv").exists()) == (0, True), err


def test_members_are_trained_anew_where_the_file_is_another(project: Path, document: dict[str, Any]) -> None:
    wanted = spec.load(document)
    job = Job(0, "bag 0", {}, seed=1)
    first = _fingerprint(job, train, wanted, datasets.of(wanted, Path("data")))
    shutil.copy("begun.pth", "same.pth")
    same = spec.load(document, {"model.weights": "same.pth"})
    assert _fingerprint(job, train, same, datasets.of(same, Path("data"))) == first
    other_weights()
    assert _fingerprint(job, train, wanted, datasets.of(wanted, Path("data"))) != first


def test_members_that_were_trained_before_there_was_fine_tuning_are_found(document: dict[str, Any]) -> None:
    """The hash that the release before gave for this search."""
    import json

    from hpo.engine.ray.member_training import _DEPENDS, _left_out

    asked = json.loads(spec.load(document).model_dump_json(include=_DEPENDS, exclude=_left_out(spec.load(document))))
    assert asked["model"].keys() == {"name", "layers", "width"}
    assert "unfreeze_epochs" not in asked["training"] and "body_lr" not in asked["optimizer"]


def test_an_old_study_opens_as_it_was(document: dict[str, Any]) -> None:
    wanted = spec.load(document)
    stored = copy.deepcopy(spec.dump(wanted))
    assert "weights" not in stored and "frozen" not in stored
    assert spec.load_stored(YAML(typ="safe").load(stored)) == wanted
