"""Tasks, losses and metrics of the user's own, added from outside by `module:name`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo import api, spec, tasks
from hpo.datasets import load
from hpo.errors import InputError, SpecError, TrainingError
from hpo.spec import TrainingSettings
from hpo.study.code import TrainingCode
from hpo.tasks.kinds import activates, kind, task_for
from hpo.tasks.loss import Loss
from hpo.tasks.measuring import Meter, measured
from hpo.training import Context, train

CODE = '''
import numpy as np
import torch
from torch.nn import functional

from hpo.tasks.classification import Classification


class Ordinal(Classification):
    """Classes in an order: the cost of a row is how far its expected class is from the true one."""

    metrics = {**Classification.metrics, "distance": "minimize"}

    def loss(self, outputs, targets):
        places = torch.arange(outputs.shape[1], dtype=outputs.dtype)
        true = targets.to(outputs.dtype) if targets.ndim == 1 else targets @ places
        return (outputs.softmax(1) @ places - true).square() + functional.cross_entropy(
            outputs, targets, reduction="none"
        )

    def measure(self, predictions, targets):
        apart = (predictions.argmax(1) - targets).abs().double().mean()
        return {**super().measure(predictions, targets), "distance": float(apart)}


class Sharp(Ordinal):
    def activate(self, outputs):
        return (2 * outputs).softmax(1)


class NoTask:
    base, metrics = "classification", {"accuracy": "maximize"}


class NoBase(Classification):
    base = "ranking"


class NoGoal(Classification):
    metrics = {"accuracy": "up"}


class WithArguments(Classification):
    def __init__(self, levels):
        self.levels = levels


def profit(predictions, targets, price=2.0):
    assert isinstance(predictions, np.ndarray)
    return float(np.where(predictions.argmax(1) == targets, price, -1.0).mean())


def words(predictions, targets):
    return "many"


def accuracy(predictions, targets):
    return 1.0


def tilted(outputs, targets, *, label_smoothing, tilt):
    return tilt * functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing, reduction="none")


def whole(outputs, targets):
    return functional.cross_entropy(outputs, targets)


def wrong(outputs, targets):
    return outputs
'''


@pytest.fixture(autouse=True)
def outside(tmp_path: Path) -> Iterator[None]:
    """A module of the user's own in the current folder."""
    (tmp_path / "my_task.py").write_text(CODE)
    yield
    sys.modules.pop("my_task", None)
    sys.path.remove(str(tmp_path)) if str(tmp_path) in sys.path else None


def report_of(wanted: spec.StudySpec, tmp_path: Path) -> dict[str, float]:
    """The metrics after one epoch."""
    context = Context(wanted, load(wanted.data, tmp_path, 0), seed=0)
    return dict(next(iter(train({}, context))).metrics)


def test_a_class_says_its_base_and_the_goals_of_its_metrics(document: dict[str, Any]) -> None:
    read = spec.load({**document, "task": "my_task:Ordinal", "objective": "distance"}, checks=(tasks.check,))
    assert read.base == "classification" and read.objective.goal == "minimize"
    assert tasks.goal(read) == "minimize" and tasks.goals_of(read)["distance"] == "minimize"
    stored = spec.load_stored({**document, **read.model_dump(exclude_unset=True)})
    assert stored == read
    del document["objective"]
    assert spec.load({**document, "task": "my_task:Ordinal"}).objective.metric == "accuracy"


