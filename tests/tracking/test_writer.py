import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Run

from hpo import spec
from hpo.study.study import Study
from hpo.study.trial import Failure, Outcome, State
from hpo.tracking.problems import Unusable
from hpo.tracking.runs import Runs
from hpo.tracking.store import connect, tracking_uri
from hpo.tracking.updates import Update
from hpo.tracking.writer import Tracker
from tests.conftest import PATIENCE, data_summary, finish


@pytest.fixture
def fresh(document: dict[str, Any], tmp_path: Path) -> Study:
    return Study.create(tmp_path / "studies", spec.load(document), data_summary())


def run_trial(
    study: Study, tracker: Tracker, values: list[float], outcome: Outcome, others: Mapping[str, float] | None = None
) -> None:
    trial = study.writer.ask()
    tracker.trial_started(trial)
    for epoch, value in enumerate(values, start=1):
        metrics = {"accuracy": value, "nll": 1 - value, **(others or {})}
        study.writer.report(trial.number, epoch, metrics)
        tracker.trial_reported(trial.number, epoch, metrics)
    tracker.trial_ended(study.writer.end(trial.number, outcome))


def runs(storage: Path) -> tuple[MlflowClient, dict[str, Run]]:
    client, experiment = connect(storage)
    return client, {run.info.run_name: run for run in client.search_runs([experiment])}


