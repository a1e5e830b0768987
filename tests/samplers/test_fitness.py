import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.fitness import Fitness
from hpo.ledger import Ledger
from hpo.samplers import fitness
from hpo.samplers.fitness import Measured, Yardstick, measure_all, measure_each, ranked, resource

MINIMIZE = Yardstick((StudyDirection.MINIMIZE,))
MAXIMIZE = Yardstick((StudyDirection.MAXIMIZE,))


def recorded(
    reports: Mapping[int, float] | None = None,
    state: TrialState = TrialState.PRUNED,
    values: Sequence[float] | None = None,
    number: int = 0,
    **attributes: Any,
) -> FrozenTrial:
    made = optuna.create_trial(
        state=state,
        values=values,
        intermediate_values=dict(reports or {}),
        user_attrs=attributes.pop("user_attrs", {}),
        **attributes,
    )
    made.number = number
    return made


def measured(
    reports: Mapping[int, float], number: int = 0, yardstick: Yardstick = MINIMIZE, **attributes: Any
) -> Measured:
    result = yardstick.measure(recorded(reports, number=number, **attributes))
    assert result is not None
    return result


def test_the_best_value_so_far_counts() -> None:
    trial = measured({1: 0.5, 2: 0.2, 3: 0.4})
    assert [trial.at(epoch) for epoch in (1, 2, 3)] == [Fitness(0, (0.5,)), Fitness(0, (0.2,)), Fitness(0, (0.2,))]
    assert trial.at(4) is None


def test_a_maximized_value_is_a_negative_cost() -> None:
    assert measured({1: 0.5, 2: 0.7, 3: 0.6}, yardstick=MAXIMIZE).at(3) == Fitness(0, (-0.7,))


def test_reports_in_any_order_and_not_at_every_epoch() -> None:
    trial = measured({9: 0.1, 1: 0.5, 3: 0.4})
    assert trial.at(5) == Fitness(0, (0.4,))
    assert trial.reached == 9


def test_what_is_not_finite_is_no_value_but_an_epoch() -> None:
    trial = measured({1: 0.5, 2: math.nan, 3: -math.inf})
    assert trial.at(3) == Fitness(0, (0.5,))
    assert measured({1: math.nan, 2: 0.5}).at(1) is None


@pytest.mark.parametrize(
    "trial",
    [
        recorded({1: 0.1}, TrialState.FAIL),
        recorded({}, TrialState.PRUNED),
        recorded({}, TrialState.RUNNING),
        recorded({1: math.nan}),
        recorded({}, TrialState.COMPLETE, values=[math.inf]),
    ],
    ids=["failed", "nothing reported", "just begun", "all NaN", "infinite"],
)
def test_no_fitness(trial: FrozenTrial) -> None:
    assert MINIMIZE.measure(trial) is None


def test_a_paused_trial_counts() -> None:
    assert measured({1: 0.3}, state=TrialState.RUNNING).at(1) == Fitness(0, (0.3,))


def test_a_finished_trial_without_reports_has_its_value_at_any_resource() -> None:
    trial = measured({}, state=TrialState.COMPLETE, values=[0.3])
    assert trial.at(1) == trial.at(1000) == trial.at(math.inf) == Fitness(0, (0.3,))


def test_two_trials_are_compared_where_both_have_been() -> None:
    long = measured({1: 0.9, 3: 0.8, 9: 0.1})
    short = measured({1: 0.5, 3: 0.4})
    assert fitness.better(short, long)
    assert not fitness.better(long, short)


@given(st.lists(st.integers(1, 81), min_size=1, max_size=30), st.integers(1, 40))
def test_the_resource_is_the_last_that_enough_have_reached(lengths: list[int], least: int) -> None:
    trials = [measured({1: 0.5, length: 0.5}, number) for number, length in enumerate(lengths)]
    found = fitness.resource(trials, least)
    there = len(fitness.compared(trials, least))
    assert found in lengths
    assert there == sum(length >= found for length in lengths) >= min(least, len(lengths))
    assert sum(length > found for length in lengths) < least


def test_nobody_has_reached_anything() -> None:
    assert fitness.compared([], 3) == []
    with pytest.raises(ValueError, match="no trials"):
        fitness.resource([], 3)


def test_the_order_is_that_at_equal_resource() -> None:
    long = measured({1: 0.9, 27: 0.01}, number=0)
    others = [measured({1: value}, number) for number, value in [(1, 0.5), (2, 0.3), (3, 0.3)]]
    assert [trial.number for trial in fitness.ranked([long, *others], least=4)] == [2, 3, 1, 0]
    assert [trial.number for trial in fitness.ranked([long, *others], least=1)] == [0]


