"""scikit-learn's own estimators under a search."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from hpo.adapters.sklearn import fit
from hpo.datasets.folds import folds_of
from hpo.errors import TrainingError
from hpo.spec import Config
from hpo.training.function import taken
from tests.adapters.going_on import EPOCHS, searched, whole

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
SPEC = searched("accuracy", "maximize")
VALUES = searched("rmse", task="regression")


def one(function: Any, config: Config, spec: Any = SPEC) -> Any:
    (report,) = whole(function, config, spec)
    return report


def test_a_pipeline_is_fitted_measured_and_predicts() -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    report = one(lambda config: fit(pipeline, config, X, NAMES), {"logisticregression__C": 0.5})
    train_x, other_x, train_y, other_y = train_test_split(X, NAMES, test_size=0.2, random_state=0, stratify=NAMES)
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(train_x, train_y)
    assert report.epoch == EPOCHS
    assert report.metrics["accuracy"] == pytest.approx(accuracy_score(other_y, expected.predict(other_x)))
    assert report.metrics["nll"] == pytest.approx(log_loss(other_y, expected.predict_proba(other_x)), rel=1e-4)
    left = taken(report)
    assert np.allclose(left.predictions["validation"], expected.predict_proba(other_x), atol=1e-3)
    assert (NAMES[np.unique(Y, return_index=True)[1]][left.targets["validation"]] == other_y).all()
    assert not hasattr(pipeline, "n_features_in_"), "the estimator itself stays as it was"


def test_several_estimators_share_a_search() -> None:
    both = {"linear": LogisticRegression(max_iter=500), "forest": RandomForestClassifier(10)}

    def train(config: Config) -> Any:
        return fit(both, config, load_iris(as_frame=True).data, Y, scoring=["balanced_accuracy"])

    forest = one(train, {"estimator": "forest", "forest__max_depth": 2})
    linear = one(train, {"estimator": "linear", "linear__C": 1e-6})
    assert forest.metrics["balanced_accuracy"] > linear.metrics["balanced_accuracy"]
    assert (taken(forest).targets["validation"] == taken(linear).targets["validation"]).all(), "of the same rows"
    assert one(train, {"estimator": "forest"}).metrics == one(train, {"estimator": "forest"}).metrics, "it is seeded"
    with pytest.raises(TrainingError, match="`estimator` must be one of linear, forest, got 'tree'"):
        one(train, {"estimator": "tree"})


def test_partial_fits_are_epochs() -> None:
    pipeline = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss"))
    reports = whole(lambda config: fit(pipeline, config, X, NAMES, batch_size=16), {"sgdclassifier__alpha": 0.01}, SPEC)
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert reports[-1].metrics["nll"] < reports[0].metrics["nll"] and reports[-1].metrics["accuracy"] > 0.8
    assert len({report.metrics["nll"] for report in reports}) == EPOCHS
    values, truth = load_diabetes(return_X_y=True)
    found = whole(lambda config: fit(SGDRegressor(), config, values, truth), {"alpha": 0.01}, VALUES)
    assert found[-1].metrics["rmse"] < found[0].metrics["rmse"]


@pytest.mark.parametrize("estimator", [LogisticRegression(max_iter=500), SGDClassifier(loss="log_loss")], ids=str)
def test_folds_are_those_of_cross_validation(estimator: Any) -> None:
    spec = searched("accuracy", "maximize", training={"epochs": 1, "folds": 4})
    report = one(lambda config: fit(estimator, config, X, NAMES), {}, spec)
    split = folds_of(Y, 4)
    seeded = estimator if isinstance(estimator, LogisticRegression) else None
    order = np.concatenate([held_out for _, held_out in split])
    left = taken(report)
    assert (left.targets["validation"] == Y[order]).all()
    if seeded is not None:
        expected = cross_val_predict(seeded, X, NAMES, cv=split, method="predict_proba")[order]
        assert np.allclose(left.predictions["validation"], expected, atol=1e-3)
    assert report.metrics["accuracy"] > 0.6 and report.metrics["accuracy_std"] > 0


def test_folds_of_data_frames_and_values() -> None:
    frame, values = load_diabetes(return_X_y=True, as_frame=True)
    spec = searched("rmse", task="regression", training={"epochs": 1, "folds": 3})
    report = one(lambda config: fit(Ridge(), config, frame, values), {}, spec)
    expected = cross_val_predict(Ridge(), frame, values, cv=folds_of(values.to_numpy(), 3))
    order = np.concatenate([held_out for _, held_out in folds_of(values.to_numpy(), 3)])
    assert np.allclose(taken(report).predictions["validation"][:, 0], expected[order], rtol=1e-4)


def test_rows_to_measure_on_exclude_folds() -> None:
    spec = searched("accuracy", "maximize", training={"epochs": 1, "folds": 3})
    with pytest.raises(TrainingError, match="leave `validation` or training.folds out"):
        one(lambda config: fit(LogisticRegression(), config, X, Y, (X, Y)), {}, spec)


def test_values_are_predicted_and_measured() -> None:
    values, truth = load_diabetes(return_X_y=True)
    rows, others = slice(0, 300), slice(300, None)

    def train(config: Config) -> Any:
        return fit(Ridge(), config, values[rows], truth[rows], (values[others], truth[others]))

    report = one(train, {"alpha": 0.1}, VALUES)
    predicted = Ridge(alpha=0.1).fit(values[rows], truth[rows]).predict(values[others])
    assert report.metrics["rmse"] == pytest.approx(root_mean_squared_error(truth[others], predicted), rel=1e-5)
    assert np.allclose(taken(report).predictions["validation"][:, 0], predicted, rtol=1e-5)


@pytest.mark.parametrize("estimator", [RandomForestClassifier(20), MLPClassifier((8,), max_iter=300)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_several_labels(estimator: Any) -> None:
    rows, labels = make_multilabel_classification(120, n_classes=3, random_state=0)
    spec = searched("macro_f1", "maximize", task="multilabel", training={"epochs": 1})
    report = one(lambda config: fit(estimator, {}, rows, labels), {}, spec)
    assert taken(report).predictions["validation"].shape == (24, 3)
    assert 0.4 < report.metrics["macro_f1"] <= 1


def test_one_without_probabilities_is_measured_alone() -> None:
    report = one(lambda config: fit(LinearSVC(), config, X, Y), {"C": 1.0})
    assert set(report.metrics) == {"accuracy"} and not taken(report).predictions


@pytest.mark.parametrize(
    ("estimator", "config", "told"),
    [
        (LogisticRegression(), {"c": 1.0}, "LogisticRegression has no parameter 'c'. Did you mean 'C'?"),
        (Ridge(), {}, "Ridge learns regression, and the search file says classification: write `task: regression`"),
    ],
)
def test_what_does_not_fit_is_told(estimator: Any, config: Config, told: str) -> None:
    with pytest.raises(TrainingError) as raised:
        one(lambda config: fit(estimator, config, X, Y), config)
    assert str(raised.value) == told


def test_outside_of_a_search_it_measures() -> None:
    metrics = fit(LogisticRegression(max_iter=500), {"C": 1.0}, X, Y)
    assert metrics is not None and metrics["accuracy"] > 0.8
