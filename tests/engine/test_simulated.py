"""Searches in virtual time, through `hpo.simulate`."""

import heapq
import math
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpo
from hpo.errors import InputError, SpecError, StudyError
from hpo.samplers.evolution import STRATEGIES
from hpo.searching.results import SimulationResult
from hpo.spec import Config
from hpo.study.trial import Metrics, State, TrialRecord, count_states

EPOCHS = 9
ROUNDING = 1e-9
ENDED = {State.COMPLETE, State.PRUNED, State.FAILED}
PAUSING = {"name": "ray.tune.schedulers:HyperBandScheduler", "max_t": EPOCHS}
SCHEDULERS = ["asha", "hyperband", "asha_stop", "median", "none", PAUSING]


def document(**changes: Any) -> dict[str, Any]:
    """A search with no data and no model, and a branch."""
    return {
        "study": "curves",
        "training": {"epochs": EPOCHS},
        "parameters": {
            "x": {"min": 0, "max": 1},
            "depth": {"type": "int", "min": 1, "max": 64, "log": True},
            "kind": {"values": ["plain", "deep"]},
            "rate": {"min": 1e-4, "max": 1, "log": True, "when": {"kind": "deep"}},
        },
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": "none",
        "budget": {"trials": 20},
        **changes,
    }


def curve(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    """Best at x = 0.3; the larger x, the longer an epoch takes, up to ten times as long."""
    return {"loss": (config["x"] - 0.3) ** 2 + 1 / epoch, "accuracy": 0.5}, 1 + 9 * config["x"]


@dataclass
class Calls:
    """A curve that remembers what it was asked."""

    of: Callable[[Config, int], tuple[Metrics, float]] = curve
    asked: list[tuple[Config, int]] = field(default_factory=list)

    def __call__(self, config: Config, epoch: int) -> tuple[Metrics, float]:
        self.asked.append((dict(config), epoch))
        return self.of(config, epoch)


def trials(result: SimulationResult) -> list[tuple[Config, State, Any, str | None]]:
    return [(t.config, t.state, t.reports, t.reason) for t in result.study.trials()]


def reports(result: SimulationResult) -> int:
    return sum(len(trial.reports) for trial in result.study.trials())


# ---- with every scheduler and sampler --------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["random", "tpe", "evolution", "qmc", "cmaes", "nsga2"])
@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
def test_every_trial_ends_and_every_epoch_is_asked_for_once(scheduler: Any, sampler: str) -> None:
    calls = Calls()
    result = hpo.simulate(document(scheduler=scheduler, sampler=sampler), calls)
    records = result.study.trials()
    assert len(records) == 20
    assert {record.state for record in records} <= ENDED - {State.FAILED}
    assert result.best is not None
    assert result.best.state is State.COMPLETE
    assert {record.epoch for record in records if record.state is State.COMPLETE} == {EPOCHS}
    for record in records:
        epochs = [epoch for config, epoch in calls.asked if config == record.config]
        assert epochs == list(record.reports) == list(range(1, record.epoch + 1))
    assert 0.5 < result.busy <= 1


@pytest.mark.parametrize("sampler", ["cmaes", "random", "qmc"])
def test_samplers_that_know_no_constraints_search_with_them(sampler: str) -> None:
    result = hpo.simulate(document(sampler=sampler, constraints=["accuracy <= 0.4"]), curve, trials=8)
    assert len(result.study.trials()) == 8 and result.best is not None and not result.best.feasible


@pytest.mark.parametrize("workers", [1, 3, 8, 20])
def test_a_population_breeds_children_of_its_leaders(workers: int) -> None:
    scheduler = {"name": "pbt", "interval": 2}
    result = hpo.simulate(document(scheduler=scheduler), curve, trials=8, workers=workers)
    records = result.study.trials()
    members, children = records[:8], records[8:]
    assert children and not any(member.inherited for member in members)
    assert sum(record.state is State.COMPLETE for record in records) == 8  # every line is trained to the end
    assert {record.state for record in records} <= {State.COMPLETE, State.PRUNED}
    for record in records:
        assert list(record.reports) == list(range(record.inherited + 1, record.epoch + 1))
        assert record.epoch in (2, 4, 6, 8, EPOCHS)
    for child in children:
        assert child.lineage is not None
        parent = records[child.lineage["parents"][0]]
        assert child.inherited in parent.reports and child.inherited % 2 == 0
        assert child.config.keys() == parent.config.keys() or child.config["kind"] != parent.config["kind"]
    replaced = [record for record in records if record.state is State.PRUNED]
    assert len(replaced) == len(children)
    assert {record.reason for record in replaced} <= {f"replaced by a child of trial {n}" for n in range(len(records))}
    assert result.study.spent().trials == 8


def test_a_population_that_breeds_ends_nearer_to_the_best_than_one_that_does_not() -> None:
    def mean(scheduler: Any) -> float:
        found = [hpo.simulate(document(scheduler=scheduler), curve, trials=12, seed=seed) for seed in range(5)]
        complete = [t for result in found for t in result.study.trials() if t.state is State.COMPLETE]
        return float(np.mean([abs(trial.config["x"] - 0.3) for trial in complete]))

    assert mean({"name": "pbt", "interval": 1}) < 0.5 * mean("none")


def test_a_population_is_the_same_for_a_seed() -> None:
    def run(seed: int) -> Any:
        return trials(hpo.simulate(document(scheduler={"name": "pbt", "interval": 2}), curve, trials=8, seed=seed))

    assert run(1) == run(1) != run(2)


def test_members_that_fail_or_diverge_are_replaced_by_nobody() -> None:
    def troubled(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        if config["x"] < 0.15 and epoch == 3:
            raise RuntimeError("too near")
        return {"loss": math.nan if config["x"] < 0.3 and epoch == 3 else config["x"] + 1 / epoch}, 1.0

    result = hpo.simulate(document(scheduler={"name": "pbt", "interval": 2}), troubled, trials=16, seed=1)
    records = result.study.trials()
    lost = [r for r in records if r.state is State.FAILED or (r.reason or "").startswith("diverged")]
    assert {record.state for record in lost} == {State.FAILED, State.PRUNED}
    assert sum(record.state is State.COMPLETE for record in records) == 16 - len(lost)


def test_gaussian_processes_propose_too() -> None:
    result = hpo.simulate(document(sampler="gp", scheduler="asha"), curve, trials=12)
    assert len(result.study.trials()) == 12


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "asha_stop", "median", PAUSING], ids=str)
def test_schedulers_save_epochs(scheduler: Any) -> None:
    result = hpo.simulate(document(scheduler=scheduler), curve, trials=40)
    counts = count_states(result.study.trials())
    assert counts[State.PRUNED] > 0
    assert reports(result) < 40 * EPOCHS
    assert result.best is not None
    assert abs(result.best.config["x"] - 0.3) < 0.1


