"""One trial: as an ensemble of one, and as what predicts."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import api
from hpo.errors import InputError, StudyError
from hpo.study.study import Study
from tests.conftest import Run


def images(study: Study, rows: int = 7) -> np.ndarray:
    shape = study.data_summary.example.shape[1:]
    return np.random.default_rng(0).integers(0, 256, (rows, *shape), dtype=np.uint8)


def test_any_trial_may_be_an_ensemble_of_one(study: Study) -> None:
    built = api.build_ensemble(method="single", trial=3, pool=2)
    assert [member["trial"] for member in built.members] == [3] and built.note == "trial 3 alone, as asked"
    assert built.best_single == 0, "it stands beside the best one"
    stored = api.open_trial(3)
    assert repr(stored).startswith("<Ensemble 'squares-trial-3', classification: 1 member")
    made = api.open_ensemble(built.name)
    np.testing.assert_allclose(stored.predict_proba(images(study)), made.predict_proba(images(study)), atol=1e-6)


def test_a_trial_predicts_without_an_ensemble(study: Study, hpo: Run) -> None:
    np.save("new.npy", images(study))
    for trial, number in (("2", 2), ("best", 0)):
        code, out, _ = hpo("predict", "--trial", trial, "--input", "new.npy")
        assert code == 0 and "7 predictions in preds.csv" in out
        rows = list(csv.reader(Path("preds.csv").read_text().splitlines()))[1:]
        expected = api.open_trial(number, "squares").predict(images(study))
        assert [row[1] for row in rows] == expected
    found = api.predict(api.open_trial(1), images(study))
    assert found.probabilities.shape == (7, 3)
    assert not (study.folder / "ensembles").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trial", "4"), "study 'squares': trial 4 has no"),
        (("--trial", "99"), "study 'squares' has no trial 99; it has 5"),
        (("--trial", "last"), "'last' is neither the number of a trial nor best"),
        ((), "name what predicts"),
        (("--trial", "1", "--ensemble", "x"), "name what predicts"),
        (("--ensemble", "x", "--study", "squares"), "--study is of --trial"),
    ],
)
def test_a_bad_wish_is_one_line(study: Study, hpo: Run, arguments: tuple[str, ...], message: str) -> None:
    np.save("new.npy", images(study))
    code, out, err = hpo("predict", *arguments, "--input", "new.npy")
    assert (code, out) == (2, "") and message in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"trial": 3}, "--trial is of --method single; leave it out of auto"),
        ({"trial": -1, "method": "single"}, "--trial must be at least 0, got -1"),
        ({"epochs": 0, "method": "single"}, "--epochs must be at least 1, got 0"),
        ({"all_data": True}, "--all-data is of --method single"),
    ],
)
def test_what_is_of_single_alone_is_refused_elsewhere(study: Study, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        api.build_ensemble(**asked)


def test_an_evicted_trial_cannot_predict(study: Study) -> None:
    study.artifacts.evict(1)
    with pytest.raises(StudyError, match="trial 1: its artifacts were evicted"):
        api.open_trial(1)


def test_train_wants_to_know_what_is_otherwise(study: Study, hpo: Run) -> None:
    code, out, err = hpo("train", "--trial", "1")
    assert (code, out) == (2, "") and "--epochs N or --all-data" in err
    code, out, err = hpo("train", "--trial", "1", "--epochs", "0")
    assert code == 2 and "0 is not in the range" in err


@pytest.mark.usefixtures("ray_cluster")
def test_a_config_is_trained_for_longer_and_predicts(document: dict[str, Any], hpo: Run, tmp_path: Path) -> None:
    code, out, err = hpo("search", "--space", _space(document, tmp_path), "--trials", "2")
    assert code == 0, err
    code, out, err = hpo("train", "--from", "squares", "--epochs", "6", "--all-data", "--name", "longer")
    assert code == 0, err
    assert "It has learned the validation rows too" in out and "hpo predict --ensemble longer" in out
    code, out, _ = hpo("predict", "--ensemble", "longer", "--input", str(tmp_path / "squares.npz"))
    assert code == 0 and "60 predictions" in out


def _space(document: dict[str, Any], folder: Path) -> str:
    from hpo import spec

    path = folder / "space.yaml"
    path.write_text(spec.dump(spec.load({**document, "scheduler": "none"})))
    return str(path)
