"""Ensembles of trials that a training function of the user's own has trained, on data of its own."""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

import hpo
from hpo import spec
from hpo.ensemble.build.options import EnsembleOptions
from hpo.ensemble.model import Ensemble
from hpo.ensemble.pool import Pool
from hpo.errors import InputError, StudyError
from hpo.study.code import Code, TrainingCode
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import Run, probabilities

ROWS, CLASSES = 200, 3
LABELS = np.arange(ROWS) % CLASSES
LOOP = """
import numpy as np

def train(config, context):
    return 0.5

def predict(config, state, inputs):
    '''Says how sure it is of the class that each input names.'''
    sure = float(state["sure"])
    rows = np.full((len(inputs), 3), (1 - sure) / 2)
    rows[np.arange(len(inputs)), np.asarray(inputs).reshape(-1).astype(int)] = sure
    return rows
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a training function, where the user stands."""
    name = f"loop_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(LOOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def module_of(project: Path) -> str:
    return next(project.glob("loop_*.py")).stem


def made(project: Path, splits: tuple[str, ...] = ("validation", "test"), **changes: Any) -> Study:
    """A study of four trials, the first the best."""
    document = {
        "study": "own",
        "train": f"{module_of(project)}:train",
        "training": {"epochs": 2},
        "objective": {"metric": "score", "goal": "maximize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    }
    read = spec.load_search(document | changes)
    code = TrainingCode(Code(str(read.train), {}), None)
    study = Study.create(Path("studies"), read, None, code=code)
    for skill in (2.0, 1.8, 1.6, 1.4):
        left(study, skill, splits)
    return study


def left(study: Study, skill: float, splits: tuple[str, ...], labels: Any = LABELS, state: Any = None) -> int:
    """A trial that has reported twice, and what it leaves."""
    trial = study.writer.ask()
    generator = np.random.default_rng(trial.number)
    for epoch in (1, 2):
        study.writer.report(trial.number, epoch, {"score": skill * epoch})
    rows: Any = {split: probabilities(labels, skill, generator) for split in splits}
    truth: Any = dict.fromkeys(splits, labels)
    state = {"sure": torch.tensor(0.4 + trial.number / 10)} if state is None else state
    study.artifacts.write(trial.number, 2, {}, rows, truth, state)
    study.writer.end(trial.number, Outcome(State.COMPLETE))
    return trial.number


def test_it_is_chosen_scored_and_predicts(project: Path, hpo: Run) -> None:
    study = made(project)
    code, out, err = hpo(
        "ensemble", "--study", "own", "--trust", "--method", "voting", "--top", "3", "--format", "json"
    )
    assert code == 0, err
    result = json.loads(out)
    assert len(result["members"]) == 3 and result["best_single"]["trial"] == 0
    assert result["test"]["accuracy"] > 0.5 and result["tracking_problem"] is None
    np.save("inputs.npy", np.array([2, 0, 1]))
    code, out, err = hpo("predict", "--ensemble", "own-1", "--input", "inputs.npy", "--output", "-", "--trust")
    assert code == 0 and [line.split(",")[1] for line in out.split()[1:]] == ["2", "0", "1"]
    uri = f"sqlite:///{(project / 'studies' / 'mlflow.db').resolve()}"
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(f"runs:/{result['run_id']}/model")
    assert loaded.predict(np.array([1, 1])).argmax(axis=1).tolist() == [1, 1]
    assert study.name == "own"


def test_what_is_not_trusted_does_not_predict(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo import plugins

    study = made(project)
    folder = hpo.build_ensemble("own", trust=True, method="single").folder
    monkeypatch.setattr(plugins, "_trusted", set())
    for use in (lambda: Ensemble(folder), lambda: hpo.build_ensemble("own")):
        with pytest.raises(InputError, match=r"add --trust"):
            use()
    assert Ensemble(folder, trust=True).predict(np.array([2])) == ["2"] and study.name == "own"


def test_without_test_rows_it_has_no_test_score(project: Path, hpo: Run) -> None:
    made(project, ("validation",))
    code, out, err = hpo("ensemble", "--study", "own", "--trust", "--method", "weighted")
    assert code == 0 and "the trials have given no test rows" in " ".join(out.split()), err
    assert (project / "studies/own/ensembles/own-1/report/report.html").is_file()


def test_without_a_function_that_predicts_it_is_told(project: Path, hpo: Run) -> None:
    file = next(project.glob("loop_*.py"))
    file.write_text(LOOP.partition("def predict")[0])
    made(project)
    code, out, err = hpo("ensemble", "--study", "own", "--trust")
    assert code == 0 and "It predicts nothing new: the training function has no predict(" in " ".join(out.split()), err
    np.save("inputs.npy", np.array([2]))
    code, _, err = hpo("predict", "--ensemble", "own-1", "--input", "inputs.npy", "--trust")
    assert code == 2 and "write predict(config, state, inputs) beside it" in " ".join(err.split())


def test_a_function_of_another_module_may_predict(project: Path) -> None:
    (project / "sure_predictor.py").write_text(
        "def tell(config, state, inputs):\n    return [[0.1, 0.8, 0.1]] * len(inputs)\n"
    )
    made(project, predict="sure_predictor:tell")
    result = hpo.build_ensemble("own", trust=True, method="single")
    assert Ensemble(result.folder).predict([0, 0]) == ["1", "1"]
    assert result.own_models == ["sure_predictor:tell"]


def test_trials_of_other_rows_are_left_out_by_name(project: Path) -> None:
    study = made(project)
    other = left(study, 1.0, ("validation", "test"), labels=(LABELS + 1) % CLASSES)
    fewer = left(study, 0.9, ("validation",))
    shorter = left(study, 0.8, ("validation", "test"), labels=LABELS[:50])
    pool = Pool.load(study, 10)
    assert [trial.number for trial in pool.trials] == [0, 1, 2, 3]
    told = " ".join(pool.skipped)
    assert f"trial {other}: its validation targets are others than those of better trials" in told
    assert f"trial {fewer}: it has given no test predictions, which better trials have" in told
    assert f"trial {shorter}: its validation targets are others" in told


def test_a_study_without_predictions_says_how_to_give_them(project: Path) -> None:
    study = made(project, ())
    with pytest.raises(StudyError, match="no trial with predictions .* function call context.predictions"):
        Pool.load(study, 10)


@pytest.mark.parametrize("options", [{"method": "bagging"}, {"method": "soup"}, {"distill": "0"}])
def test_methods_that_need_models_are_refused(project: Path, options: dict[str, Any]) -> None:
    made(project)
    with pytest.raises(InputError, match="trains or averages models of the search file"):
        hpo.build_ensemble("own", trust=True, **options)
    assert EnsembleOptions(**options).method == options.get("method", "auto")


def test_an_ensemble_of_values_has_an_interval(project: Path) -> None:
    study = made(project, (), task="regression")
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(ROWS, 1)).astype(np.float32)
    for _ in range(3):
        trial = study.writer.ask()
        study.writer.report(trial.number, 1, {"score": 9.0})
        rows = {
            split: truth + generator.normal(scale=0.1, size=truth.shape).astype(np.float32)
            for split in ("validation", "test")
        }
        study.artifacts.write(trial.number, 1, {}, rows, dict.fromkeys(rows, truth), {"sure": 1.0})  # type: ignore[arg-type]
        study.writer.end(trial.number, Outcome(State.COMPLETE))
    result = hpo.build_ensemble("own", trust=True, method="voting")
    assert result.interval is not None and result.test["rmse"] < 0.1


def test_one_trial_predicts_without_an_ensemble(project: Path, hpo: Run) -> None:
    made(project)
    np.save("inputs.npy", np.array([2, 0]))
    code, out, err = hpo("predict", "--trial", "1", "--study", "own", "-i", "inputs.npy", "-o", "-", "--trust")
    assert code == 0 and [line.split(",")[1] for line in out.split()[1:]] == ["2", "0"], err


def test_trials_of_two_studies_are_combined_where_their_rows_are_the_same(project: Path) -> None:
    made(project)
    made(project, study="more")
    left(made(project, (), study="others"), 2.0, ("validation", "test"), labels=(LABELS + 1) % CLASSES)
    result = hpo.build_ensemble("own", other_studies=["more"], trust=True, method="voting", top=4)
    assert {member["name"].partition(":")[0] for member in result.members} >= {"trial 0", "more"}
    with pytest.raises(StudyError, match="'own' and 'others' have other targets"):
        hpo.build_ensemble("own", other_studies=["others"], trust=True)