def test_the_same_seed_gives_the_same_search() -> None:
    def run(seed: int) -> tuple[Any, float]:
        result = hpo.simulate(document(sampler="tpe", scheduler="asha"), curve, seed=seed)
        return trials(result), result.seconds

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_several_objectives_and_constraints_are_taken() -> None:
    def costly(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        return {"loss": (config["x"] - 0.3) ** 2 + 1 / epoch, "size": 1 - config["x"], "heat": config["x"]}, 1.0

    objectives = [{"metric": "loss", "goal": "minimize"}, {"metric": "size", "goal": "minimize"}]
    wanted = document(objective=objectives, constraints=["heat <= 0.7"], scheduler="asha", sampler="evolution")
    wanted["sampler"] = {"name": "evolution", "strategy": "nsga2"}
    result = hpo.simulate(wanted, costly, trials=40)
    front = [trial.config["x"] for trial in result.study.pareto() if trial.state is State.COMPLETE]
    assert front
    assert all(x <= 0.7 for x in front)


def test_parameters_may_have_any_names() -> None:
    names = ["lr", "a.b.c", "with space", "größe", "model.name", "training.epochs"]
    wanted = document(parameters={name: {"min": 0, "max": 1} for name in names})
    result = hpo.simulate(wanted, lambda config, epoch: ({"loss": config["größe"]}, 1.0), trials=3)
    assert all(list(trial.config) == names for trial in result.study.trials())


# ---- the clock -------------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """What happened, in order."""

    events: list[tuple[str, int, int]] = field(default_factory=list)

    def trial_started(self, trial: TrialRecord) -> None:
        self.events.append(("started", trial.number, 0))

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        self.events.append(("reported", number, epoch))

    def trial_paused(self, number: int) -> None:
        self.events.append(("paused", number, 0))

    def trial_resumed(self, number: int) -> None:
        self.events.append(("resumed", number, 0))

    def trial_ended(self, trial: TrialRecord) -> None:
        self.events.append(("ended", trial.number, 0))


def by_hand(xs: list[float], workers: int) -> tuple[list[tuple[float, int]], list[tuple[float, float, int]]]:
    """What happens without a scheduler: (x, epoch) by when it begins, and (end, x, epoch) by when it ends."""
    free = [0.0] * workers
    rows = []
    for place, x in enumerate(xs):
        clock = heapq.heappop(free)
        for epoch in range(1, EPOCHS + 1):
            begins, clock = clock, clock + curve({"x": x}, epoch)[1]
            rows.append((begins, place, x, epoch, clock))
        heapq.heappush(free, clock)
    return [(x, epoch) for _, _, x, epoch, _ in sorted(rows)], sorted((end, x, epoch) for *_, x, epoch, end in rows)


@pytest.mark.parametrize("workers", [1, 3, 50])
def test_epochs_begin_and_end_in_the_order_of_virtual_time(workers: int) -> None:
    calls, clock = Calls(), Clock()
    result = hpo.simulate(document(), calls, workers=workers, observers=[clock])
    xs = [trial.config["x"] for trial in result.study.trials()]
    begun, ended = by_hand(xs, workers)
    assert [(config["x"], epoch) for config, epoch in calls.asked] == begun
    assert [(xs[number], epoch) for what, number, epoch in clock.events if what == "reported"] == [
        (x, epoch) for _, x, epoch in ended
    ]
    assert result.seconds == pytest.approx(ended[-1][0])
    assert result.worked == pytest.approx(sum(EPOCHS * curve({"x": x}, 1)[1] for x in xs))


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
def test_observers_hear_everything_in_an_order_that_makes_sense(scheduler: Any) -> None:
    clock = Clock()
    result = hpo.simulate(document(scheduler=scheduler), curve, workers=4, observers=[clock])
    follows = {
        "started": {"reported"},
        "reported": {"reported", "paused", "ended"},
        "paused": {"resumed", "ended"},
        "resumed": {"reported"},
        "ended": set(),
    }
    last: dict[int, str] = {}
    for what, number, _ in clock.events:
        assert what == "started" if number not in last else what in follows[last[number]]
        last[number] = what
        assert sum(event in ("started", "reported", "resumed") for event in last.values()) <= 4
    assert Counter(last.values()) == {"ended": len(result.study.trials())}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "ending",
    [{"scheduler": "none", "budget": {"trials": 80}}, {"scheduler": "asha", "budget": {"epochs": 320}}],
    ids=["none", "asha"],
)
def test_evolution_keeps_its_workers_busy(strategy: str, ending: dict[str, Any]) -> None:
    """Nobody waits for a generation, though one trial takes ten times as long as another."""
    result = hpo.simulate(document(sampler={"name": "evolution", "strategy": strategy}, **ending), curve, workers=4)
    assert len(result.study.trials()) > 50
    assert 0.95 <= result.busy <= 1 + ROUNDING


