from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import spec
from hpo.ensemble.methods.soup import greedy_soup, kin, mean_weights
from hpo.ensemble.score import Predictions, costs
from hpo.errors import InputError
from hpo.models.weights import Weights
from hpo.study.study import Study
from tests.conftest import data_summary, finish

ROWS = np.random.default_rng(0).normal(size=(60, 4))
TRUE = np.array([[1.0, -2.0, 0.5, 3.0]]).T
TARGETS = (ROWS @ TRUE).astype(np.float32)


def linear(weights: Weights) -> Predictions:
    """A network of one layer."""
    return np.asarray(ROWS @ weights["layer"].astype(np.float64), np.float32)


def checkpoint(noise: np.ndarray) -> Weights:
    return {"layer": (TRUE + noise).astype(np.float32), "batches": np.array(7, np.int64)}


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_a_soup_is_no_worse_than_its_best_ingredient(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    ingredients = [checkpoint(rng.normal(size=TRUE.shape)) for _ in range(count)]
    soup = greedy_soup(ingredients, linear, TARGETS, "regression")
    singles = [float(costs(linear(weights), TARGETS, "regression")) for weights in ingredients]
    assert soup.members[0] == int(np.argmin(singles)) and soup.cost <= min(singles)
    expected = mean_weights([ingredients[member] for member in soup.members])
    np.testing.assert_array_equal(soup.weights["layer"], expected["layer"])


def test_opposite_errors_are_mixed_and_a_bad_one_is_left_out() -> None:
    error = np.full(TRUE.shape, 0.5)
    soup = greedy_soup([checkpoint(error), checkpoint(-error), checkpoint(9 * error)], linear, TARGETS, "regression")
    assert sorted(soup.members) == [0, 1]
    assert soup.cost == pytest.approx(0, abs=1e-6)
    assert soup.weights["layer"].dtype == np.float32 and soup.weights["batches"] == 7


def test_other_shapes_are_refused() -> None:
    small = checkpoint(np.zeros_like(TRUE))
    with pytest.raises(
        InputError, match=r"checkpoint 1 differs from the first in 'layer': \(2, 1\) instead of \(4, 1\)"
    ):
        greedy_soup([small, {**small, "layer": np.zeros((2, 1))}], linear, TARGETS, "regression")
    with pytest.raises(InputError, match="at least one checkpoint"):
        greedy_soup([], linear, TARGETS, "regression")


def test_trials_that_began_apart_are_refused(study: Study) -> None:
    with pytest.raises(InputError, match="each of these 4 trials began from random weights of its own, by its seed"):
        kin(study, study.leaderboard())
    with pytest.raises(InputError, match="a soup needs two trials or more, there are 1"):
        kin(study, study.leaderboard()[:1])


def test_children_of_a_population_share_their_ancestors_weights(document: dict[str, Any], tmp_path: Path) -> None:
    study = Study.create(tmp_path / "studies", spec.load({**document, "scheduler": "pbt"}), data_summary())
    for skill in (2.0, 1.0):
        finish(study, skill, epochs=3)
    first = study.trials()[0]
    number = study.writer.bear({**first.config, "optimizer.lr": 0.05}, first.number, 2, replaces=1).number
    child = next(trial for trial in study.trials() if trial.number == number)
    assert child.inherited
    others = study.leaderboard()
    trials = [*others, child]
    assert {trials[place].number for place in kin(study, trials)} == {first.number, number}
    wider = replace(child, config={**child.config, "model.width": int(child.config["model.width"]) + 1})
    with pytest.raises(InputError, match="differ in the model's settings"):
        kin(study, [first, wider])
