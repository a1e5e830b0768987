import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.history.measured import Measured, Yardstick, better
from hpo.study.optuna_trial import CONSTRAINT
from hpo.study.ranking import Fitness

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
        system_attrs={f"{CONSTRAINT}:{name}": it for name, it in attributes.pop("constraints", {}).items()},
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
    assert better(short, long)
    assert not better(long, short)


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