# ---- budgets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
@pytest.mark.parametrize("budget", [1, 7, 100])
def test_a_budget_of_epochs_is_spent_exactly(scheduler: Any, budget: int) -> None:
    result = hpo.simulate(document(scheduler=scheduler, budget={"epochs": budget}), curve)
    assert reports(result) == budget
    assert all(trial.state in ENDED or not trial.reports for trial in result.study.trials())
    reasons = {trial.reason for trial in result.study.trials() if trial.state is State.FAILED}
    assert reasons <= {"interrupted"}  # those that had not ended their first epoch
    assert result.busy == pytest.approx(1)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
def test_nothing_is_reported_after_the_time_limit(scheduler: Any) -> None:
    result = hpo.simulate(document(scheduler=scheduler, budget={"time_limit": 100}), curve)
    assert result.seconds == 100
    assert all(trial.state in ENDED or not trial.reports for trial in result.study.trials())
    assert "stopped by the time limit" in {trial.reason for trial in result.study.trials()}
    assert result.busy == pytest.approx(1)


@pytest.mark.parametrize("scheduler", ["none", "asha", PAUSING], ids=str)
def test_a_budget_of_two_hours_is_used_and_kept(scheduler: Any) -> None:
    minutes = lambda config, epoch: (curve(config, epoch)[0], 60 + 240 * config["x"])  # noqa: E731
    result = hpo.simulate(document(scheduler=scheduler, budget={"time_limit": "2h"}), minutes, workers=4)
    assert 0.95 * 7200 <= result.seconds <= 7200
    assert 0.95 * 7200 <= max(at for trial in result.study.trials() for _, at in trial.reported.values()) <= 7200