def test_a_study_is_a_parent_with_nested_trials_and_curves(fresh: Study, tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    with Tracker(fresh, storage) as tracker:
        run_trial(fresh, tracker, [0.2, 0.5, 0.4], Outcome(State.COMPLETE))
        run_trial(fresh, tracker, [0.1], Outcome(State.PRUNED, "stopped by asha"))
        run_trial(fresh, tracker, [], Outcome(State.FAILED, "Traceback\nValueError: no", Failure.ERROR))
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
    failed = found["trial-2"]
    assert failed.info.status == "FAILED" and failed.data.tags["reason"] == "ValueError: no"
    assert failed.data.tags["failure"] == "error"
    trace = Path(client.download_artifacts(failed.info.run_id, "traceback.txt", str(tmp_path)))
    assert trace.read_text() == "Traceback\nValueError: no"


def test_a_study_that_goes_on_keeps_its_parent(fresh: Study, tmp_path: Path) -> None:
    for _ in range(2):
        with Tracker(fresh, tmp_path / "studies") as tracker:
            run_trial(fresh, tracker, [0.2], Outcome(State.PRUNED))
    _, found = runs(tmp_path / "studies")
    assert sorted(found) == ["squares", "trial-0", "trial-1"]


def dies(study: Study, tracker: Tracker) -> None:
    """A trial runs, another waits, and a third has ended, of which MLflow knows little when the search dies."""
    run_trial(study, tracker, [0.2, 0.3], Outcome(State.PRUNED))
    running, paused = study.writer.ask(), study.writer.ask()
    tracker.trial_started(running)
    for trial in (running, paused):
        study.writer.report(trial.number, 1, {"accuracy": 0.4, "nll": 0.6})
    study.writer.pause(paused.number)
    study.writer.end(study.writer.ask().number, Outcome(State.FAILED, "no"))


def test_a_study_with_anothers_id_has_runs_of_its_own(document: dict[str, Any], tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        made = Study.create(tmp_path / "studies", spec.load({**document, "study": name}), data_summary())
        made.record.set_user_attr("id", "0" * 32)
        runs = Runs(made, tmp_path / "studies")
        finish(made, 1.0, epochs=3)
        for updates in runs.unknown(made.trials()).values():
            runs.write(updates)
        runs.close()
    client, experiment = connect(tmp_path / "studies")
    found = client.search_runs([experiment])
    assert sorted(run.data.tags["hpo.study"] for run in found) == ["mine", "mine", "theirs", "theirs"]
    parents = {run.data.tags["hpo.study"]: run.info.run_id for run in found if run.data.tags["hpo.kind"] == "study"}
    trials = [run.data.tags for run in found if run.data.tags["hpo.kind"] == "trial"]
    assert all(tags["mlflow.parentRunId"] == parents[tags["hpo.study"]] for tags in trials) and len(trials) == 2


def test_what_mlflow_was_not_told_the_next_search_tells_and_nothing_twice(fresh: Study, tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    with Tracker(fresh, storage) as tracker:
        dies(fresh, tracker)
    client, found = runs(storage)
    assert sorted(found) == ["squares", "trial-0", "trial-1"]
    assert found["trial-1"].info.status == "KILLED" and not found["trial-1"].data.metrics
    for _ in range(2):
        with Tracker(Study.open(storage, "squares"), storage) as tracker:
            pass
        assert tracker.problem is None
    client, found = runs(storage)
    assert len(client.search_runs([connect(storage)[1]])) == len(found) == 5
    assert [found[f"trial-{n}"].info.status for n in range(4)] == ["FINISHED", "KILLED", "KILLED", "FAILED"]
    for number, curve in enumerate([[0.2, 0.3], [0.4], [0.4], []]):
        history = client.get_metric_history(found[f"trial-{number}"].info.run_id, "accuracy")
        assert [point.value for point in history] == curve
        assert [point.timestamp for point in history] == [
            int(moment.at * 1000) for moment in fresh.trial(number).reported.values()
        ]


def test_a_trial_that_goes_on_has_one_run(fresh: Study, tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    with Tracker(fresh, storage) as tracker:
        dies(fresh, tracker)
    again = Study.open(storage, "squares")
    with again.hold.searching(), Tracker(again, storage) as tracker:
        for trial in again.writer.unfinished():
            tracker.trial_started(trial)
        again.writer.report(1, 2, {"accuracy": 0.7, "nll": 0.3})
        tracker.trial_reported(1, 2, {"accuracy": 0.7, "nll": 0.3})
        tracker.trial_ended(again.writer.end(1, Outcome(State.COMPLETE)))
    client, found = runs(storage)
    assert len(client.search_runs([connect(storage)[1]])) == 5
    assert (found["trial-1"].info.status, found["trial-2"].info.status) == ("FINISHED", "KILLED")
    history = client.get_metric_history(found["trial-1"].info.run_id, "accuracy")
    assert [(point.step, point.value) for point in history] == [(1, 0.4), (2, 0.7)]


def test_an_outage_is_made_good(fresh: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.tracking.writer._PAUSE_SECONDS", 0.05)
    monkeypatch.setattr("hpo.tracking.writer._GATHER_SECONDS", 0.05)
    storage = tmp_path / "studies"
    down, calls = threading.Event(), []
    write = Runs.write

    def unsure(self: Runs, updates: Update) -> None:
        calls.append(updates.number)
        if down.is_set():
            raise ConnectionError("no route")
        write(self, updates)

    monkeypatch.setattr(Runs, "write", unsure)
    with Tracker(fresh, storage) as tracker:
        run_trial(fresh, tracker, [0.1], Outcome(State.PRUNED))
        while not calls:
            time.sleep(0.01)
        down.set()
        for value in (0.2, 0.3):
            run_trial(fresh, tracker, [value, value], Outcome(State.COMPLETE))
        told = len(calls)
        while len(calls) < told + 3:
            time.sleep(0.01)
        down.clear()
    assert tracker.problem is None
    _, found = runs(storage)
    assert {name: run.info.status for name, run in found.items() if name != "squares"} == dict.fromkeys(
        ("trial-0", "trial-1", "trial-2"), "FINISHED"
    )


def test_records_that_are_refused_do_not_hold_the_others_up(
    fresh: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.tracking.writer._PAUSE_SECONDS", 0.01)
    write = Runs.write

    def picky(self: Runs, updates: Update) -> None:
        if updates.number == 0:
            raise ValueError("not this one")
        write(self, updates)

    monkeypatch.setattr(Runs, "write", picky)
    with Tracker(fresh, tmp_path / "studies") as tracker:
        for _ in range(3):
            run_trial(fresh, tracker, [0.1], Outcome(State.PRUNED))
    assert tracker.problem is not None and tracker.problem.startswith("MLflow lacks 3 records of this search: not this")
    assert sorted(runs(tmp_path / "studies")[1]) == ["squares", "trial-1", "trial-2"]


def test_a_broken_store_is_told_at_the_end_and_stops_nothing(
    fresh: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.tracking.writer._PAUSE_SECONDS", 0.0)
    (tmp_path / "studies" / "mlflow.db").write_text("this is no database")
    with Tracker(fresh, tmp_path / "studies") as tracker:
        run_trial(fresh, tracker, [0.2], Outcome(State.PRUNED))
    assert tracker.problem is not None and tracker.problem.startswith("MLflow lacks 3 records of this search: ")
    assert fresh.trial(0).state is State.PRUNED


def test_names_that_mlflow_refuses_cost_no_metric(fresh: Study, tmp_path: Path) -> None:
    with Tracker(fresh, tmp_path / "studies") as tracker:
        run_trial(fresh, tracker, [0.2], Outcome(State.PRUNED), {"hit@10": 0.5, "f1(macro)": 0.25})
    assert tracker.problem is None
    _, found = runs(tmp_path / "studies")
    assert found["trial-0"].data.metrics == {
        "accuracy": 0.2,
        "best_accuracy": 0.2,
        "nll": 0.8,
        "hit_10": 0.5,
        "f1_macro_": 0.25,
    }


@pytest.mark.parametrize("folder", ["my%20project", "a?b#c", "plain"])
def test_a_storage_is_a_path_and_no_uri(folder: str, document: dict[str, Any], tmp_path: Path) -> None:
    storage = tmp_path / folder / "studies"
    study = Study.create(storage, spec.load(document), data_summary())
    with Tracker(study, storage) as tracker:
        run_trial(study, tracker, [], Outcome(State.FAILED, "Traceback", Failure.ERROR))
    if folder != "plain" and sqlalchemy.make_url("sqlite:///%25").database == "%25":  # SQLAlchemy before 2.1
        assert tracker.problem is not None and "install 'sqlalchemy>=2.1', take another storage" in tracker.problem
        assert sorted(path.name for path in storage.iterdir()) == ["squares"]
        return
    assert tracker.problem is None
    client, found = runs(storage)
    assert [file.path for file in client.list_artifacts(found["squares"].info.run_id)] == ["spec.yaml"]
    assert sorted(path.name for path in storage.iterdir()) == ["mlflow-artifacts", "mlflow.db", "squares"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder, "squares.npz"])


def no_database(storage: Path) -> str:
    (storage / "mlflow.db").write_text("this is no database")
    return f"'{storage}/mlflow.db' cannot be read as MLflow's database: file is not a database; move it away"


def a_folder(storage: Path) -> str:
    (storage / "mlflow.db").mkdir()
    return f"'{storage}/mlflow.db' is a folder, and MLflow's database would be there; move it away"


def deleted(storage: Path) -> str:
    client, experiment = connect(storage)
    client.delete_experiment(experiment)
    return f"its experiment 'hpo' was deleted; `mlflow experiments restore --experiment-id {experiment}` with MLFLOW_"


@pytest.mark.parametrize("spoil", [no_database, a_folder, deleted])
def test_what_no_other_try_mends_is_told_at_once_and_once(
    spoil: Callable[[Path], str], fresh: Study, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    storage, said = tmp_path / "studies", list[str]()
    reason = spoil(storage)
    capfd.readouterr()
    started = time.monotonic()
    with Tracker(fresh, storage, said.append) as tracker:
        run_trial(fresh, tracker, [0.2], Outcome(State.PRUNED))
        while not said:
            time.sleep(0.01)
        run_trial(fresh, tracker, [0.3], Outcome(State.PRUNED))
    assert time.monotonic() - started < PATIENCE / 4
    assert len(said) == 1 and said[0].startswith(f"MLflow is left out of this search: {reason}")
    assert tracker.problem is not None and tracker.problem.startswith(
        f"MLflow lacks 6 records of this search: {reason}"
    )
    assert capfd.readouterr() == ("", "")


def test_a_database_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(tmp_path)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and not (mode & os.W_OK))
    with pytest.raises(Unusable, match=f"'{tmp_path}/mlflow.db' cannot be written by this user"):
        connect(tmp_path)


def test_a_locked_database_is_one_line_and_told_later(
    fresh: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hpo.tracking.writer._PAUSE_SECONDS", 0.05)
    monkeypatch.setattr("hpo.tracking.store._LOCKED_SECONDS", 0.05)
    storage, said = tmp_path / "studies", list[str]()
    connect(storage)
    capfd.readouterr()
    other = sqlite3.connect(storage / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    with Tracker(fresh, storage, said.append) as tracker:
        run_trial(fresh, tracker, [0.2], Outcome(State.PRUNED))
        while not said:
            time.sleep(0.01)
        other.rollback()
        other.close()
    assert tracker.problem is None
    assert said == ["MLflow cannot be told: database is locked; the search goes on, and tells it later."]
    assert sorted(runs(storage)[1]) == ["squares", "trial-0"]
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_is_one_line(
    fresh: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """SQLite itself says so where no page may be added."""
    monkeypatch.setattr("hpo.tracking.writer._PAUSE_SECONDS", 0.01)
    storage, said = tmp_path / "studies", list[str]()
    connect(storage)
    capfd.readouterr()

    def full(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", full)
    try:
        with Tracker(fresh, storage, said.append) as tracker:
            for _ in range(3):
                run_trial(fresh, tracker, [0.2], Outcome(State.FAILED, "no" * 3000))
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", full)
    assert said == ["MLflow cannot be told: database or disk is full; the search goes on, and tells it later."]
    assert tracker.problem is not None and "database or disk is full; the study has them" in tracker.problem
    assert capfd.readouterr() == ("", "")


def test_neither_hard_nor_symbolic_links_are_needed(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on exFAT and some network mounts."""

    def none(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    monkeypatch.setattr(os, "symlink", none)
    storage = tmp_path / "studies"
    study = Study.create(storage, spec.load(document), data_summary())
    with study.hold.searching(), Tracker(study, storage) as tracker:
        run_trial(study, tracker, [0.2], Outcome(State.PRUNED))
    assert tracker.problem is None
    assert sorted(runs(storage)[1]) == ["squares", "trial-0"]
    assert Study.open(storage, "squares").trial(0).value == 0.2


def test_the_users_tracking_uri_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert tracking_uri(tmp_path) == "http://127.0.0.1:9"


def test_an_empty_database_is_filled(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    client, experiment = connect(tmp_path)
    assert client.get_experiment(experiment).name == "hpo"


def test_a_database_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is killed while MLflow makes its tables leaves no file that could never be used."""
    seen: list[list[str]] = []
    search = MlflowClient.search_experiments

    def killed(self: MlflowClient, **arguments: Any) -> Any:
        search(self, **arguments)
        seen.append(sorted(path.suffix for path in tmp_path.iterdir()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "search_experiments", killed)
        with pytest.raises(KeyboardInterrupt):
            connect(tmp_path)
    assert len(seen[0]) == 1 and not (tmp_path / "mlflow.db").exists()
    client, experiment = connect(tmp_path)
    assert client.get_experiment(experiment).name == "hpo"
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