def test_a_stored_study_says_them_without_the_class(document: dict[str, Any], tmp_path: Path) -> None:
    read = spec.load({**document, "task": "my_task:Ordinal", "objective": "distance"})
    text = spec.dump(read)
    (tmp_path / "my_task.py").unlink()
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    stored = spec.load_stored(path)
    assert (stored.base, tasks.goal(stored)) == ("classification", "minimize")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": "classificatoin"}, "task: must be 'classification', .*Did you mean 'classification'"),
        ({"task": "my_task:Ordinl"}, "task: task 'my_task:Ordinl': module 'my_task' has no 'Ordinl'. Did you mean"),
        ({"task": "my_task:NoTask"}, "must be a class below Classification, Multilabel or Regression"),
        ({"task": "my_task:NoBase"}, "`base`, what predictions are, must be .*got 'ranking'"),
        ({"task": "my_task:NoGoal"}, "of metric 'accuracy' is better 'maximize' or 'minimize', got 'up'"),
        ({"task": "my_task:WithArguments"}, "cannot be made without arguments"),
        ({"task": "my_task:Ordinal", "base": "regression"}, "base is 'regression', and that of task"),
        ({"base": "regression"}, "base is of tasks of your own"),
        ({"task": "my_task:Ordinal", "objective": "distnace"}, "unknown metric 'distnace'. Did you mean 'distance'"),
        ({"metrics": "my_task:profit"}, "needs its goal"),
        ({"metrics": {"name": "my_task:profit", "goal": "maximize", "tax": 1}}, "must take .* its settings tax"),
        ({"metrics": {"name": "my_task:accuracy", "goal": "maximize"}}, "would be reported as 'accuracy'"),
        ({"metrics": "f1_at_1.3"}, "'f1_at_1.3' is no metric that is asked for here: of classification these are"),
        ({"metrics": "auroc"}, "the others are always measured"),
        ({"metrics": {"name": "f1_at_0.3", "beta": 2}}, "takes no settings, got beta"),
        ({"training": {"loss": "focl"}}, "training.loss: must be 'auto', .*Did you mean 'focal'"),
        ({"training": {"loss": "mae"}}, "'mae' is not for task classification: it has auto, cross_entropy, focal"),
        ({"training": {"loss": "my_task:tilted"}}, "must take .*missing a required argument: 'tilt'"),
        ({"training": {"loss_settings": {"tilt": 2}}}, "are of a loss of your own, and there is none"),
        ({"training": {"class_weights": {"a": -1}}}, "greater than 0"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(document: dict[str, Any], changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec.load({**document, **changed}, checks=(lambda read: [*tasks.check(read), *made(read)],))


def made(read: spec.StudySpec) -> list[Any]:
    """Makes the task, as the rehearsal of a search does."""
    try:
        kind(read.task)
    except InputError as error:
        raise SpecError([str(error)]) from error
    return []


def test_nothing_that_only_a_stored_file_names_is_imported(document: dict[str, Any]) -> None:
    read = spec.load_stored({**document, "task": "elsewhere:Task", "base": "classification"})
    with pytest.raises(InputError, match="add --trust"):
        Meter(read, ("a", "b", "c"))
    (problem,) = tasks.check(read)
    assert problem.key == ("task",) and "--trust" in problem.message
    read = spec.load_stored({**document, "training": {"loss": "elsewhere:loss"}})
    assert read.learning_code == ["elsewhere:loss"]
    assert any("--trust" in problem.message for problem in tasks.check(read))


def test_a_trial_reports_what_the_task_and_the_metrics_measure(document: dict[str, Any], tmp_path: Path) -> None:
    metrics = [{"name": "my_task:profit", "goal": "maximize", "price": 5.0}]
    read = spec.load({**document, "task": "my_task:Ordinal", "metrics": metrics, "objective": "profit"})
    reported = report_of(read, tmp_path)
    assert reported["profit"] == pytest.approx(6 * reported["accuracy"] - 1)
    assert {"distance", "auroc", "mcc"} <= reported.keys()
    assert tasks.goal(read) == "maximize"


def test_a_metric_at_a_threshold_is_measured_where_it_is_named(document: dict[str, Any], tmp_path: Path) -> None:
    named = {"objective": "f1_at_0.3", "constraints": "recall_at_.5 >= 0.1", "metrics": "specificity_at_0.9"}
    read = spec.load({**document, **named, "data": {**document["data"], "positive": "2"}}, checks=(tasks.check,))
    reported = report_of(read, tmp_path)
    assert {"f1_at_0.3", "recall_at_.5", "specificity_at_0.9"} <= reported.keys()
    assert list(tasks.check_fit(read, ("0", "1", "2"))) == []
    assert [problem.message[:21] for problem in tasks.check_fit(read, ("a", "b"))] == ["there is no class '2'"]
    (problem,) = tasks.check_fit(spec.load({**document, **named}), ("0", "1", "2"))
    assert "is required for specificity_at_0.9 of 3 classes" in problem.message


def test_metrics_at_a_threshold_are_their_definitions() -> None:
    from sklearn import metrics as reference

    read = spec.load_search(
        {"study": "s", "metrics": [f"{name}_at_0.3" for name in tasks.AT["classification"]], "sampler": "random"}
    )
    generator = np.random.default_rng(0)
    scores, true = generator.random(50).astype(np.float32), generator.integers(0, 2, 50)
    found = measured(read, ("no", "yes"), np.stack([1 - scores, scores], 1), true)
    taken = (scores >= 0.3).astype(int)
    assert found["f1_at_0.3"] == pytest.approx(reference.f1_score(true, taken))
    assert found["precision_at_0.3"] == pytest.approx(reference.precision_score(true, taken))
    assert found["recall_at_0.3"] == pytest.approx(reference.recall_score(true, taken))
    assert found["specificity_at_0.3"] == pytest.approx(reference.recall_score(true, taken, pos_label=0))
    assert found["accuracy_at_0.3"] == pytest.approx(reference.accuracy_score(true, taken))


def test_the_loss_of_a_quantile_is_scikit_learns() -> None:
    from sklearn import metrics as reference

    read = spec.load_search({"study": "s", "task": "regression", "objective": "pinball_at_0.9", "sampler": "random"})
    true, predicted = np.random.default_rng(0).normal(size=(2, 30, 1)).astype(np.float32)
    found = measured(read, ("y",), predicted, true)
    assert found["pinball_at_0.9"] == pytest.approx(reference.mean_pinball_loss(true, predicted, alpha=0.9))
    assert tasks.goal(read) == "minimize"


def test_a_metric_that_gives_no_number_fails_the_trial(document: dict[str, Any], tmp_path: Path) -> None:
    read = spec.load({**document, "metrics": {"name": "my_task:words", "goal": "maximize"}})
    with pytest.raises(TrainingError, match="metric 'my_task:words' gave no number"):
        report_of(read, tmp_path)


def loss_of(name: str, **settings: Any) -> Loss:
    """A loss of the user's own as the loop has it."""
    spec.load({"study": "s", "data": "digits", "model": "mlp", "training": {"loss": name, **settings}})  # trusts it
    task = kind("classification")
    task.training, task.outputs = TrainingSettings(loss=name, **settings), ("a", "b")
    return Loss(task, np.array([0, 1]), None, torch.device("cpu"))


def test_a_loss_of_ones_own_is_told_its_settings_and_weighted_by_rows() -> None:
    outputs, targets, weights = torch.randn(6, 2), torch.arange(6) % 2, torch.tensor([2.0, 0.0] * 3)
    plain = torch.nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1, reduction="none")
    loss = loss_of("my_task:tilted", label_smoothing=0.1, loss_settings={"tilt": 3.0})
    torch.testing.assert_close(loss(outputs, targets, None), 3 * plain.mean())
    torch.testing.assert_close(loss(outputs, targets, weights), 3 * (plain * weights).mean())
    torch.testing.assert_close(
        loss_of("my_task:whole")(outputs, targets, None), torch.nn.functional.cross_entropy(outputs, targets)
    )
    with pytest.raises(TrainingError, match="gives a mean, and this training weights its rows"):
        loss_of("my_task:whole")(outputs, targets, weights)
    with pytest.raises(TrainingError, match=r"must give a tensor of the losses of 6 rows, \(6,\), or their mean"):
        loss_of("my_task:wrong")(outputs, targets, None)


def test_losses_are_searched(document: dict[str, Any], tmp_path: Path) -> None:
    document["parameters"] |= {
        "training.loss": {"values": ["cross_entropy", "focal", "my_task:whole"]},
        "training.focal_gamma": {"min": 0, "max": 5, "when": {"training.loss": "focal"}},
        "training.class_weights": {"values": ["none", "auto"]},
        "optimizer.l1": {"min": 1e-6, "max": 1e-2, "log": True},
    }
    read = spec.load(document, checks=(tasks.check,))
    for loss in ("cross_entropy", "focal", "my_task:whole"):
        assert report_of(read.apply({"training.loss": loss, "training.class_weights": "auto"}), tmp_path)


def test_the_code_of_a_study_has_its_task_loss_and_metrics(document: dict[str, Any], tmp_path: Path) -> None:
    changed = {"task": "my_task:Ordinal", "training": {"loss": "my_task:whole"}}
    read = spec.load({**document, **changed})
    before = TrainingCode.of(None, "mlp", learning=read.learning_code)
    assert TrainingCode.from_json(before.to_json()) == before
    assert "learning" not in TrainingCode.of(None, "mlp").to_json()
    (tmp_path / "my_task.py").write_text(CODE.replace("predictions.argmax(1) - targets", "targets - 1"))
    (told,) = before.changes(TrainingCode.of(None, "mlp", learning=read.learning_code))
    assert told.startswith("task, loss or metric 'my_task:Ordinal' has changed")


def test_a_task_that_makes_predictions_its_own_way_is_told_from_others(document: dict[str, Any]) -> None:
    read = spec.load({**document, "task": "my_task:Sharp"})
    assert activates("my_task:Sharp") and activates(read.task) and not activates("classification")
    spec.load({**document, "task": "my_task:Ordinal"})
    assert not activates("my_task:Ordinal")
    assert task_for(read, ("a", "b")).outputs == ("a", "b")
    several = spec.load({**document, "task": "my_task:Sharp", "training": {"seeds": 2}})
    (problem,) = tasks.check(several)
    assert problem.key == ("training", "seeds") and "`activate` of its own" in problem.message


def test_a_search_is_simulated(document: dict[str, Any]) -> None:
    wanted = {
        "study": "s",
        "task": "my_task:Ordinal",
        "metrics": {"name": "my_task:profit", "goal": "maximize"},
        "objective": ["distance", "profit"],
        "parameters": {"x": {"min": 0, "max": 1}},
        "budget": {"trials": 5},
    }
    result = api.simulate(wanted, lambda config, epoch: ({"distance": config["x"], "profit": 1.0}, 1.0))
    assert result.study.goals == ["minimize", "maximize"]
    assert result.study.best_trial.value == min(trial.config["x"] for trial in result.study.trials())


@pytest.mark.parametrize(
    ("task", "trusting"), [("Ordinal", False), pytest.param("Sharp", True, marks=pytest.mark.slow)]
)
def test_a_search_an_ensemble_and_predictions(
    task: str, trusting: bool, document: dict[str, Any], ray_cluster: None, tmp_path: Path
) -> None:
    """The whole way with a task, a loss and a metric from outside; what is stored predicts without them if it can."""
    changed = {
        "task": f"my_task:{task}",
        "metrics": {"name": "my_task:profit", "goal": "maximize"},
        "objective": "profit",
        "budget": {"trials": 2},
        "scheduler": "none",
    }
    found = api.search({**document, **changed})
    assert found.study.best_trial.metric == "profit"
    built = api.build_ensemble("squares", method="voting", top=2)
    assert {"profit", "distance", "auroc"} <= built.test.keys()
    assert list(built.own_models) == ([f"my_task:{task}"] if trusting else [])
    inputs = np.load(document["data"]["path"])["x_test"][..., None]
    expected = api.open_ensemble(built.name).predict_proba(inputs)
    with_torch = api.export(built.name, tmp_path / "e.onnx") if trusting else None
    sys.modules.pop("my_task")
    (tmp_path / "my_task.py").unlink()
    if not trusting:
        np.testing.assert_array_equal(api.open_ensemble(built.name).predict_proba(inputs), expected)
    assert with_torch is None or (tmp_path / "e.onnx").exists()