def test_what_ends_before_the_time_limit_counts() -> None:
    result = hpo.simulate(document(), curve, workers=3, time_limit=100)
    _, ended = by_hand([trial.config["x"] for trial in result.study.trials()], workers=3)
    assert reports(result) == sum(end <= 100 for end, *_ in ended)


def test_the_first_limit_ends_a_search() -> None:
    assert len(hpo.simulate(document(), curve, trials=5, epochs=1000, time_limit=1e6).study.trials()) == 5
    assert reports(hpo.simulate(document(), curve, trials=500, epochs=50, time_limit=1e6)) == 50
    assert hpo.simulate(document(), curve, trials=500, epochs=5000, time_limit=60).seconds == 60


def test_a_worker_more_than_trials_does_no_harm() -> None:
    result = hpo.simulate(document(), lambda config, epoch: ({"loss": 1.0}, 0), workers=30)
    assert count_states(result.study.trials())[State.COMPLETE] == 20
    assert (result.seconds, result.busy) == (0, 0)


# ---- what curves do --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
def test_a_curve_that_raises_fails_its_trial_alone(scheduler: Any) -> None:
    def breaks(config: Config, epoch: int) -> tuple[Metrics, float]:
        if config["x"] > 0.5 and epoch == 2:
            raise MemoryError("no room for a batch")
        return curve(config, epoch)

    result = hpo.simulate(document(scheduler=scheduler), breaks)
    for trial in result.study.trials():
        assert trial.state in ENDED
        assert trial.epoch <= 1 or trial.config["x"] <= 0.5
        if trial.state is State.FAILED:
            assert re.fullmatch(
                r"MemoryError: no room for a batch \(test_simulated.py:\d+, in breaks\)", trial.cause or ""
            )
            assert trial.config["x"] > 0.5
    assert result.best is not None
    assert result.best.state is State.COMPLETE


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_prunes_its_trial(scheduler: Any, value: float) -> None:
    def diverges(config: Config, epoch: int) -> tuple[Metrics, float]:
        metrics, seconds = curve(config, epoch)
        return ({"loss": value} if config["x"] > 0.5 and epoch == 1 else metrics), seconds

    result = hpo.simulate(document(scheduler=scheduler), diverges)
    diverged = [trial for trial in result.study.trials() if trial.config["x"] > 0.5]
    assert diverged
    for trial in diverged:
        assert (trial.state, trial.epoch) == (State.PRUNED, 1)
        assert trial.reason == f"diverged: loss is {value}"
        assert trial.value is None


