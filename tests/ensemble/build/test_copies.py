"""Ensembles of trials of several trainings, from the search on real Ray to the predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from hpo import datasets
from hpo.ensemble.build.misfits import _problem
from hpo.ensemble.model import Ensemble
from hpo.errors import DataError
from hpo.study.study import Study
from tests.conftest import Run


@pytest.mark.usefixtures("ray_cluster")
def test_a_search_with_folds_and_seeds_is_combined_and_served(document: dict[str, Any], hpo: Run) -> None:
    document["data"].pop("validation")
    document["training"] |= {"epochs": 3, "folds": 3, "seeds": 2}
    document["budget"] = {"trials": 3}
    with Path("space.yaml").open("w") as file:
        YAML(typ="safe").dump(document, file)
    code, _, err = hpo("search", "--space", "space.yaml")
    assert code == 0, err
    study = Study.open(Path("studies"), "squares")
    best = study.best_trial
    assert 0 <= best.reports[1]["accuracy_std"] < 0.6
    dataset = datasets.of(study.study_spec, Path("data"))
    rows = len(dataset.train)
    stored = study.artifacts.read(best.number)
    assert stored is not None and stored.predictions("validation", (rows, 3)).shape == (rows, 3)
    assert _problem(study, best, dataset) is None, "its copies predict again what is stored, each of its fold"

    code, out, err = hpo("ensemble", "--method", "voting", "--format", "json")
    assert code == 0, err
    made = json.loads(out)
    ensemble = Ensemble(Path("studies/squares/ensembles") / made["ensemble"])
    assert {member.copies for member in ensemble.members} == {6}
    images, labels = dataset.test.inputs, dataset.test.targets
    accuracy = float((ensemble.predict_proba(images).argmax(axis=1) == labels).mean())
    assert accuracy == pytest.approx(made["test"]["accuracy"])
    np.save("images.npy", images)
    code, out, err = hpo("predict", "--ensemble", made["ensemble"], "--input", "images.npy", "--output", "-")
    assert code == 0 and len(out.splitlines()) == len(images) + 1, err
    file = Path("studies/squares/ensembles") / made["ensemble"] / "ensemble.json"
    stored_document = file.read_text()
    file.write_text(stored_document.replace('"copies": 6', '"copies": 10000'))
    with pytest.raises(DataError, match="does not fit its model: it has not the weights of 10000 trainings"):
        Ensemble(file.parent)
    file.write_text(stored_document)
    code, out, err = hpo("export", "--ensemble", made["ensemble"], "--output", "model.onnx")
    assert code == 0 and Path("model.onnx").exists(), err
    code, out, err = hpo("reproduce", str(best.number))
    assert code == 0 and "is reproduced" in out, err

    for wish in (
        ("--method", "bagging"),
        ("--method", "soup"),
        ("--distill", "0"),
        ("--folds", "3", "--method", "stacking"),
    ):
        code, _, err = hpo("ensemble", *wish)
        assert code == 2 and "cross-validated (training.folds)" in err, err
    code, out, err = hpo("train", "--all-data", "--format", "json")
    assert code == 0, err
    alone = Ensemble(Path("studies/squares/ensembles") / json.loads(out)["ensemble"])
    assert [member.copies for member in alone.members] == [1]
