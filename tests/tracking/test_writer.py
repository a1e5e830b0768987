from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from hpo import spec
from hpo.study import Outcome, State, Study
from hpo.tracking.store import connect, tracking_uri
from hpo.tracking.writer import Tracker
from tests.conftest import facts


@pytest.fixture
def fresh(document: dict[str, Any], tmp_path: Path) -> Study:
    return Study.create(tmp_path / "studies", spec.load(document), facts())


def run_trial(study: Study, tracker: Tracker, values: list[float], outcome: Outcome) -> None:
    trial = study.ask()
    tracker.trial_started(trial)
    for epoch, value in enumerate(values, start=1):
        study.report(trial.number, epoch, {"accuracy": value, "nll": 1 - value})
        tracker.trial_reported(trial.number, epoch, {"accuracy": value, "nll": 1 - value})
    tracker.trial_ended(study.end(trial.number, outcome))


def runs(storage: Path) -> tuple[MlflowClient, dict[str, Run]]:
    client, experiment = connect(storage)
    return client, {run.info.run_name: run for run in client.search_runs([experiment])}


def test_a_study_is_a_parent_with_nested_trials_and_curves(fresh: Study, tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    with Tracker(fresh, storage) as tracker:
        run_trial(fresh, tracker, [0.2, 0.5, 0.4], Outcome(State.COMPLETE))
        run_trial(fresh, tracker, [0.1], Outcome(State.PRUNED, "stopped by asha"))
        run_trial(fresh, tracker, [], Outcome(State.FAILED, "Traceback\nValueError: no"))
    assert tracker.problem is None
    client, found = runs(storage)
    parent = found["squares"]
    assert parent.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["spec.yaml"]

    first = found["trial-0"]
    assert first.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert first.data.params == {"optimizer.lr": "0.01", "model.width": "16"}
    assert first.data.tags["state"] == "complete"
    assert first.data.tags["seed"] == str(fresh.spec.trial_seed(0))
    assert (first.data.tags["rung"], first.data.tags["best_epoch"]) == ("3", "2")
    curve = client.get_metric_history(first.info.run_id, "accuracy")
    assert [(point.step, point.value) for point in curve] == [(1, 0.2), (2, 0.5), (3, 0.4)]
    assert first.data.metrics["best_accuracy"] == 0.5

    assert found["trial-1"].data.tags["state"] == "pruned" and found["trial-1"].data.tags["rung"] == "1"
    assert found["trial-2"].info.status == "FAILED" and found["trial-2"].data.tags["reason"] == "ValueError: no"


def test_a_study_that_goes_on_keeps_its_parent(fresh: Study, tmp_path: Path) -> None:
    for _ in range(2):
        with Tracker(fresh, tmp_path / "studies") as tracker:
            run_trial(fresh, tracker, [0.2], Outcome(State.PRUNED))
    _, found = runs(tmp_path / "studies")
    assert sorted(found) == ["squares", "trial-0", "trial-1"]


def test_a_broken_store_is_told_at_the_end_and_stops_nothing(
    fresh: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.tracking.writer._PAUSE_SECONDS", 0.0)
    (tmp_path / "studies" / "mlflow.db").write_text("this is no database")
    with Tracker(fresh, tmp_path / "studies") as tracker:
        run_trial(fresh, tracker, [0.2], Outcome(State.PRUNED))
    assert tracker.problem is not None and tracker.problem.startswith("MLflow lacks 3 records of this search: ")
    assert fresh.trial(0).state is State.PRUNED


def test_the_users_tracking_uri_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert tracking_uri(tmp_path) == "http://127.0.0.1:9"