def test_feasible_beats_infeasible_then_the_smaller_violation_wins() -> None:
    rows = [
        (0, 0.9, {"a": -1.0, "b": 0.0}),
        (1, 0.1, {"a": 2.0, "b": -5.0}),
        (2, 0.0, {"a": 1.0, "b": 1.5}),
        (3, 0.0, {"a": math.inf}),
        (4, 0.8, {}),
    ]
    trials = [measured({1: value}, number, constraints=excess) for number, value, excess in rows]
    assert [trial.number for trial in fitness.ranked(trials, 5)] == [4, 0, 1, 2, 3]


def test_domination() -> None:
    one, other, third = Fitness(0, (1, 2)), Fitness(0, (1, 3)), Fitness(0, (0, 9))
    assert one.dominates(other)
    assert not other.dominates(one)
    assert not one.dominates(third) and not third.dominates(one)
    assert not one.dominates(one)
    assert other.dominates(Fitness(0.1, (0, 0)))


class TestSeveralObjectives:
    directions = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
    reports = {  # noqa: RUF012
        "report:1": json.dumps({"metrics": {"accuracy": 0.5, "latency": 3.0}}),
        "report:2": json.dumps({"metrics": {"accuracy": 0.7, "latency": 5.0}}),
        "report:3": json.dumps({"metrics": {"accuracy": 0.6, "latency": 4.0}}),
        "report:4": json.dumps({"metrics": {"accuracy": math.nan, "latency": 4.0}}),
    }

    def test_a_finished_trial_has_its_values(self) -> None:
        trial = recorded(state=TrialState.COMPLETE, values=[0.5, 2.0])
        found = Yardstick(self.directions).measure(trial)
        assert found is not None
        assert found.at(7) == Fitness(0, (-0.5, 2.0))

    def test_an_unfinished_one_those_of_its_best_epoch(self) -> None:
        found = Yardstick(self.directions, ("accuracy", "latency")).measure(
            recorded(state=TrialState.RUNNING, user_attrs=self.reports)
        )
        assert found is not None
        assert [found.at(epoch) for epoch in (1, 2, 4)] == [
            Fitness(0, (-0.5, 3.0)),
            Fitness(0, (-0.7, 5.0)),
            Fitness(0, (-0.7, 5.0)),
        ]

    def test_an_unfinished_one_has_none_where_the_metrics_are_not_named(self) -> None:
        trial = recorded(state=TrialState.RUNNING, user_attrs=self.reports)
        assert Yardstick(self.directions).measure(trial) is None


def test_what_has_not_changed_is_measured_once() -> None:
    study = optuna.create_study()
    asked = [study.ask() for _ in range(3)]
    for trial in asked:
        trial.report(0.5, 1)
    study.tell(asked[0], 0.5)
    before = fitness.measure_all(study, MINIMIZE)
    asked[1].report(0.4, 2)
    study.tell(asked[2], state=TrialState.FAIL)
    after = fitness.measure_all(study, MINIMIZE)
    assert [trial.number for trial in after] == [0, 1]
    assert after[0] is before[0]
    assert after[1].at(2) == Fitness(0, (0.4,))
    assert fitness.measure_all(study, MINIMIZE)[1] is after[1]
    assert fitness.measure_all(study, MAXIMIZE)[0].at(1) == Fitness(0, (-0.5,))
    assert fitness.measure_all(optuna.create_study(), MINIMIZE) == []


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(0, 3), st.booleans()), max_size=40),
    st.sampled_from([InMemoryStorage, lambda: Ledger(InMemoryStorage())]),
)
@settings(deadline=None, max_examples=60)
def test_what_is_kept_between_calls_is_what_measuring_anew_would_find(
    steps: list[tuple[int, int, int, bool]], storage: Callable[[], BaseStorage]
) -> None:
    study = optuna.create_study(storage=storage())
    open_trials: dict[int, optuna.Trial] = {}
    yardstick = Yardstick(tuple(study.directions))
    for key, epoch, value, fails in steps:
        trial = open_trials[key] = open_trials.get(key) or study.ask()
        if epoch not in study.trials[trial.number].intermediate_values:
            trial.report(float(value), epoch)
        if fails:
            study.tell(open_trials.pop(key), state=TrialState.FAIL)
        kept = measure_all(study, yardstick)
        anew = [known for t in study.get_trials(deepcopy=False) if (known := yardstick.measure(t)) is not None]
        assert [known.number for known in kept] == [known.number for known in anew]
        assert all(known.same(other) for known, other in zip(kept, anew, strict=True))
        table, trials = measure_each(study, yardstick), study.get_trials(deepcopy=False)
        assert table.reports == sum(len(trial.intermediate_values) for trial in trials)
        assert set(table.touched) == set(range(len(trials)))
        for least in (1, 3):
            wanted = [known.number for known in ranked(anew, least)]
            assert [known.number for known in ranked(kept, least, 2)] == wanted[:2]
            assert table.resource(least) == (resource(anew, least) if anew else math.inf)
