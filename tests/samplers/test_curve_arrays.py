"""The arrays that a model reads, against the trials themselves."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from hpo.history import history_of
from hpo.history.measured import Yardstick
from hpo.samplers.curve_arrays import CurveArrays, curves_of
from hpo.samplers.curve_model import Inputs
from tests.samplers.constraints import constrain

X, KIND = FloatDistribution(0.0, 1.0), CategoricalDistribution(("a", "b"))
INPUTS = Inputs({"x": X, "kind": KIND})
LADDER = (1, 3, 9)
CURVES = st.dictionaries(st.integers(1, 9), st.floats(-10, 10) | st.just(math.nan), max_size=5)


def known(study: optuna.Study, inputs: Inputs = INPUTS) -> CurveArrays:
    return curves_of(history_of(study, Yardstick(tuple(study.directions))), inputs, LADDER)


def study_of(curves: list[dict[int, float]]) -> optuna.Study:
    study = optuna.create_study()
    for number, curve in enumerate(curves):
        params: dict[str, Any] = {"x": number / 100, "kind": "ab"[number % 2]}
        distributions = {"x": X, "kind": KIND}
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params=params, distributions=distributions, intermediate_values=curve
            )
        )
    return study


def expected(curve: dict[int, float]) -> list[tuple[float, float]]:
    """The best until each rung that was passed, and until the last epoch, where there was any."""
    last = max(curve)
    points = []
    for epoch in [*(rung for rung in LADDER if rung < last), last]:
        values = [value for at, value in curve.items() if at <= epoch and math.isfinite(value)]
        points += [(float(epoch), min(values))] if values else []
    return points


@settings(max_examples=60)
@given(st.lists(CURVES, max_size=12))
def test_a_trial_is_known_where_it_passed_a_rung_and_at_its_last_epoch(curves: list[dict[int, float]]) -> None:
    history = known(study_of(curves))
    for number, curve in enumerate(curves):
        there = np.flatnonzero(~np.isnan(history.costs[number]))
        points = list(zip(history.epochs[number, there], history.costs[number, there], strict=True))
        finite = any(map(math.isfinite, curve.values()))
        assert points == (expected(curve) if finite else [])
        assert (number in history.measured()) == finite
        if finite:
            assert history.best[number] == min(value for value in curve.values() if math.isfinite(value))
            assert history.reached[number] == max(curve)
            assert np.array_equal(history.units[number], [number / 100, 0.25 + 0.5 * (number % 2)])


def test_what_changes_is_entered_again_and_nothing_else() -> None:
    study = study_of([{1: 5.0}, {1: 4.0, 2: 3.0}])
    history = known(study)
    running = [optuna.trial.Trial(study, trial._trial_id) for trial in study.trials]
    assert history.costs[0].tolist()[-1] == 5.0 and np.isnan(history.costs[0, 0])
    running[0].report(7.0, 3)
    assert known(study) is history
    assert history.costs[0, [0, -1]].tolist() == [5.0, 5.0] and history.epochs[0, [0, -1]].tolist() == [1.0, 3.0]
    history.units[1] = -1.0  # nobody looks at the other one again
    running[0].report(1.0, 9)
    assert known(study).best[0] == 1.0 and history.units[1, 0] == -1.0
    constrain(running[0], "size", 0.5)
    assert known(study).costs[0, -1] == math.inf and history.best[0] == 1.0


def test_another_space_is_another_history() -> None:
    study = study_of([{1: 5.0}])
    first = known(study)
    assert known(study, Inputs({"x": X})) is not first
    assert known(study, Inputs({"x": X})).units.shape[1] == 1


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_it_grows_with_the_study(count: int) -> None:
    study = study_of([])
    for number in range(count):
        study.add_trial(
            create_trial(params={"x": 0.5, "kind": "a"}, distributions={"x": X, "kind": KIND}, value=float(number))
        )
        assert known(study).measured().tolist() == list(range(number + 1))
    assert known(study).reached[:count].tolist() == [math.inf] * count
    assert known(study).epochs[:count, -1].tolist() == [9.0] * count
