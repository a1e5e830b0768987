"""Searches by the caller's own loop."""

import errno
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo import Decision
from hpo.errors import HpoError, InputError, StudyError, TrainingError
from hpo.spec import Config
from hpo.study.study import Study
from hpo.study.trial import State
from tests.conftest import ROOT

EPOCHS = 9


def document(**changes: Any) -> dict[str, Any]:
    return {
        "study": "own",
        "training": {"epochs": EPOCHS},
        "parameters": {"x": {"min": 0, "max": 1}, "kind": {"values": ["plain", "deep"]}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "budget": {"trials": 50},
        **changes,
    }


def loss(config: Config, epoch: int) -> float:
    return float((config["x"] - 0.3) ** 2 + (config["kind"] == "plain") + 1 / epoch)


def simulated(**changes: Any) -> list[tuple[Config, State, list[int]]]:
    """What a simulation with one worker does."""
    curve = lambda config, epoch: ({"loss": loss(config, epoch)}, 1.0)  # noqa: E731
    return found(hpo.simulate(document(**changes), curve, workers=1).study)


def found(study: Study) -> list[tuple[Config, State, list[int]]]:
    return [(dict(trial.config), trial.state, list(trial.reports)) for trial in study.trials()]


def train_all(search: Any, most: int = 10**9) -> int:
    """Trains whatever it is given, as a plain loop does; returns the number of reports."""
    reports = 0
    while (trial := search.ask()) is not None:
        for epoch in range(trial.epoch + 1, search.epochs + 1):
            reports += 1
            if reports >= most:
                os.kill(os.getpid(), signal.SIGKILL)
            if search.report(trial, epoch, {"loss": loss(trial.config, epoch)}) is not Decision.CONTINUE:
                break
    return reports


SEARCHES = [
    {"sampler": "tpe", "scheduler": "asha"},
    {"sampler": "curves", "scheduler": "freeze_thaw"},
    {"sampler": "random", "scheduler": "hyperband"},
    {"sampler": "random", "scheduler": {"name": "pbt", "interval": 3}, "budget": {"trials": 8}},
    {"sampler": "tpe", "scheduler": "median"},
]


@pytest.mark.parametrize("changes", SEARCHES, ids=lambda changes: str(changes["scheduler"]))
def test_a_plain_loop_is_given_what_a_simulation_with_one_worker_is(changes: dict[str, Any]) -> None:
    with hpo.ask_and_tell(document(**changes), storage=None) as search:
        train_all(search)
        assert search.over and search.ask() is None
    assert found(search.study) == simulated(**changes)


@pytest.mark.parametrize("changes", SEARCHES[:2], ids=lambda changes: str(changes["scheduler"]))
def test_a_loop_that_is_killed_at_any_moment_goes_on(changes: dict[str, Any]) -> None:
    whole = simulated(**changes)
    most = random.randrange(1, sum(len(reports) for *_, reports in whole))
    script = (
        "import hpo, tests.searching.test_ask_tell as own\n"
        f"with hpo.ask_and_tell(own.document(**{changes!r})) as search:\n"
        f"    own.train_all(search, {most})\n"
    )
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", script], env=path, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sum(len(reports) for *_, reports in found(Study.open(Path("studies"), "own"))) == most - 1
    with hpo.ask_and_tell(document(**changes)) as search:
        train_all(search)
    assert found(search.study) == whole, f"killed after {most} reports"


def test_mlflow_is_told() -> None:
    with hpo.ask_and_tell(document(budget={"trials": 3}, scheduler="none", sampler="random")) as search:
        train_all(search)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('studies/mlflow.db').absolute()}")  # MLflow keeps a store by its URI
    runs = client.search_runs([found.experiment_id for found in client.search_experiments()])
    values = {run.data.metrics["loss"] for run in runs if "loss" in run.data.metrics}
    assert len(runs) == 4 and all(run.info.status == "FINISHED" for run in runs)
    assert values == {trial.reports[EPOCHS]["loss"] for trial in search.study.trials()}


def test_a_result_alone_is_told_of_a_trial_that_has_no_epochs() -> None:
    with hpo.ask_and_tell(document(training={"epochs": 1}, budget={"trials": 12}), storage=None) as search:
        while (trial := search.ask()) is not None:
            result = loss(trial.config, 1)
            search.tell(trial, result if trial.number % 2 else {"loss": result, "seconds": 1.0})
        assert search.best is not None and search.best.value == min(t.value for t in search.study.trials() if t.value)
    assert {trial.state for trial in search.study.trials()} == {State.COMPLETE}


def test_a_study_goes_on_with_other_rules_for_failures() -> None:
    """They are of the command that runs, like the budget."""
    for retries, given in ((0, 1), (3, 4)):
        with hpo.ask_and_tell(document(failures={"max_retries": retries}, scheduler="none")) as search:
            numbers = []
            for _ in range(given):
                trial = search.ask()
                assert trial is not None
                numbers.append(trial.number)
                search.tell(trial, error="no")
            assert len(set(numbers)) == 1
            assert search.study.trial(numbers[0]).state is State.FAILED


