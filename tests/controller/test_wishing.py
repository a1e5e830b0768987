"""What other processes wish of a search, fulfilled by its controller."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo import spec
from hpo.controller import Controller, Failed, NothingLeft, Retries, Start, Wait
from hpo.controller import wishing as controller_wishing
from hpo.errors import StudyError
from hpo.schedulers import Decision
from hpo.searching import wishing
from hpo.spec import Config
from hpo.study.study import Study
from hpo.study.trial import Failure, Metrics, State, TrialRecord
from hpo.study.wishes import RetryTrial, StopSearch, StopTrial, TryConfig

EPOCHS = 8


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search looks whenever it can: virtual time is short."""
    monkeypatch.setattr(controller_wishing, "_LOOK_SECONDS", 0.0)


def document(**changes: Any) -> dict[str, Any]:
    return {
        "study": "wished",
        "training": {"epochs": EPOCHS},
        "parameters": {"x": {"min": 0, "max": 1}, "kind": {"values": ["plain", "deep"]}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": "asha",
        "budget": {"trials": 12},
        **changes,
    }


def curve(config: Config, epoch: int) -> tuple[Metrics, float]:
    return {"loss": config["x"] + 1 / epoch}, 1.0


class When(hpo.Callback):
    """Does something once, at a report of a trial."""

    def __init__(self, number: int, epoch: int, act: Callable[[Study], object]) -> None:
        self.at, self.act = (number, epoch), act
        self.reason = ""

    def on_report(self, study: Study, trial: TrialRecord, epoch: int, metrics: Metrics) -> None:
        if (trial.number, epoch) == self.at:
            self.act(study)

    def on_search_end(self, study: Study, reason: str) -> None:
        self.reason = reason


STORAGES = pytest.mark.parametrize("storage", [None, "studies"])


# ---- a config that is tried next -------------------------------------------------------------------------------------


@STORAGES
@pytest.mark.parametrize(
    "scheduler", ["none", "asha", "freeze_thaw", "median", {"name": "pbt", "interval": 2}], ids=str
)
def test_a_config_is_tried_next_by_a_search_that_runs(scheduler: Any, storage: str | None) -> None:
    sampler = "curves" if scheduler == "freeze_thaw" else "random"
    begun: list[int] = []

    def wish(study: Study) -> None:
        begun.append(len(study.trials()))
        wishing.enqueue(study, {"x": 0.125})

    space = document(scheduler=scheduler, sampler=sampler)
    study = hpo.simulate(space, curve, workers=2, storage=storage, callbacks=[When(1, 1, wish)]).study
    (tried,) = [trial for trial in study.trials() if trial.config["x"] == 0.125]
    assert tried.number == begun[0] and tried.config["kind"] in ("plain", "deep")
    assert sum(trial.is_paid for trial in study.trials()) == 12
    assert study.wishes.waiting() == {}


@STORAGES
def test_several_are_tried_in_their_order(storage: str | None) -> None:
    def wish(study: Study) -> None:
        for x in (0.5, 0.25, 0.125):
            wishing.enqueue(study, {"x": x, "kind": "deep"})

    callbacks = [When(0, 1, wish)]
    study = hpo.simulate(document(), curve, workers=1, storage=storage, callbacks=callbacks).study
    assert [trial.config for trial in study.trials()[1:4]] == [{"x": x, "kind": "deep"} for x in (0.5, 0.25, 0.125)]


def test_the_next_search_tries_what_was_wished_before_it_and_the_default_first() -> None:
    space = document(parameters={"x": {"min": 0, "max": 1, "default": 0.75}})
    study = Study.create(Path("studies"), spec.load_search(space))
    wishing.enqueue(study, {"x": 0.25})
    found = hpo.simulate(space, curve, workers=1, storage="studies").study.trials()
    assert [trial.config["x"] for trial in found[:2]] == [0.75, 0.25] and len(found) == 12


def test_a_budget_that_is_spent_waits_for_more() -> None:
    study = hpo.simulate(document(), curve, storage="studies").study
    wishing.enqueue(study, {"x": 0.25})
    again = hpo.simulate(document(), curve, storage="studies").study
    assert len(again.trials()) == 12 and len(again.wishes.waiting()) == 1
    more = hpo.simulate(document(budget={"trials": 13}), curve, storage="studies").study
    assert more.trials()[12].config["x"] == 0.25 and more.wishes.waiting() == {}


def test_a_space_that_is_used_up_takes_one_again() -> None:
    space = document(parameters={"x": {"values": [0.1, 0.2]}})
    study = hpo.simulate(space, curve, storage="studies").study
    had = [trial.config["x"] for trial in study.trials()]
    wishing.enqueue(study, {"x": 0.1})
    again = hpo.simulate(space, curve, storage="studies").study
    assert sorted(had) == [0.1, 0.2] and [trial.config["x"] for trial in again.trials()] == [*had, 0.1]


def test_one_that_is_taken_back_is_not_tried() -> None:
    study = Study.in_memory(spec.load_search(document()))
    controller = controller_of(study)
    study.wishes.leave(TryConfig({"x": 0.5}))
    controller.wishing.look()
    study.wishes.remove(next(iter(study.wishes.waiting())))
    order = controller.next()
    assert isinstance(order, Start) and order.trial.config["x"] != 0.5


def test_a_search_that_died_before_it_removed_the_wish_does_not_try_it_twice() -> None:
    study = Study.in_memory(spec.load_search(document()))
    study.wishes.leave(TryConfig({"x": 0.5}))
    (name,) = study.wishes.waiting()
    controller_of(study)
    study.writer.try_config({"x": 0.5}, name)
    again = controller_of(study)
    while isinstance(again.next(), Start):
        pass
    assert sum(trial.config["x"] == 0.5 for trial in study.trials()) == 1 and study.wishes.waiting() == {}


def controller_of(study: Study, slots: int = 3, **options: Any) -> Controller:
    from hpo import samplers

    study.writer.use(samplers.build(study.spec, len(study.trials())))
    retries = Retries(study.spec.failures, delay=0.0)
    left = study.spent().left(study.spec.budget)
    return Controller(study, left, lambda: slots, retries=retries, until=lambda: None, **options)


# ---- one trial that stops --------------------------------------------------------------------------------------------


@STORAGES
@pytest.mark.parametrize("scheduler", ["none", "asha", "freeze_thaw", {"name": "pbt", "interval": 3}], ids=str)
def test_one_trial_stops_at_its_next_report_and_the_search_goes_on(scheduler: Any, storage: str | None) -> None:
    sampler = "curves" if scheduler == "freeze_thaw" else "random"
    space = document(scheduler=scheduler, sampler=sampler)
    callbacks = [When(1, 1, lambda study: wishing.stop(study, 1))]
    study = hpo.simulate(space, curve, workers=2, storage=storage, callbacks=callbacks).study
    stopped = study.trial(1)
    assert (stopped.state, stopped.reason) == (State.PRUNED, "stopped by the user") and stopped.epoch <= 2
    assert sum(trial.is_paid for trial in study.trials()) == 12 and study.wishes.waiting() == {}


def test_a_paused_one_is_dropped_at_once_and_one_that_is_lost_never_restarts() -> None:
    study = Study.in_memory(spec.load_search(document(scheduler={"name": "asha", "grace": 1, "eta": 3})))
    controller = controller_of(study)
    numbers = [order.trial.number for _ in range(3) if isinstance(order := controller.next(), Start)]
    for number in numbers:
        assert controller.report(number, 1, {"loss": float(number)}) is Decision.PAUSE
    study.wishes.leave(StopTrial(2))
    controller.next()
    assert study.trial(2).state is State.PAUSED  # its state is being stored
    controller.stored(2)
    controller.next()
    assert study.trial(2).reason == "stopped by the user"
    again = controller_of(study)
    study.wishes.leave(StopTrial(0))
    again.next()
    assert study.trial(0).reason == "stopped by the user"


def test_the_next_search_ends_one_that_nobody_trains_now() -> None:
    def leave(study: Study) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hpo.simulate(document(), curve, workers=2, storage="studies", callbacks=[When(1, 1, leave)])
    study = Study.open(Path("studies"), "wished")
    assert wishing.stop(study, 0) is None
    found = hpo.simulate(document(), curve, storage="studies").study
    assert found.trial(0).reason == "stopped by the user"
    with pytest.raises(StudyError, match="trial 0 of study 'wished' has ended already: it is pruned"):
        wishing.stop(found, 0)
    with pytest.raises(StudyError, match="has no trial 99"):
        wishing.stop(found, 99)
    with pytest.raises(StudyError, match="nobody searches study 'wished' now, so there is nothing to stop"):
        wishing.stop(found)


def test_one_that_ends_or_fails_before_it_stops_leaves_no_wish_behind() -> None:
    rules = {"max_retries": 3}
    study = Study.in_memory(spec.load_search(document(scheduler="none", failures=rules)))
    controller = controller_of(study)
    assert isinstance(controller.next(), Start) and isinstance(controller.next(), Start)
    for number in (0, 0, 1):
        study.wishes.leave(StopTrial(number))
    controller.wishing.look()
    assert len(study.wishes.waiting()) == 2  # one was wished twice
    controller.ended(0, Failed(Failure.ERROR, "no"))
    controller.ended(1, Failed(Failure.ERROR, "no"))
    controller.wishing.look()
    assert study.wishes.waiting() == {}
    assert [study.trial(number).reason for number in (0, 1)] == ["stopped by the user"] * 2


def test_one_that_repeats_epochs_stops_too() -> None:
    study = Study.in_memory(spec.load_search(document(scheduler="none")))
    controller = controller_of(study)
    assert isinstance(controller.next(), Start)
    for epoch in (1, 2):
        controller.report(0, epoch, {"loss": 1.0})
    again = controller_of(study)
    assert isinstance(again.next(), Start)
    study.wishes.leave(StopTrial(0))
    assert again.report(0, 1, {"loss": 1.0}) is Decision.STOP
    assert study.trial(0).reason == "stopped by the user" and study.trial(0).epoch == 2


# ---- the whole search ------------------------------------------------------------------------------------------------


@STORAGES
def test_a_search_stops_and_goes_on_as_if_it_had_not(storage: str | None) -> None:
    whole = hpo.simulate(document(), curve, workers=2).study
    listener = When(1, 1, lambda study: study.wishes.leave(StopSearch(study.hold.this_process)))
    study = hpo.simulate(document(), curve, workers=2, storage=storage, callbacks=[listener]).study
    assert listener.reason == "stopped by the user" and study.live and study.spent().trials < 12
    assert study.wishes.waiting() == {}
    if storage is not None:
        again = hpo.simulate(document(), curve, workers=2, storage=storage).study
        assert [(t.config, t.state, t.reports) for t in again.trials()] == [
            (t.config, t.state, t.reports) for t in whole.trials()
        ]


def test_a_wish_for_another_search_is_not_heeded() -> None:
    study = Study.create(Path("studies"), spec.load_search(document()))
    study.wishes.leave(StopSearch("process 1 on another machine"))
    found = hpo.simulate(document(), curve, storage="studies").study
    assert found.spent().trials == 12 and found.wishes.waiting() == {}


def test_a_loop_of_ones_own_is_given_nothing_more() -> None:
    with hpo.ask_and_tell(document(scheduler="none"), storage=None, workers=2) as search:
        trial = search.ask()
        assert trial is not None and search.report(trial, 1, {"loss": 1.0}) is Decision.CONTINUE
        search.study.wishes.leave(StopSearch(search.study.hold.this_process))
        assert search.report(trial, 2, {"loss": 0.9}) is Decision.PAUSE
        assert search.ask() is None and search.stopped
    assert search.study.trial(trial.number).state is State.RUNNING


# ---- trials that failed ----------------------------------------------------------------------------------------------

BROKEN = {"n": 0}


def breaking(config: Config, epoch: int) -> tuple[Metrics, float]:
    if config["x"] < 0.4 and BROKEN["n"]:
        raise OSError("no disk")
    return curve(config, epoch)


def failed(**changes: Any) -> Study:
    BROKEN["n"] = 1
    try:
        space = document(failures={"max_failures": 99}, **changes)
        return hpo.simulate(space, breaking, workers=2, storage="studies").study
    finally:
        BROKEN["n"] = 0


def test_failed_trials_begin_again_with_their_configs_and_cost_no_trial() -> None:
    study = failed()
    lost = [trial for trial in study.trials() if trial.state is State.FAILED]
    assert lost and study.spent().trials == 12
    assert wishing.retry_failed(study) == [trial.number for trial in lost]
    assert wishing.retry_failed(study) == []  # they wait already
    again = hpo.simulate(document(), curve, workers=2, storage="studies").study
    retries = [trial for trial in again.trials() if trial.retry_of is not None]
    assert {trial.retry_of: trial.config for trial in retries} == {trial.number: trial.config for trial in lost}
    assert all(trial.state in (State.COMPLETE, State.PRUNED) for trial in retries)
    assert again.spent().trials == 12 and len(again.trials()) == 12 + len(lost)
    assert [again.trial(trial.number).state for trial in lost] == [State.FAILED] * len(lost)  # the record stays
    assert wishing.retry_failed(again) == []


def test_one_that_fails_again_may_begin_once_more() -> None:
    study = failed()
    lost = wishing.retry_failed(study)
    study = failed()
    assert [study.trial(number).retry_of for number in wishing.retry_failed(study)] == lost
    hpo.simulate(document(), curve, storage="studies")


def test_a_wish_to_retry_what_has_not_failed_is_dropped() -> None:
    study = Study.create(Path("studies"), spec.load_search(document()))
    for number in (0, 7):
        study.wishes.leave(RetryTrial(number))
    assert len(hpo.simulate(document(), curve, storage="studies").study.trials()) == 12
    assert study.wishes.waiting() == {}


def test_a_population_takes_none_in_later() -> None:
    study = failed(scheduler={"name": "pbt", "interval": 2})
    with pytest.raises(StudyError, match="its scheduler 'pbt' has gone on without the trials that failed"):
        wishing.retry_failed(study)


def test_nothing_is_left_once_all_is_tried() -> None:
    study = Study.in_memory(spec.load_search(document(scheduler="none", budget={"trials": 1})))
    controller = controller_of(study)
    assert isinstance(controller.next(), Start) and isinstance(controller.next(), Wait)
    for epoch in range(1, EPOCHS + 1):
        controller.report(0, epoch, {"loss": 1.0})
    study.wishes.leave(TryConfig({"x": 0.5}))
    assert isinstance(controller.next(), NothingLeft)
