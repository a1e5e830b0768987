"""An ensemble of predictions that another tool has made."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import hpo as library
from hpo.ensemble.calibration import temper
from hpo.ensemble.combiner import from_json
from hpo.ensemble.score import costs
from hpo.errors import DataError, InputError
from tests.conftest import Run
from tests.ensemble.pools import TASKS, pool

FOLDER = Path("given")


def save(name: str, split: str, array: np.ndarray) -> None:
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    np.save(FOLDER / name / f"{split}.npy", array)


def given(task: str = "classification", candidates: int = 4) -> Path:
    """Models that know more or less, of 60 validation and 60 test rows."""
    for split, seed in (("validation", 1), ("test", 2)):
        predictions, targets = pool(task, seed, candidates)
        save("targets", split, targets)
        for place, one in enumerate(predictions):
            save(f"model-{place}", split, one)
    return FOLDER


@pytest.mark.parametrize("task", TASKS)
def test_predictions_of_any_task_become_weights_and_a_report(task: str) -> None:
    result = library.combine_predictions(given(task), method="greedy", top=3)
    assert result.method == "greedy" and sum(member["weight"] for member in result.members) == pytest.approx(1)
    assert result.report.exists() and (result.interval is not None) == (task == "regression")
    kept = json.loads((result.folder / "result.json").read_text())
    assert kept == json.loads(json.dumps(result.to_json()))
    predicted = np.stack(
        [
            temper(np.load(FOLDER / member["name"] / "test.npy").astype(np.float32), member["temperature"], task)
            for member in kept["members"]
        ]
    )
    joined = from_json(kept["combiner"], len(predicted), 3).combine(predicted)
    score = float(costs(joined, np.load(FOLDER / "targets" / "test.npy"), task))
    expected = kept["test"]["rmse"] ** 2 if task == "regression" else kept["test"]["nll"]
    assert score == pytest.approx(expected, rel=0.2 if task == "regression" else 1e-4)


def test_models_of_scikit_learn_are_combined(hpo: Run) -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    parts = {"train": slice(0, 900), "validation": slice(900, 1300), "test": slice(1300, None)}
    models = {"logistic": LogisticRegression(max_iter=200), "bayes": GaussianNB(), "tree": DecisionTreeClassifier()}
    for name, model in models.items():
        model.fit(images[parts["train"]] / 16, labels[parts["train"]])
        for split in ("validation", "test"):
            save(name, split, model.predict_proba(images[parts[split]] / 16))
    for split in ("validation", "test"):
        save("targets", split, labels[parts[split]])
    (FOLDER / "outputs.txt").write_text("\n".join(map(str, range(10))))
    code, out, err = hpo("ensemble", "--predictions", str(FOLDER), "--method", "voting")
    assert code == 0, err
    assert "best single (logistic)" in out and "Test split" in out and "result.json" in out
    code, out, _ = hpo("ensemble", "--predictions", str(FOLDER), "--format", "json", "--name", "second")
    assert code == 0 and json.loads(out)["name"] == "second"
    assert sorted(path.name for path in (FOLDER / "ensembles").iterdir()) == ["1", "second"]


def test_numbers_may_be_flat() -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(120, 3))
    values = inputs.sum(axis=1) + generator.normal(size=120)
    for name, alpha in (("stiff", 1e3), ("loose", 1.0)):
        model = Ridge(alpha).fit(inputs[:40], values[:40])
        for split, rows in (("validation", slice(40, 80)), ("test", slice(80, None))):
            save(name, split, model.predict(inputs[rows]))
            save("targets", split, values[rows])
    result = library.combine_predictions(FOLDER)
    assert result.best_single == "loose" and set(result.test) >= {"rmse"}


def archive() -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([{}], object), allow_pickle=True)
    return content.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: (FOLDER / "model-1/test.npy").unlink(), "model-1/test.npy: is missing"),
        (lambda: (FOLDER / "model-1/test.npy").write_bytes(archive()), "model-1/test.npy: cannot be read"),
        (lambda: (FOLDER / "model-1/test.npy").write_bytes(b"no array"), "model-1/test.npy: cannot be read"),
        (
            lambda: save("model-1", "test", np.ones((5, 3)) / 3),
            r"model-1/test.npy: must be \(60, 3\), \(rows, outputs\)",
        ),
        (lambda: save("model-1", "test", np.ones((60, 3))), "the probabilities of a row must sum to one; one is 2 off"),
        (lambda: save("model-1", "test", np.full((60, 3), np.nan)), "has values that are not finite"),
        (lambda: save("model-1", "test", np.full((60, 3), -1.0)), "must be probabilities from 0 to 1, got -1 to -1"),
        (lambda: save("targets", "test", np.full(60, 7)), "targets/test.npy: must be 0 to 2, got 7 to 7"),
        (lambda: save("targets", "test", np.zeros(60)), "targets of validation and test rows must be of one kind"),
        (
            lambda: (FOLDER / "outputs.txt").write_text("a\nb"),
            "outputs.txt must have a line for each of 3 outputs, got 2",
        ),
    ],
)
def test_what_is_wrong_is_one_clear_line(change: Any, message: str) -> None:
    given()
    change()
    with pytest.raises(DataError, match=message):
        library.combine_predictions(FOLDER)
    assert not (FOLDER / "ensembles").exists()


def test_everything_that_is_wrong_is_told_at_once() -> None:
    given()
    (FOLDER / "model-0/test.npy").unlink()
    (FOLDER / "targets/validation.npy").unlink()
    with pytest.raises(DataError, match=r"targets/validation.npy: is missing\n.*model-0/test.npy: is missing"):
        library.combine_predictions(FOLDER)
    with pytest.raises(DataError, match="'nowhere' is no folder"):
        library.combine_predictions("nowhere")


def test_labels_that_would_wrap_around_are_refused() -> None:
    given("multilabel")
    save("targets", "test", np.full((60, 3), 256))
    with pytest.raises(DataError, match="targets/test.npy: must be 0 to 1, got 256 to 256"):
        library.combine_predictions(FOLDER)


def test_links_are_not_followed() -> None:
    given()
    (FOLDER / "model-0/test.npy").rename("elsewhere.npy")
    (FOLDER / "model-0/test.npy").symlink_to(Path("elsewhere.npy").absolute())
    with pytest.raises(DataError, match="model-0/test.npy: cannot be read: .* is a link"):
        library.combine_predictions(FOLDER)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--study", "x"), "--study is of a study's trials; leave it out of --predictions"),
        (("--distill", "1"), "--distill is of a study's trials"),
        (("--method", "bagging"), "--method bagging needs networks"),
        (("--name", "../x"), "--name must be letters"),
    ],
)
def test_what_needs_trials_is_refused(hpo: Run, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = hpo("ensemble", "--predictions", str(given()), *arguments)
    assert (code, out) == (2, "") and message in err and not (FOLDER / "ensembles").exists()


def test_a_name_is_taken_once() -> None:
    library.combine_predictions(given(), method="voting", name="mine")
    with pytest.raises(InputError, match="there is an ensemble 'mine'"):
        library.combine_predictions(FOLDER, method="voting", name="mine")