def test_a_full_disk_is_told_and_is_no_trials_fault() -> None:
    with hpo.ask_and_tell(document(), storage=None) as search:
        trial = search.ask()
        assert trial is not None
        search.tell(trial, error=OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(HpoError, match=r"a disk is full, so the search has ended: .* then the same loop goes on"):
            search.ask()
    assert search.study.trial(trial.number).state is State.RUNNING


def test_a_trial_that_fails_is_given_again_as_often_as_the_rules_say() -> None:
    rules = {"max_retries": 1, "max_failures": 3}
    with hpo.ask_and_tell(document(failures=rules, scheduler="none"), storage=None) as search:
        given = []
        with pytest.raises(HpoError, match="the last 3 trials failed one after another.*OSError: no"):
            while (trial := search.ask()) is not None:
                given.append(trial.number)
                search.tell(trial, error=OSError("no"))
    assert given == [0, 0, 1, 1, 2, 2]
    assert {trial.state for trial in search.study.trials()} == {State.FAILED}


def test_a_trial_that_paused_may_be_trained_again_from_its_beginning() -> None:
    changes: dict[str, Any] = {"sampler": "random", "scheduler": "asha"}
    with hpo.ask_and_tell(document(**changes), storage=None) as search:
        while (trial := search.ask()) is not None:
            for epoch in range(1, EPOCHS + 1):
                if search.report(trial, epoch, {"loss": loss(trial.config, epoch)}) is not Decision.CONTINUE:
                    break
    assert found(search.study) == simulated(**changes)


def test_a_plus_is_so_many_more_than_the_study_has() -> None:
    for trials, wanted in ((2, 2), ("+3", 5)):
        with hpo.ask_and_tell(document(sampler="random", scheduler="none"), trials=trials) as search:
            train_all(search)
        assert len(search.study.trials()) == wanted


def test_threads_share_a_search() -> None:
    def work(search: Any) -> int:
        return train_all(search)

    with (
        hpo.ask_and_tell(document(sampler="random", scheduler="asha"), workers=3, storage=None) as search,
        ThreadPoolExecutor(3) as pool,
    ):
        sum(pool.map(work, [search] * 3))
        train_all(search)  # where a thread has found nothing to do while the others were training
        assert search.over
    assert len(search.study.trials()) == 50
    assert all(reports == list(range(1, len(reports) + 1)) for *_, reports in found(search.study))


def test_an_error_in_the_loop_leaves_a_study_that_goes_on() -> None:
    with pytest.raises(ZeroDivisionError), hpo.ask_and_tell(document()) as search:
        search.report(search.ask() or 0, 1, {"loss": 1 / 0})
    assert [trial.state for trial in Study.open(Path("studies"), "own").trials()] == [State.RUNNING]
    with hpo.ask_and_tell(document(), trials=2) as search:
        trial = search.ask()
        assert trial is not None and (trial.number, trial.epoch) == (0, 0)


def test_a_budget_of_epochs_or_of_time_ends_it() -> None:
    with hpo.ask_and_tell(document(sampler="random", scheduler="none"), epochs=20, storage=None) as search:
        assert train_all(search) == 20 and search.over
    assert not any(trial.state in (State.RUNNING, State.PAUSED) for trial in search.study.trials())
    with hpo.ask_and_tell(document(), time_limit=1e-9, storage=None) as search:
        assert search.ask() is None and search.over


@pytest.mark.parametrize(
    ("epoch", "metrics", "message"),
    [
        (0, {"loss": 1.0}, "epoch must be a whole number from 1 to 9 for trial 0, got 0"),
        (10, {"loss": 1.0}, "from 1 to 9 for trial 0, got 10"),
        (True, {"loss": 1.0}, "got True"),
        ("1", {"loss": 1.0}, "got '1'"),
        (1, {"lost": 1.0}, "reported no 'loss' at epoch 1.*Did you mean 'lost'"),
        (1, {"loss": "low"}, "as 'loss' at epoch 1.* must be one number"),
    ],
)
def test_what_is_reported_is_held_to_the_rules(epoch: Any, metrics: Any, message: str) -> None:
    with hpo.ask_and_tell(document(), storage=None) as search:
        search.ask()
        with pytest.raises((InputError, TrainingError), match=message):
            search.report(0, epoch, metrics)
        assert not search.study.trial(0).reports


def test_only_trials_that_are_being_trained_are_told_of() -> None:
    with hpo.ask_and_tell(document(training={"epochs": 1}, budget={"trials": 2}), storage=None) as search:
        with pytest.raises(InputError, match="trial 0 is not being trained"):
            search.tell(0, 1.0)
        trial = search.ask()
        assert trial is not None and search.ask() is None and not search.over  # one worker
        with pytest.raises(InputError, match="trial 0 ends without a report"):
            search.tell(trial)
        search.tell(trial, 1.0)
        with pytest.raises(InputError, match="trial 0 is not being trained"):
            search.report(trial, 1, {"loss": 1.0})


def test_what_cannot_be_searched_so_is_refused() -> None:
    trained = {"study": "own", "data": "digits", "model": "mlp", "parameters": {}}
    with pytest.raises(InputError, match="leave `train`, `command`, `data` and `model` out"), hpo.ask_and_tell(trained):
        pass
    with pytest.raises(InputError, match="workers must be at least 1, got 0"), hpo.ask_and_tell(document(), workers=0):
        pass
    with (
        hpo.ask_and_tell(document()),
        pytest.raises(StudyError, match="searched"),
        hpo.ask_and_tell(document()),
    ):
        pass
