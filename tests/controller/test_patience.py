"""Trials that end where they get no better."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo
from hpo import spec
from hpo.controller.patience import stalled
from hpo.errors import SpecError
from hpo.history import history_of
from hpo.history.measured import Yardstick
from hpo.samplers.curve_arrays import curves_of
from hpo.samplers.curve_model import Inputs
from hpo.spec import Config
from hpo.spec.dimension import distribution
from hpo.study.study import Study
from hpo.study.trial import Metrics, State, TrialRecord

EPOCHS = 20


def document(patience: int | None = 3, min_delta: float = 0.0, **changes: Any) -> dict[str, Any]:
    return {
        "study": "patient",
        "training": {"epochs": EPOCHS, **({} if patience is None else {"patience": patience, "min_delta": min_delta})},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": "none",
        "budget": {"trials": 12},
        **changes,
    }


def curve(config: Config, epoch: int) -> tuple[Metrics, float]:
    """Falls until epoch 15 x, then rises."""
    return {"loss": 1 + abs(epoch - 15 * config["x"]) / 15 + config["x"], "size": config["x"]}, 1.0


def record(losses: list[float], **settings: Any) -> TrialRecord:
    reports = {epoch: {"loss": loss} for epoch, loss in enumerate(losses, start=1)}
    return TrialRecord(0, State.RUNNING, {}, reports, spec.load_search(document(**settings)))


@pytest.mark.parametrize(
    ("losses", "settings", "ends"),
    [
        ([3, 2, 1], {}, False),
        ([1, 2, 2, 2], {}, True),
        ([1, 2, 2], {}, False),
        ([1, 1, 1, 1], {}, True),
        ([3, 2.95, 2.9, 2.85], {"min_delta": 0.2}, True),
        ([3, 2.9, 2.8, 2.7], {"min_delta": 0.2}, False),
        ([1, 2, 2, 2, 2, 2], {"patience": None}, False),
        ([math.nan, 5, 4, 6], {}, False),
        ([], {}, False),
    ],
)
def test_it_ends_after_so_many_epochs_without_a_better_value(
    losses: list[float], settings: dict[str, Any], ends: bool
) -> None:
    assert stalled(record(losses, **settings)) is ends


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 8), st.floats(0, 2))
def test_it_is_what_a_plain_count_says(losses: list[float], patience: int, min_delta: float) -> None:
    best, waited = math.inf, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best - min_delta else (best, waited + 1)
    assert stalled(record(losses, patience=patience, min_delta=min_delta)) == (waited >= patience)


def test_with_several_objectives_each_counts() -> None:
    both = [{"metric": "loss", "goal": "minimize"}, {"metric": "size", "goal": "minimize"}]
    read = spec.load_search(document(objective=both, scheduler="none"))
    reports = {epoch: {"loss": 1.0, "size": size} for epoch, size in enumerate([5, 5, 4, 4, 4], start=1)}
    assert not stalled(TrialRecord(0, State.RUNNING, {}, reports, read))
    reports[6] = {"loss": 1.0, "size": 4.0}
    assert stalled(TrialRecord(0, State.RUNNING, {}, reports, read))


PAUSING = {"name": "ray.tune.schedulers:HyperBandScheduler", "max_t": EPOCHS}
SCHEDULERS = [
    "none",
    "asha",
    "hyperband",
    "freeze_thaw",
    "asha_stop",
    "median",
    {"name": "pbt", "interval": 5},
    PAUSING,
]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
def test_such_a_trial_is_complete_and_says_so_under_every_scheduler(scheduler: Any) -> None:
    sampler = "curves" if scheduler == "freeze_thaw" else "random"
    study = hpo.simulate(document(scheduler=scheduler, sampler=sampler), curve, workers=3).study
    settled = [trial for trial in study.trials() if trial.settled is not None]
    assert settled
    for trial in settled:
        assert trial.state is State.COMPLETE and trial.settled == EPOCHS and trial.epoch < EPOCHS
        assert trial.reason == "no better for 3 epochs" and stalled(trial)
    for trial in study.trials():
        assert trial.state in (State.COMPLETE, State.PRUNED)
        assert all(not stalled(before) for before in earlier(trial))


def earlier(trial: TrialRecord) -> list[TrialRecord]:
    """A trial as it was before its last report."""
    reports = {epoch: metrics for epoch, metrics in trial.reports.items() if epoch < trial.epoch}
    return [TrialRecord(0, State.RUNNING, {}, reports, trial.spec)] if reports else []


def test_samplers_compare_it_with_those_that_were_trained_in_full() -> None:
    study = hpo.simulate(document(), curve).study
    yardstick = Yardstick(tuple(study.record.directions))
    for frozen, trial in zip(study.record.get_trials(), study.trials(), strict=True):
        measured = yardstick.measure(frozen)
        assert measured is not None and trial.value is not None
        assert measured.reached == EPOCHS and measured.epochs[-1] == trial.epoch
        worth = measured.at(EPOCHS)
        assert worth is not None and worth.costs == (trial.value,)


def test_the_model_of_the_curves_is_told_what_was_trained_and_no_more() -> None:
    study = hpo.simulate(document(sampler="curves", scheduler="freeze_thaw"), curve).study
    history = history_of(study.record, Yardstick(tuple(study.record.directions)))
    distributions = {name: distribution(it) for name, it in study.spec.parameters.items()}
    curves = curves_of(history, Inputs(distributions), (2, 5, 10, EPOCHS))
    settled = [trial for trial in study.trials() if trial.settled is not None]
    assert settled
    for trial in settled:
        assert curves.reached[trial.number] == trial.epoch == np.nanmax(curves.epochs[trial.number])
        assert np.nanmin(curves.costs[trial.number]) == trial.value


@pytest.mark.parametrize("sampler", ["curves", "tpe", "evolution", "portfolio"])
def test_a_search_finds_the_same_as_one_without_for_fewer_epochs(sampler: str) -> None:
    scheduler = "freeze_thaw" if sampler == "curves" else "asha"
    whole, less = (
        hpo.simulate(document(patience, sampler=sampler, scheduler=scheduler, budget={"trials": 24}), curve).study
        for patience in (None, 3)
    )
    best, other = whole.best(), less.best()
    assert best is not None and other is not None and best.value is not None and other.value is not None
    assert other.value <= best.value + 0.15
    assert less.spent().epochs < whole.spent().epochs


def test_a_search_that_was_killed_after_the_report_ends_it_there() -> None:
    from hpo import samplers
    from hpo.controller import Controller

    study = Study.in_memory(spec.load_search(document()))
    study.writer.use(samplers.build(study.spec, 0))
    trial = study.writer.ask()
    for epoch in range(1, 5):
        study.writer.report(trial.number, epoch, {"loss": 1.0})
    Controller(study, study.spent().left(study.spec.budget), lambda: 1, until=lambda: None)
    assert study.trial(trial.number).settled == EPOCHS


def test_a_warm_start_takes_it_as_it_is() -> None:
    first = hpo.simulate(document(), curve, storage="studies").study
    again = Study.create(Path("studies"), spec.load_search(document(study="next")), earlier=first)
    assert [trial.settled for trial in again.trials()] == [trial.settled for trial in first.trials()]
    assert {trial.state for trial in again.trials()} == {State.COMPLETE}


def test_it_is_no_parameter() -> None:
    searched = {"training.patience": {"type": "int", "min": 1, "max": 5}}
    read = {"study": "a", "data": "digits", "model": "mlp", "parameters": searched}
    with pytest.raises(SpecError, match=r"training.patience: cannot be searched: it says when any trial is at its end"):
        spec.load(read)


@pytest.mark.parametrize(("key", "value"), [("patience", 0), ("patience", 1.5), ("min_delta", -1)])
def test_values_that_make_no_sense_are_refused(key: str, value: float) -> None:
    with pytest.raises(SpecError, match=f"training.{key}: must be"):
        spec.load_search(document(training={"epochs": 5, key: value}))


def test_under_ray_it_leaves_its_best_epoch(document_of_squares: dict[str, Any], ray_cluster: None) -> None:
    study = hpo.search({**document_of_squares, "training": {"epochs": 6, "patience": 1, "min_delta": 5}}).study
    for trial in study.trials():
        assert (trial.state, trial.epoch, trial.settled) == (State.COMPLETE, 2, 6)
        stored = study.artifacts.read(trial.number)
        assert stored is not None and stored.epoch == trial.best_epoch


@pytest.fixture
def document_of_squares(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.getfixturevalue("document")
    return {**found, "scheduler": "none", "budget": {"trials": 2}}