def test_a_search_of_failures_ends() -> None:
    def never(config: Config, epoch: int) -> tuple[Metrics, float]:
        raise ValueError("no")

    result = hpo.simulate(document(sampler="tpe", scheduler="asha"), never)
    assert count_states(result.study.trials())[State.FAILED] == 5  # failures.max_failures
    assert result.best is None


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "must return a pair (metrics, seconds), got None"),
        ({"loss": 1.0}, "must return a pair (metrics, seconds), got {'loss': 1.0}"),
        (({"loss": 1.0}, 1.0, 2), "must return a pair (metrics, seconds), got ({'loss': 1.0}, 1.0, 2)"),
        (({"accuracy": 1.0}, 1.0), "must return first a dict with the metric 'loss', got accuracy"),
        (({}, 1.0), "must return first a dict with the metric 'loss', got"),
        ((1.0, {"loss": 1.0}), "must return first a dict with the metric 'loss', got 1.0"),
        (({"loss": "low"}, 1.0), "must return numbers as metrics, got 'low' for 'loss'"),
        (({"loss": 1.0, "accuracy": None}, 1.0), "must return numbers as metrics, got None for 'accuracy'"),
        (({"loss": 1.0}, -1.0), "must return the epoch's seconds second, 0 or more, got -1.0"),
        (({"loss": 1.0}, math.nan), "must return the epoch's seconds second, 0 or more, got nan"),
        (({"loss": 1.0}, math.inf), "must return the epoch's seconds second, 0 or more, got inf"),
        (({"loss": 1.0}, "1s"), "must return the epoch's seconds second, 0 or more, got '1s'"),
    ],
)
def test_what_a_curve_must_return_is_said(returned: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        hpo.simulate(document(), lambda config, epoch: returned)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numpy_numbers_are_numbers() -> None:
    narrow: Any = np.float32
    result = hpo.simulate(document(), lambda config, epoch: ({"loss": narrow(epoch)}, narrow(2)), trials=1)
    assert (result.seconds, result.study.trials()[0].value) == (2 * EPOCHS, 1)


def test_a_curve_cannot_change_its_config() -> None:
    def greedy(config: Config, epoch: int) -> tuple[Metrics, float]:
        seconds = config.pop("x")
        config.clear()
        return {"loss": 1.0}, seconds

    assert all(trial.config.keys() >= {"x", "kind"} for trial in hpo.simulate(document(), greedy).study.trials())


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, -1])
def test_there_must_be_a_worker(workers: int) -> None:
    with pytest.raises(InputError, match=f"workers must be at least 1, got {workers}"):
        hpo.simulate(document(), curve, workers=workers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "loss"}, "objective.goal: is required for 'loss': write `goal: maximize` or `goal: minimize`"),
        ({"sampler": "tpee"}, "sampler.name: unknown sampler 'tpee'. Did you mean 'tpe'?"),
        ({"scheduler": {"name": "asha", "grace": 10}}, "scheduler: grace must be 1 to training.epochs (9), got 10"),
        ({"parameters": {"x": {"min": 1, "max": 0}}}, "parameters.x: min must not be above max"),
        ({"budget": {"trials": 0}}, "budget.trials: must be greater than or equal to 1, got 0"),
    ],
)
def test_mistakes_in_the_spec_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        hpo.simulate(document(**changes), curve)
    assert message in str(caught.value)


def test_a_metric_that_is_known_needs_no_goal() -> None:
    assert hpo.simulate(document(objective="accuracy"), curve, trials=1).study.goal == "maximize"


# ---- on disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of studies that need not outlive a power cut, for speed."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    return tmp_path / "studies"


@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_a_search_on_disk_goes_on_where_it_ended(scheduler: str, storage: Path) -> None:
    wanted, calls = document(scheduler=scheduler, training={"epochs": 4}), Calls()
    first = trials(hpo.simulate(wanted, curve, trials=10, storage=storage))
    result = hpo.simulate(wanted, calls, trials=20, storage=storage)
    assert len(first) == 10
    assert trials(result)[:10] == first
    assert len(trials(result)) == 20
    assert len(calls.asked) == reports(result) - sum(len(told) for _, _, told, _ in first)
    assert all(trial.state in ENDED or not trial.reports for trial in result.study.trials())
    again = Calls()
    assert trials(hpo.simulate(wanted, again, trials=20, storage=storage)) == trials(result)
    assert again.asked == []


def test_a_budget_of_epochs_counts_earlier_searches(storage: Path) -> None:
    wanted = document(scheduler="asha", budget={"epochs": 40})
    assert reports(hpo.simulate(wanted, curve, storage=storage)) == 40
    assert reports(hpo.simulate(wanted, curve, storage=storage, epochs=70)) == 70


def test_a_search_that_raised_goes_on(storage: Path) -> None:
    def stops(config: Config, epoch: int) -> tuple[Metrics, float]:
        if epoch == 2:
            raise KeyboardInterrupt
        return curve(config, epoch)

    with pytest.raises(KeyboardInterrupt):
        hpo.simulate(document(training={"epochs": 2}), stops, storage=storage)
    result = hpo.simulate(document(training={"epochs": 2}), curve, storage=storage)
    counts = count_states(result.study.trials())
    assert counts[State.COMPLETE] == 20
    assert counts[State.RUNNING] == 0


def test_another_spec_needs_another_name(storage: Path) -> None:
    hpo.simulate(document(), curve, trials=1, storage=storage)
    with pytest.raises(StudyError, match="another spec: sampler.name was random, is tpe"):
        hpo.simulate(document(sampler="tpe"), curve, trials=1, storage=storage)


