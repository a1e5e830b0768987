"""From a study to an ensemble on disk and in MLflow; what is chosen never sees a test row."""

import ast
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from rich.console import Console

import hpo
from hpo import api, datasets, models, spec
from hpo.ensemble.build.misfits import misfits
from hpo.ensemble.build.options import EnsembleOptions
from hpo.ensemble.calibration import temper
from hpo.ensemble.method_choice import choose
from hpo.ensemble.model import Ensemble
from hpo.ensemble.pool import Pool
from hpo.ensemble.score import Targets, costs
from hpo.errors import DataError, InputError, StudyError
from hpo.spec import StudySpec
from hpo.study import data as study_data
from hpo.study.artifacts import Split
from hpo.study.data_summary import DataSummary
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from hpo.study.truth import Truth
from hpo.tracking.ensembles import tracking_to
from hpo.tracking.store import tracking_uri
from tests.conftest import data_summary, finish, squares

PACKAGE = Path(hpo.__file__).parent


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"method": "greedi"}, "unknown --method 'greedi'. Did you mean 'greedy'?"),
        ({"select": "random"}, "unknown --select 'random'"),
        ({"top": 0}, "--top must be at least 1, got 0"),
        ({"pool": 1}, "--pool must be at least 2, got 1"),
        ({"method": "bagging", "bags": 1}, "--bags must be at least 2, got 1"),
        ({"method": "stacking", "folds": 1}, "--folds must be at least 2, got 1"),
        ({"method": "greedy", "folds": 3}, "--folds is of stacking"),
        ({"method": "greedy", "bags": 3}, "--bags is of bagging, boosting, deep"),
        ({"method": "greedy", "select": "gain"}, "--select is of voting and stacking"),
        ({"name": "x" * 78, "distill": "0"}, "--name must be letters"),
        ({"max_latency": 0.0}, "--max-latency must be above 0"),
        ({"method": "bagging", "max_latency": 1.0}, "--max-latency is for stored trials"),
        ({"register": "a/b"}, "--register must be a name"),
    ],
)
def test_a_bad_request_is_one_sentence_and_leaves_nothing(study: Study, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        api.build_ensemble(storage=study.folder.parent, **asked)
    assert message in str(caught.value)
    assert not (study.folder / "ensembles").exists()


def test_the_folder_has_all_that_was_promised(study: Study) -> None:
    result = api.build_ensemble(method="greedy", top=3, storage=study.folder.parent)
    assert result.report is not None and result.report.exists()
    assert {"weights.png", "reliability.png", "confusion.png", "score_by_members.png"} <= {
        path.name for path in result.report.parent.iterdir()
    }
    document = json.loads((result.folder / "result.json").read_text())
    assert document["method"] == "greedy" and document["cost"]["ensemble"]["parameters"] > 0
    assert document["calibration"]["after"]["nll"] <= document["calibration"]["before"]["nll"] + 1e-9
    assert sum(member["weight"] for member in document["members"]) == pytest.approx(1)
    assert Ensemble(result.folder).task == "classification"


def test_what_is_chosen_does_not_depend_on_test_rows(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = study.folder.parent
    first = api.build_ensemble(storage=storage)
    for file in study.artifacts.folder.glob("*/epoch-*/test.npy"):
        np.save(file, np.roll(np.load(file), 1, axis=1))
    second = api.build_ensemble(storage=storage)
    assert first.method == second.method and first.members == second.members
    assert first.validation == second.validation and first.test != second.test


def test_without_test_files_nothing_is_chosen_differently_and_nothing_half_done_is_left(study: Study) -> None:
    for file in study.artifacts.folder.glob("*/epoch-*/test.npy"):
        file.write_bytes(b"no array")
    with pytest.raises(StudyError, match="its test predictions cannot be read"):
        api.build_ensemble(storage=study.folder.parent)
    assert not list((study.folder / "ensembles").glob("*"))


def test_members_predict_the_test_rows_when_they_are_scored(document: dict[str, Any], tmp_path: Path) -> None:
    """A search leaves validation predictions alone: what is scored predicts the rest, once, from its weights."""
    study = untested(document, tmp_path)
    lines = io.StringIO()
    console = Console(file=lines, width=200)
    result = api.build_ensemble(method="voting", top=2, storage=study.folder.parent, console=console)
    images = study_data.load(study, tmp_path).test.inputs
    scored = {member["trial"] for member in result.members} | {result.best_single}
    assert {int(file.parts[-3]) for file in study.artifacts.folder.glob("*/epoch-*/test.npy")} == scored
    assert all(f"trial {number} has predicted {len(images)} test rows" in lines.getvalue() for number in scored)
    stored = [study.artifacts.read(member["trial"]) for member in result.members]
    raw = np.stack([one.predictions("test") for one in stored if one is not None])
    ensemble = Ensemble(result.folder)
    tempered = [temper(rows, m.temperature, "classification") for rows, m in zip(raw, ensemble.members, strict=True)]
    np.testing.assert_allclose(ensemble.member_predictions(images), np.stack(tempered), atol=1e-6)
    lines.truncate(0)
    again = api.build_ensemble(method="voting", top=2, storage=study.folder.parent, console=console)
    assert again.test == result.test and "has predicted" not in lines.getvalue()


def test_members_that_cannot_predict_the_test_rows_leave_nothing(document: dict[str, Any], tmp_path: Path) -> None:
    study = untested(document, tmp_path)
    data = Path(document["data"]["path"])
    content = data.read_bytes()
    images, labels = squares(120, seed=5)
    np.savez(data, x_train=images, y_train=labels, x_test=images[:30], y_test=labels[:30])
    datasets.load.cache_clear()
    with pytest.raises(StudyError, match="was started with other data: .* Put the data back"):
        api.build_ensemble(storage=study.folder.parent)
    data.unlink()
    datasets.load.cache_clear()
    with pytest.raises(DataError, match="an ensemble is scored on the test rows, and they cannot be read: .*npz"):
        api.build_ensemble(storage=study.folder.parent)
    data.write_bytes(content)
    datasets.load.cache_clear()
    for number in range(3):
        stored = study.artifacts.read(number)
        assert stored is not None
        (stored.place.path / "checkpoint.safetensors").write_bytes(b"torn")
    with pytest.raises(
        StudyError, match="an ensemble needs one.*trial 0: its weights cannot be used by the model as it"
    ):
        api.build_ensemble(method="single", storage=study.folder.parent)
    assert not list((study.folder / "ensembles").glob("*"))


def untested(document: dict[str, Any], tmp_path: Path) -> Study:
    """A study of three trials with the weights and the validation predictions that a search leaves."""
    wanted = spec.load(document)
    assert isinstance(wanted, StudySpec)
    dataset = datasets.load(wanted.data, tmp_path, wanted.seed)
    targets: dict[Split, Targets] = {"validation": dataset.validation.targets, "test": dataset.test.targets}
    known = DataSummary(dataset.outputs, targets, dataset.validation.inputs[:1], dataset.fingerprint)
    study = Study.create(tmp_path / "studies", wanted, known)
    for skill in (2.0, 1.5, 1.0):
        finish(study, skill, epochs=3)
    for file in study.artifacts.folder.glob("*/epoch-*/test.npy"):
        file.unlink()
    return study


def test_test_rows_are_read_in_one_place() -> None:
    """Whoever names the split `test` beside a reading call, in all that chooses; the scoring in `build` is the one."""
    readers: set[str] = set()
    for path in PACKAGE.glob("ensemble/**/*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and _reads_test(node):
                        readers.add(f"{path.parent.name}/{path.name}:{function.name}")
    assert readers == READERS


READERS = {
    "ensemble/pool.py:test_predictions",
    "build/draft.py:from_pool",
    "build/retraining.py:from_retrained",
    "build/build.py:_scored",
}
"""The one that reads, the two that pass them on unread, and the one that calls, after everything is chosen."""


def _reads_test(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    says_test = any(isinstance(argument, ast.Constant) and argument.value == "test" for argument in call.args)
    reads = name in ("predictions", "_read", "stack") and says_test
    return reads or name in ("test_predictions", "test")


def test_a_limit_of_latency_chooses_among_fast_trials(study: Study) -> None:
    storage = study.folder.parent
    with pytest.raises(InputError, match="--max-latency 5ms: the fastest of 4 candidates takes inf ms"):
        api.build_ensemble(max_latency=5.0, storage=storage)
    for milliseconds in (2.0, 3.0, 9.0):
        timed(study, milliseconds)
    result = api.build_ensemble(method="voting", max_latency=5.0, storage=storage)
    assert [member["trial"] for member in result.members] in ([5, 6], [6, 5])
    assert len(api.build_ensemble(method="voting", max_latency=3.5, storage=storage).members) == 1


def timed(study: Study, milliseconds: float) -> None:
    """Another good trial that says how fast its model is."""
    finish(study, 2.0, epochs=3, latency_ms=milliseconds)


def test_a_request_knows_what_it_needs() -> None:
    assert EnsembleOptions(method="bagging").needs_data and EnsembleOptions(method="stacking", folds=3).needs_data
    assert EnsembleOptions(method="soup").needs_data and not EnsembleOptions(method="soup").trains
    assert not EnsembleOptions().needs_data


def test_with_shuffled_labels_the_test_score_stays_at_chance(document: dict[str, Any], tmp_path: Path) -> None:
    known = data_summary(rows=300)
    generator = np.random.default_rng(0)
    shuffled = {split: generator.permutation(targets) for split, targets in known.targets.items()}
    study = Study.create(tmp_path / "studies", spec.load(document), known)
    for _ in range(12):
        finish(study, 2.0, epochs=3)
    pool = replace(Pool.load(study, 12), truth=Truth(known.outputs, shuffled))
    for method in ("auto", "greedy", "stacking"):
        choice = choose(method, pool.validation, pool.targets, 5, best=pool.best)
        combined = choice.combiner.combine(pool.test_predictions(choice.combiner.members))
        accuracy = (combined.argmax(axis=1) == shuffled["test"]).mean()
        assert abs(accuracy - 1 / 3) < 0.1
        assert costs(combined, shuffled["test"], "classification") > np.log(3) - 0.05


@pytest.mark.usefixtures("ray_cluster")
def test_members_are_trained_anew_and_a_student_learns_from_them(document: dict[str, Any], tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    document["training"]["epochs"] = 4
    hpo.search({**document, "scheduler": "none"}, trials=3, storage=storage)
    console = Console(file=io.StringIO(), width=200)
    bagged = api.build_ensemble(
        method="bagging", bags=3, top=2, distill="1", register="squares", storage=storage, console=console
    )
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(f"bag {bag} trained in" in told for bag in range(3)) and "student (trial 1) trained in" in told
    assert [member["name"] for member in bagged.members] == ["bag 0", "bag 1", "bag 2"]
    assert len({member["trial"] for member in bagged.members}) == 2
    assert bagged.estimate is not None and bagged.estimate["kind"] == "out-of-bag"
    assert bagged.estimate["metrics"]["accuracy"] > 0.8 and bagged.test["accuracy"] > 0.8
    assert bagged.student is not None and len(bagged.student.members) == 1
    assert bagged.student.test["accuracy"] > 0.8 and bagged.student.registered is None
    with tracking_to(tracking_uri(storage)):
        served = mlflow.pyfunc.load_model(f"{bagged.registered}")
    images = squares(5, seed=3)[0][..., None]
    expected = Ensemble(bagged.folder).predict_proba(images)
    np.testing.assert_allclose(served.predict(images), expected, atol=1e-6)
    stacked = api.build_ensemble(method="stacking", folds=2, top=2, storage=storage)
    assert stacked.estimate is not None and stacked.estimate["rows"] == 180
    with pytest.raises(InputError, match="a soup averages weights of one initialisation"):
        api.build_ensemble(method="soup", storage=storage)


@pytest.mark.usefixtures("ray_cluster")
def test_a_population_makes_a_soup(document: dict[str, Any], tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    document["training"]["epochs"] = 6
    document["parameters"] = {"optimizer.lr": {"min": 1e-4, "max": 0.1, "log": True}}
    hpo.search({**document, "scheduler": {"name": "pbt", "interval": 2}}, trials=5, storage=storage)
    for _ in range(2):  # the second takes the place of the first
        soup = api.build_ensemble(method="soup", storage=storage)
    assert len(soup.members) == 1 and soup.members[0]["name"].startswith("soup of trials ")
    assert soup.test["nll"] < soup.best_single_test["nll"] + 0.2


def test_a_regression_has_an_interval(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    targets = {split: generator.normal(50, 10, (200, 1)).astype(np.float32) for split in ("validation", "test")}
    document = {
        "study": "numbers",
        "task": "regression",
        "data": "diabetes",
        "model": {"name": "mlp", "layers": 1},
        "training": {"epochs": 1},
        "parameters": {"model.width": {"type": "int", "min": 8, "max": 32}},
        "scheduler": "none",
        "sampler": "random",
    }
    row = generator.normal(size=(1, 4)).astype(np.float32)
    known = DataSummary(("price",), targets, row, "of numbers")  # type: ignore[arg-type]
    study = Study.create(tmp_path / "studies", spec.load(document), known)
    for _ in range(6):
        trial = study.writer.ask()
        noisy = {split: true + generator.normal(0, 4, true.shape).astype(np.float32) for split, true in targets.items()}
        rmse = float(np.sqrt(np.square(noisy["validation"] - targets["validation"]).mean()))
        study.writer.report(trial.number, 1, {"rmse": rmse})
        network = models.build(study.study_spec.apply(trial.config).model, (4,), 1, "regression")
        weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        study.artifacts.write(trial.number, 1, weights, noisy)  # type: ignore[arg-type]
        study.writer.end(trial.number, Outcome(State.COMPLETE))
    result = api.build_ensemble(storage=tmp_path / "studies")
    assert result.method != "single" and result.test["rmse"] < 0.8 * result.best_single_test["rmse"]
    assert result.interval is not None and result.report is not None
    assert (result.report.parent / "regression.png").exists()
    rows = generator.normal(size=(3, 4)).astype(np.float32)
    low, high = Ensemble(result.folder).predict_interval(rows)
    np.testing.assert_allclose((high - low) / 2, result.interval.half_widths[0], rtol=1e-4)
    predictions = api.predict(result.name, rows, storage=tmp_path / "studies")
    assert predictions.values.shape == (3, 1)


def test_the_single_trial_of_a_study_can_be_the_ensemble(study: Study) -> None:
    storage = study.folder.parent
    for number in range(1, 4):
        shutil.rmtree(study.artifacts.folder / f"{number:05d}")
    with pytest.raises(StudyError, match="an ensemble needs two.* or take --method single"):
        api.build_ensemble(storage=storage)
    result = api.build_ensemble(method="single", storage=storage)
    assert [member["trial"] for member in result.members] == [0]
    assert result.test == pytest.approx(result.best_single_test)
    assert result.report is not None and result.report.exists()


def test_predictions_that_are_far_too_large_are_not_compared(study: Study) -> None:
    pool = Pool.load(study, 3)
    os.truncate(study.folder / "artifacts" / f"{pool.trials[0].number:05d}" / "epoch-0003" / "validation.npy", 2**30)
    assert list(misfits(pool, [0, 1], Path("data"))) == [0]
