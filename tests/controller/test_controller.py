"""The controller without an engine: whatever an engine may do, mixed at random, and what must hold all the time."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hpo import samplers, spec
from hpo.controller import Controller, Drop, Failed, Late, Lost, NothingLeft, Resume, Retries, SetAside, Start, Wait
from hpo.controller.live_trial import IN_SLOT, Phase
from hpo.schedulers import Decision
from hpo.searching.wishing import retry_failed
from hpo.spec import SearchSpec
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import LIVE, Failure, State
from hpo.study.wishes import StopTrial, TryConfig

EPOCHS, SLOTS = 8, 3
RAYS = {"name": "ray.tune.schedulers:HyperBandScheduler", "max_t": EPOCHS}
"""One that stops paused trials through its controller."""
SCHEDULERS = ["asha", "hyperband", "asha_stop", "median", "none", {"name": "pbt", "interval": 2}, RAYS]


def document(scheduler: Any, trials: int, max_retries: int = 1, **changes: Any) -> SearchSpec:
    return spec.load_search(
        {
            "study": "machine",
            "training": {"epochs": EPOCHS},
            "parameters": {"x": {"min": 0, "max": 1}},
            "objective": {"metric": "loss", "goal": "minimize"},
            "sampler": "random",
            "scheduler": scheduler,
            "budget": {"trials": trials},
            "failures": {"max_retries": max_retries, "max_failures": 100},
            **changes,
        }
    )


def controller_of(study: Study, left: Left, **options: Any) -> Controller:
    study.writer.use(samplers.build(study.spec, len(study.trials())))
    retries = Retries(study.spec.failures, delay=0.0)
    return Controller(study, left, lambda: SLOTS, retries=retries, **options)


def loss(x: float, epoch: int) -> float:
    return round(x, 2) + 1 / epoch


class Engine(RuleBasedStateMachine):
    """An engine that does what it is told, and to which everything may happen."""

    @initialize(
        scheduler=st.sampled_from(SCHEDULERS), trials=st.integers(3, 7), epochs=st.none() | st.integers(EPOCHS, 40)
    )
    def begin(self, scheduler: Any, trials: int, epochs: int | None) -> None:
        self.trials, self.epochs = trials, epochs
        self.study = Study.in_memory(document(scheduler, trials))
        self.training: dict[int, int] = {}
        """Trial that the engine trains -> the last epoch that it has trained."""
        self.storing: set[int] = set()
        self.paused: set[int] = set()
        self.told: set[tuple[int, int]] = set()
        self.failures = 0
        self.over = False
        self.take_up()

    def take_up(self) -> None:
        had = self.study.trials()
        started = sum(trial.is_paid and trial.state not in LIVE for trial in had)
        epochs = None if self.epochs is None else self.epochs - sum(len(trial.reports) for trial in had)
        left = Left(self.trials - started, epochs)
        self.controller = controller_of(self.study, left, until=lambda: None)

    @precondition(lambda self: not self.over)
    @rule()
    def ask(self) -> None:
        match self.controller.next():
            case Start(trial):
                assert trial.number not in self.training and trial.number not in self.paused
                self.training[trial.number] = trial.inherited
            case Resume(number):
                self.paused.remove(number)
                self.training[number] = self.study.trial(number).epoch
            case Drop(number):
                self.paused.remove(number)
                assert self.study.trial(number).state is State.PRUNED
            case NothingLeft():
                assert not self.training and not self.paused and not self.storing
                assert all(trial.state not in LIVE for trial in self.study.trials())
                self.over = True
            case Wait():
                pass

    @precondition(lambda self: self.training)
    @rule(data=st.data())
    def train(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.training)))
        self.training[number] += 1
        epoch, before = self.training[number], self.study.trial(number)
        metrics = {"loss": loss(before.config["x"], epoch)}
        decision = self.controller.report(number, epoch, metrics)
        trial = self.study.trial(number)
        assert trial.reports[epoch] == metrics
        if epoch in before.reports and trial.reason == "stopped by the user":
            assert decision is Decision.STOP
            del self.training[number]
        elif epoch in before.reports:
            assert decision is Decision.CONTINUE and trial.state is before.state
        elif decision is Decision.CONTINUE:
            assert trial.state is State.RUNNING and epoch < EPOCHS
        elif decision is Decision.PAUSE:
            assert trial.state is State.PAUSED
            del self.training[number]
            self.storing.add(number)
        else:
            assert trial.state in (State.PRUNED, State.COMPLETE)
            assert (trial.state is State.COMPLETE) == (epoch == EPOCHS)
            del self.training[number]

    @precondition(lambda self: self.storing)
    @rule(data=st.data())
    def store(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.storing)))
        self.storing.remove(number)
        self.paused.add(number)
        self.controller.stored(number)

    @precondition(lambda self: self.training or self.storing)
    @rule(
        data=st.data(),
        end=st.sampled_from([Lost(), SetAside(), Failed(Failure.ERROR, "it fails"), Failed(Failure.MEMORY, "too big")]),
    )
    def break_down(self, data: st.DataObject, end: Any) -> None:
        number = data.draw(st.sampled_from(sorted({*self.training, *self.storing})))
        self.training.pop(number, None)
        self.storing.discard(number)
        self.controller.ended(number, end)
        assert self.study.trial(number).state in (*LIVE, State.FAILED)

    @precondition(lambda self: self.study.trials())
    @rule(data=st.data())
    def wish_one_to_stop(self, data: st.DataObject) -> None:
        self.study.wishes.leave(StopTrial(data.draw(st.integers(0, len(self.study.trials())))))

    @rule(x=st.sampled_from([0.0, 0.25, 1.0]))
    def wish_a_config(self, x: float) -> None:
        self.study.wishes.leave(TryConfig({"x": x}))
        self.over = False

    @precondition(lambda self: self.study.spec.scheduler.name not in ("pbt", RAYS["name"]))
    @rule()
    def wish_what_failed_again(self) -> None:
        retry_failed(self.study)
        self.over = False

    @rule()
    def kill(self) -> None:
        """The driver is killed and begins again: its engine has nothing of the earlier trials."""
        self.training, self.paused, self.storing = {}, set(), set()
        self.over = False
        self.take_up()

    @invariant()
    def no_trial_is_in_two_phases(self) -> None:
        live = self.controller._live
        by_phase = [live.numbers(phase) for phase in Phase]
        assert sum(map(len, by_phase)) == len(set().union(*by_phase)) == len(live)
        for one in live:
            assert one.number in live.numbers(one.phase)

    @invariant()
    def the_table_is_what_the_study_and_the_engine_have(self) -> None:
        live = self.controller._live
        assert {trial.number for trial in self.study.trials() if trial.state in LIVE} == live.numbers(*Phase)
        assert live.numbers(*IN_SLOT) == set(self.training)
        paused = {trial.number for trial in self.study.trials() if trial.state is State.PAUSED}
        assert paused == live.numbers(Phase.PAUSED, Phase.PAUSED_LOST)
        assert live.numbers(Phase.PAUSED) | set(self.controller._endings.dropped) == self.paused | self.storing

    @invariant()
    def no_budget_is_passed(self) -> None:
        had = self.study.trials()
        assert [trial.number for trial in had] == list(range(len(had)))
        assert sum(trial.is_paid for trial in had) <= self.trials
        retried = [trial.retry_of for trial in had if trial.retry_of is not None]
        assert len(retried) == len(set(retried))
        assert len(self.training) <= SLOTS
        if self.epochs is not None:
            assert sum(len(trial.reports) for trial in had) <= self.epochs

    @invariant()
    def every_epoch_is_recorded_once_and_in_order(self) -> None:
        for trial in self.study.trials():
            assert list(trial.reports) == list(range(trial.inherited + 1, trial.inherited + len(trial.reports) + 1))


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=100, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow])


class Twins(RuleBasedStateMachine):
    """One search is interrupted again and again, and the other one never: both are told and decide the same."""

    @initialize(scheduler=st.sampled_from(SCHEDULERS), epochs=st.none() | st.integers(EPOCHS, 40))
    def begin(self, scheduler: Any, epochs: int | None) -> None:
        self.epochs = epochs
        self.studies = [Study.in_memory(document(scheduler, 6)) for _ in range(2)]
        self.controllers = [self.made(study) for study in self.studies]
        self.training: dict[int, int] = {}
        self.paused: set[int] = set()

    def made(self, study: Study) -> Controller:
        had = study.trials()
        started = sum(not trial.inherited and trial.state not in LIVE for trial in had)
        epochs = None if self.epochs is None else self.epochs - sum(len(trial.reports) for trial in had)
        return controller_of(study, Left(6 - started, epochs), until=lambda: None)

    @rule()
    def ask(self) -> None:
        one, other = (controller.next() for controller in self.controllers)
        assert type(one) is type(other)
        match one, other:
            case Start(trial), Start(twin):
                assert (trial.number, trial.config) == (twin.number, twin.config)
                self.training[trial.number] = trial.inherited
            case (Resume(number), Resume(twin)) | (Drop(number), Drop(twin)):
                assert number == twin
                self.paused.remove(number)
                if isinstance(one, Resume):
                    self.training[number] = self.studies[0].trial(number).epoch

    @precondition(lambda self: self.training)
    @rule(data=st.data())
    def train(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.training)))
        self.training[number] += 1
        epoch = self.training[number]
        metrics = {"loss": loss(self.studies[0].trial(number).config["x"], epoch)}
        one, other = (controller.report(number, epoch, metrics) for controller in self.controllers)
        assert one is other
        if one is not Decision.CONTINUE:
            del self.training[number]
        if one is Decision.PAUSE:
            self.paused.add(number)
            for controller in self.controllers:
                controller.stored(number)

    @precondition(lambda self: not self.controllers[0]._endings.dropped)
    @rule()
    def interrupt(self) -> None:
        self.controllers[0] = self.made(self.studies[0])
        for number in sorted([*self.training, *self.paused]):
            self.controllers[0].adopt(number)


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=100, stateful_step_count=60, suppress_health_check=[HealthCheck.too_slow])


# ---- one by one ------------------------------------------------------------------------------------------------------


def begun(scheduler: Any = "none", trials: int = 4, max_retries: int = 1, **options: Any) -> Controller:
    return controller_of(Study.in_memory(document(scheduler, trials, max_retries)), Left(trials), **options)


def test_a_trial_that_ran_out_of_memory_restarts_alone() -> None:
    controller = begun(max_retries=0)
    assert [controller.next() for _ in range(4)][3] == Wait()
    controller.ended(1, Failed(Failure.MEMORY, "out of memory"))
    assert controller.next() == Wait()  # nothing new beside those that run
    for number in (0, 2):
        controller.ended(number, Failed(Failure.ERROR, "it fails"))
    assert controller.next() == Start(controller.study.trial(1))
    assert controller.next() == Wait()
    controller.ended(1, Failed(Failure.MEMORY, "out of memory"))
    assert controller.study.trial(1).state is State.FAILED
    assert isinstance(controller.next(), Start)


def test_a_trial_may_lose_three_machines() -> None:
    controller = begun(max_retries=0)
    for _ in range(3):
        assert controller.next() == Start(controller.study.trial(0))
        controller.ended(0, Lost())
    assert controller.study.trial(0).state is State.RUNNING
    assert controller.next() == Start(controller.study.trial(0))
    controller.ended(0, Lost())
    assert controller.study.trial(0).failure == Failure.MACHINE.value


def test_a_full_disk_is_no_trials_fault() -> None:
    controller = begun(max_retries=0)
    controller.next()
    controller.ended(0, Failed(Failure.ERROR, "OSError: [Errno 28] No space left on device"))
    assert controller.trouble.full is not None and controller.trouble and controller.next() == Wait()
    assert controller.study.trial(0).state is State.RUNNING


def test_what_has_ended_may_be_told_again() -> None:
    controller = begun()
    controller.next()
    for epoch in range(1, EPOCHS + 1):
        decision = controller.report(0, epoch, {"loss": 1 / epoch})
    assert decision is Decision.STOP and controller.study.trial(0).state is State.COMPLETE
    controller.ended(0, Lost())
    assert controller.study.trial(0).state is State.COMPLETE


def test_a_trial_within_an_epoch_ends_by_the_time_limit_or_is_left_to_the_next_search() -> None:
    controller = begun()
    for _ in range(2):
        controller.next()
    controller.report(0, 1, {"loss": 1.0})
    for number in (0, 1):
        controller.ended(number, Late())
    assert controller.study.trial(0).reason == "stopped by the time limit"
    assert controller.study.trial(1).state is State.RUNNING
    assert controller.limits.over == "stopped by the time limit"


def test_after_a_signal_trials_end_their_epoch_and_nothing_begins() -> None:
    signals: list[int] = []
    controller = begun(leaving=lambda: bool(signals))
    controller.next()
    signals.append(15)
    assert controller.next() == Wait()
    assert controller.report(0, 1, {"loss": 1.0}) is Decision.PAUSE
    controller.stored(0)
    assert controller.study.trial(0).state is State.RUNNING  # for the next search, which restarts it


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_trial_that_diverges_stops(value: float) -> None:
    controller = begun("asha")
    controller.next()
    assert controller.report(0, 1, {"loss": value}) is Decision.STOP
    assert "diverged: loss is" in (controller.study.trial(0).reason or "")


def test_a_trial_that_diverges_in_its_second_objective_is_compared_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    two = [{"metric": "loss", "goal": "minimize"}, {"metric": "size", "goal": "minimize"}]
    controller = controller_of(Study.in_memory(document("asha", 4, objective=two)), Left(4))
    controller.next()
    told: list[tuple[int, bool]] = []
    monkeypatch.setattr(controller._scheduler, "ended", lambda number, comparable: told.append((number, comparable)))
    assert controller.report(0, 1, {"loss": 1.0, "size": float("nan")}) is Decision.STOP
    assert told == [(0, False)] and controller.study.trial(0).reason == "diverged: size is nan"


def test_a_trial_whose_decision_was_not_recorded_gets_it_from_the_next_search() -> None:
    study = Study.in_memory(document({"name": "asha", "grace": 1}, 4))
    controller = controller_of(study, Left(4))
    controller.next()
    study.writer.report(0, 1, {"loss": 1.0})  # and here the search was killed
    controller_of(study, Left(4))
    assert study.trial(0).state is State.PAUSED