ALL_SAMPLERS: list[dict[str, Any]] = [
    *({"name": name} for name in ("random", "tpe", "qmc", "cmaes", "nsga2")),
    {"name": "tpe", "n_startup_trials": 4},
    {"name": "nsga2", "population_size": 6},
    {"name": "gp", "n_startup_trials": 4},
    {"name": "curves"},
    *({"name": "evolution", "strategy": strategy} for strategy in STRATEGIES),
]


@pytest.mark.parametrize("sampler", ALL_SAMPLERS, ids=lambda sampler: "-".join(map(str, sampler.values())))
def test_a_sampler_built_anew_proposes_what_the_old_one_would_have(sampler: dict[str, Any], storage: Path) -> None:
    total = {"gp": 6, "curves": 12}.get(sampler["name"], 24)  # these two think longer
    wanted = document(sampler=sampler, training={"epochs": 1})
    whole = hpo.simulate(wanted, curve, workers=1, trials=total)
    for part in (total // 3, 2 * total // 3, total):
        killed = hpo.simulate(wanted, curve, workers=1, trials=part, storage=storage)
    assert trials(killed) == trials(whole)
    assert len(trials(whole)) == total


def crossing(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    """The slower it learns at first, the better it ends."""
    return {"loss": (1 - config["x"]) * epoch / EPOCHS + config["x"] * (1 - epoch / EPOCHS)}, 1.0


@pytest.mark.parametrize("budget", [{"trials": 12}, {"trials": 12, "epochs": 30}])
@pytest.mark.parametrize("default", [0.95, None])
def test_the_users_own_config_is_trained_in_full_where_trials_alone_are_counted(
    budget: dict[str, int], default: float | None
) -> None:
    given = {} if default is None else {"default": default}
    searched = {"x": {"min": 0, "max": 1, **given}}
    asked = document(parameters=searched, sampler="curves", scheduler="freeze_thaw", budget=budget)
    study = hpo.simulate(asked, crossing).study
    assert study.reference == (None if default is None else 0)
    if default is not None:
        assert (study.trial(0).state is State.COMPLETE) == ("epochs" not in budget)


def test_a_new_config_is_judged_by_what_it_is_in_the_end_where_trials_alone_are_counted() -> None:
    searched = {"x": {"min": 0, "max": 1}, "y": {"min": 0, "max": 1}}
    mean = []
    for budget in ({"trials": 24}, {"trials": 24, "epochs": 10_000}):
        asked = document(parameters=searched, sampler="curves", budget=budget, seed=1)
        trials = hpo.simulate(asked, crossing).study.trials()
        mean.append(np.mean([trial.config["x"] for trial in trials[6:]]))
    assert mean[0] > 0.5 > mean[1]


# ---- spaces with few configs -----------------------------------------------------------------------------------------

FEW = {"x": {"values": [0.1, 0.3]}, "kind": {"values": ["plain", "deep"]}}
"""Four configs."""


@pytest.mark.parametrize(
    ("sampler", "scheduler", "budget"),
    [
        ("curves", "freeze_thaw", {"trials": 30}),
        ("curves", "freeze_thaw", {"epochs": 400}),
        ("curves", "asha", {"epochs": 400}),
        ("tpe", "asha", {"trials": 30}),
        ("evolution", "asha_stop", {"trials": 30}),
        ("portfolio", "none", {"trials": 30}),
        ("random", "asha", {"time_limit": "900s"}),
    ],
)
def test_a_search_ends_when_every_config_has_been_tried(sampler: str, scheduler: str, budget: dict[str, Any]) -> None:
    result = hpo.simulate(document(parameters=FEW, sampler=sampler, scheduler=scheduler, budget=budget), curve)
    configs = [tuple(sorted(trial.config.items())) for trial in result.study.trials()]
    assert len(configs) == len(set(configs)) == 4
    assert result.study.writer.used_up == 4
    assert count_states(result.study.trials())[State.COMPLETE] >= 1
    assert not any(trial.state in (State.RUNNING, State.PAUSED) for trial in result.study.trials())


def test_configs_that_fail_were_tried() -> None:
    def fails(config: Config, epoch: int) -> tuple[Metrics, float]:
        if config["x"] == 0.1:
            raise RuntimeError("no")
        return curve(config, epoch)

    result = hpo.simulate(document(parameters=FEW, failures={"max_failures": 30}), fails)
    assert result.study.writer.used_up == 4
    assert count_states(result.study.trials())[State.COMPLETE] == 2


def test_a_search_of_used_up_configs_goes_on_to_their_end(storage: Path) -> None:
    spec = document(parameters=FEW, scheduler="asha")
    first = hpo.simulate(spec, curve, workers=1, epochs=7, storage=storage)
    assert first.study.writer.used_up is None
    result = hpo.simulate(spec, curve, storage=storage)
    assert result.study.writer.used_up == 4
    again = hpo.simulate(spec, curve, storage=storage)
    assert len(again.study.trials()) == len(result.study.trials())


@pytest.mark.parametrize("changes", [{"scheduler": {"name": "pbt", "interval": 3}}, {"parameters": {}}])
def test_where_configs_may_repeat_the_budget_ends_a_search(changes: dict[str, Any]) -> None:
    def flat(config: Config, epoch: int) -> tuple[Metrics, float]:
        return {"loss": 1 / epoch}, 1.0

    result = hpo.simulate(document(**{"parameters": FEW, "budget": {"trials": 9}, **changes}), flat)
    assert sum(not trial.inherited for trial in result.study.trials()) == 9


# ---- one trial at least is trained in full ---------------------------------------------------------------------------

MANY = {f"p{place:02}": {"min": 0, "max": 1} for place in range(60)}


def slow(config: Config, epoch: int) -> tuple[Metrics, float]:
    """The larger p00, the longer an epoch takes; which trial is best changes from epoch to epoch."""
    wave = math.sin(40 * config["p00"] + 7 * config["p01"] * epoch)
    return {"loss": wave / epoch}, 1 + 3 * config["p00"]


def test_a_search_of_many_parameters_and_few_epochs_trains_one_trial_in_full() -> None:
    spec = document(parameters=MANY, sampler="curves", scheduler="freeze_thaw", budget={"epochs": 180})
    result = hpo.simulate(spec, slow, workers=4)
    assert reports(result) == 180
    assert count_states(result.study.trials())[State.COMPLETE] >= 1


@settings(max_examples=60)
@given(
    st.sampled_from(["asha", "hyperband", "asha_stop", "median", "none", "freeze_thaw", "pbt"]),
    st.integers(1, 5),
    st.integers(1, 14),
    st.integers(0, 60),
    st.integers(0, 2**16),
)
def test_whenever_the_epochs_are_enough_for_one_trial_one_is_complete(
    scheduler: str, workers: int, epochs: int, more: int, seed: int
) -> None:
    if scheduler == "pbt" and epochs < 2:
        epochs = 2
    budget = {"epochs": epochs + more} | ({"trials": 8} if scheduler == "pbt" else {})
    spec = document(
        parameters={name: MANY[name] for name in ("p00", "p01")},
        training={"epochs": epochs},
        sampler="curves" if scheduler == "freeze_thaw" else "random",
        scheduler={"name": scheduler, **({"interval": 1} if scheduler == "pbt" else {})},
        budget=budget,
        seed=seed,
    )
    result = hpo.simulate(spec, slow, workers=workers)
    assert count_states(result.study.trials())[State.COMPLETE] >= 1
    assert reports(result) <= epochs + more
    if scheduler != "pbt":
        assert reports(result) == epochs + more


@pytest.mark.parametrize("scheduler", ["asha", "asha_stop", "freeze_thaw"])
def test_a_search_that_goes_on_with_few_epochs_completes_a_trial_that_waits(scheduler: str, storage: Path) -> None:
    spec = document(sampler="curves", scheduler=scheduler, budget={"epochs": 30})

    def once(config: Config, epoch: int) -> tuple[Metrics, float]:
        if len(calls.asked) == 20:
            raise KeyboardInterrupt
        return curve(config, epoch)

    calls = Calls(once)
    with pytest.raises(KeyboardInterrupt):
        hpo.simulate(spec, calls, storage=storage)
    result = hpo.simulate(spec, curve, storage=storage)
    assert count_states(result.study.trials())[State.COMPLETE] >= 1
    assert reports(result) == 30
