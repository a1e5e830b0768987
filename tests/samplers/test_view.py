from collections.abc import Mapping
from typing import Any, Literal

import optuna
import pytest
from optuna.trial import TrialState

from hpo.samplers.view import StudyAtResource
from tests.samplers.constraints import constrain

MIN: Literal["minimize"] = "minimize"
MAX: Literal["maximize"] = "maximize"
State = TrialState


def study_of(*curves: Mapping[int, float], direction: Literal["minimize", "maximize"] = MIN) -> optuna.Study:
    """A study in which one trial after the other made these reports and then waits, running as far as Optuna knows."""
    study = optuna.create_study(direction=direction)
    for curve in curves:
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        for epoch, value in curve.items():
            trial.report(value, epoch)
    return study


def seen(study: optuna.Study, least: int) -> list[tuple[TrialState, Any]]:
    trials = StudyAtResource(study, least).get_trials()
    return [(t.state, t.value if t.state is State.COMPLETE else None) for t in trials]


LONG, MIDDLE, SHORT = {1: 0.9, 3: 0.5, 9: 0.1}, {1: 0.4, 3: 0.6}, {1: 0.3}


@pytest.mark.parametrize(
    ("least", "values"),
    [(1, [0.1, None, None]), (2, [0.5, 0.4, None]), (3, [0.9, 0.4, 0.3]), (8, [0.9, 0.4, 0.3])],
)
def test_trials_have_their_best_value_at_the_highest_resource_that_enough_have_reached(
    least: int, values: list[float | None]
) -> None:
    rows = [(State.RUNNING if value is None else State.COMPLETE, value) for value in values]
    assert seen(study_of(LONG, MIDDLE, SHORT), least) == rows


def test_more_may_be_better() -> None:
    study = study_of(LONG, MIDDLE, SHORT, direction=MAX)
    assert seen(study, 2) == [(State.COMPLETE, 0.9), (State.COMPLETE, 0.6), (State.RUNNING, None)]


def test_those_that_ended_before_are_pruned_at_their_last_report() -> None:
    study = study_of(LONG, MIDDLE, SHORT, SHORT, SHORT, {})
    study.tell(0, 0.1)
    study.tell(1, state=State.PRUNED)
    study.tell(2, state=State.PRUNED)
    study.tell(3, state=State.FAIL)
    pruned, failed, running = (State.PRUNED, None), (State.FAIL, None), (State.RUNNING, None)
    assert seen(study, 2) == [(State.COMPLETE, 0.5), (State.COMPLETE, 0.4), pruned, failed, running, running]
    assert StudyAtResource(study, 2).get_trials()[2].last_step == 1


def test_a_trial_that_ended_early_by_itself_is_pruned_where_others_went_on() -> None:
    study = study_of(LONG, LONG, SHORT)
    study.tell(2, 0.3)
    assert seen(study, 2) == [(State.COMPLETE, 0.1), (State.COMPLETE, 0.1), (State.PRUNED, None)]


def test_what_is_not_finite_has_no_value() -> None:
    nan = float("nan")
    study = study_of({1: nan}, {1: 0.5, 3: nan}, {1: 0.7, 3: 0.6})
    study.tell(0, state=State.PRUNED)
    assert seen(study, 2) == [(State.PRUNED, None), (State.COMPLETE, 0.5), (State.COMPLETE, 0.6)]


def test_a_study_without_reports_is_as_it_is() -> None:
    study = study_of({}, {})
    assert seen(study, 2) == [(State.RUNNING, None)] * 2
    assert StudyAtResource(study, 2).get_trials() == study.get_trials()


def test_trials_without_reports_have_their_final_value() -> None:
    study = study_of({}, {}, LONG)
    study.tell(0, 0.7)
    assert seen(study, 1)[0] == (State.COMPLETE, 0.7)


def test_rewards_stand_in_place_of_the_objective() -> None:
    study = study_of(LONG, MIDDLE, SHORT)
    trials = StudyAtResource(study, 2, rewards={0: 0.2, 2: 0.9}).get_trials()
    assert [trial.value for trial in trials[:2]] == [-0.2, -0.2]  # one that has none is among the weakest
    assert trials[0].intermediate_values == {}
    assert trials[2].state is State.RUNNING


def test_states_are_chosen_by_what_is_seen() -> None:
    view = StudyAtResource(study_of(LONG, MIDDLE, SHORT), 2)
    assert [trial.number for trial in view.get_trials(states=(State.COMPLETE,))] == [0, 1]
    assert [trial.number for trial in view.get_trials(states=(State.RUNNING,))] == [2]


def test_looking_changes_nothing() -> None:
    study = study_of(LONG, MIDDLE, SHORT)
    study.tell(1, state=State.PRUNED)
    before = study.get_trials()
    for trial in StudyAtResource(study, 1).get_trials():
        trial.user_attrs["mine"] = trial.intermediate_values[99] = 1.0
    assert study.get_trials() == before


def test_what_a_sampler_writes_is_in_the_study() -> None:
    study = study_of(LONG)
    StudyAtResource(study, 1).set_user_attr("place", 3)
    assert study.user_attrs["place"] == 3


def test_of_a_long_study_the_best_the_newest_and_others_are_seen() -> None:
    study = optuna.create_study()
    curves = [{1: float((7 * number) % 100), **({3: 1.0} if number < 2 else {})} for number in range(100)]
    study.add_trials(
        optuna.trial.create_trial(
            state=State.PRUNED,
            params={"x": 0.5},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
            intermediate_values=curve,
        )
        for curve in curves
    )
    kept = StudyAtResource(study, 8, most=30).get_trials(deepcopy=False)
    numbers = [trial.number for trial in kept]
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= 30
    assert set(range(92, 100)) <= set(numbers)
    best = sorted(range(100), key=lambda number: curves[number][1])[:15]
    assert set(best) <= set(numbers)
    again = StudyAtResource(study, 8, most=30).get_trials(deepcopy=False)
    assert [trial.number for trial in again] == numbers
    assert len(StudyAtResource(study, 8, most=100).get_trials(deepcopy=False)) == 100


@pytest.mark.parametrize("broken", [0, 20])
def test_reports_of_the_others_count_where_too_few_of_the_best_are_feasible(broken: int) -> None:
    study = optuna.create_study()
    for number in range(80):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        for epoch in (1, 3) if number < 40 else (1,):
            trial.report(float(number), epoch)
        if number < broken:
            constrain(trial, "size", 1.0)
    view = StudyAtResource(study, 30, most=60)
    others = [trial for trial in view.get_trials(deepcopy=False) if 40 <= trial.number < 72]
    assert others and {trial.state for trial in others} == {State.PRUNED}
    assert {bool(trial.intermediate_values) for trial in others} == {broken > 0}


def test_a_view_follows_the_study() -> None:
    study = study_of(LONG, MIDDLE, SHORT)
    assert seen(study, 2)[2] == (State.RUNNING, None)
    trial = optuna.Trial(study, study.trials[2]._trial_id)
    trial.report(0.2, 3)
    assert seen(study, 2) == [(State.COMPLETE, 0.5), (State.COMPLETE, 0.4), (State.COMPLETE, 0.2)]
    study.tell(trial, state=State.FAIL)
    assert seen(study, 2)[2][0] is State.FAIL
