import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.datasets.folds import fold_numbers, folds_of
from hpo.ensemble.member_choice import SELECTIONS
from hpo.ensemble.method_choice import (
    _WORTH,
    SINGLE,
    Gain,
    candidates,
    choose,
    comparison_operations,
    plainest,
    spans,
)
from hpo.ensemble.methods import METHODS, Method
from hpo.ensemble.score import Predictions, Targets, costs
from hpo.errors import InputError
from tests.conftest import CLASSES, probabilities
from tests.ensemble.pools import TASKS, pool


def equals(seed: int, rows: int, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Members that are equally good and err independently: any mean of them is better than one."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, rows)
    return np.stack([probabilities(labels, skill, generator) for _ in range(6)]), labels


@pytest.mark.parametrize("task", TASKS)
def test_auto_compares_every_method_of_the_task(task: str) -> None:
    predictions, targets = pool(task, 1, 6, rows=200)
    best = int(costs(predictions, targets, task).argmin())
    choice = choose("auto", predictions, targets, 3, task=task, best=best)
    assert choice.costs.keys() == {*candidates(task), SINGLE}
    assert choice.method == SINGLE or (choice.gain.certain and choice.costs[choice.method] < choice.costs[SINGLE])
    assert (choice.interval is not None) == (task == "regression")
    assert bool(choice.calibration.before) == (task != "regression")


def test_an_ensemble_that_pays_is_taken() -> None:
    predictions, labels = equals(0, 300)
    choice = choose("auto", predictions, labels, 5)
    assert choice.method != SINGLE and len(choice.combiner.members) > 1
    assert choice.gain.certain and choice.gain.ensemble < choice.gain.single
    assert choice.note.startswith("better than the best single trial on held-out rows: nll 0.")


def test_one_that_does_not_is_not() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, 300)
    noise = [probabilities(labels, 0.0, generator) for _ in range(5)]
    choice = choose("auto", np.stack([probabilities(labels, 3.0, generator), *noise]), labels, 5)
    assert (choice.method, choice.combiner.members, choice.combiner.weights) == (SINGLE, (0,), (1.0,))
    assert choice.note.startswith("no ensemble is surely better than the best single trial")


def test_a_named_method_is_used_as_asked_and_told_to_be_worse() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, 300)
    noise = [probabilities(labels, 0.0, generator) for _ in range(5)]
    choice = choose("voting", np.stack([probabilities(labels, 3.0, generator), *noise]), labels, 5)
    assert choice.method == "voting" and len(choice.combiner.members) == 5
    assert choice.costs.keys() == {"voting", SINGLE} and choice.costs["voting"] > choice.costs[SINGLE]
    assert choice.note.startswith("not surely better") and choice.note.endswith("auto would take the single trial")


def test_a_gain_within_noise_or_at_the_cost_of_right_rows_is_not_certain() -> None:
    assert Gain("nll", 1.0, 0.9, 0.1, 0.05, 0.0).certain
    assert not Gain("nll", 1.0, 0.9, 0.1, 0.2, 0.0).certain
    assert not Gain("nll", 1.0, 0.9, 0.1, 0.05, -0.01).certain
    assert Gain("nll", 1.0, 0.9, 0.1, 0.05, -0.01, 0.02).certain
    assert Gain("mse", 1.0, 0.9, 0.1, 0.05, None).certain
    assert not Gain("mse", 1.0, 1.0, 0.0, 0.0, None).certain


def cross_validated(method: Method, predictions: Predictions, targets: Targets, top: int) -> float:
    """The score of predictions for held-out rows, whose members and weights were chosen without these rows."""
    combined = np.empty(predictions.shape[1:], np.float32)
    for fitted, held_out in folds_of(targets, 5):
        combiner = method(predictions[:, fitted], targets[fitted], top, "classification")
        combined[held_out] = combiner.combine(predictions[list(combiner.members)][:, held_out])
    return float(costs(combined, targets))


def test_nothing_is_learnt_from_shuffled_labels() -> None:
    predictions, labels = pool("classification", 2, 20, rows=400)
    shuffled = np.random.default_rng(0).permutation(labels)
    for name in candidates("classification"):
        assert cross_validated(METHODS[name], predictions, shuffled, 5) > np.log(CLASSES) - 0.02
    choice = choose("auto", predictions[:, :200], shuffled[:200], 5)
    test = choice.combiner.combine(predictions[list(choice.combiner.members), 200:])
    accuracy = (test.argmax(axis=1) == shuffled[200:]).mean()
    assert accuracy == pytest.approx(1 / CLASSES, abs=3 * np.sqrt(2 / 9 / 200))
    assert costs(test, shuffled[200:]) > np.log(CLASSES) - 0.05


@pytest.mark.parametrize("task", TASKS)
def test_twenty_rows_are_enough_to_choose_by(task: str) -> None:
    predictions, targets = pool(task, 4, 5, rows=20)
    if task == "classification":
        targets[:] = 0
        targets[0] = 2  # a class with one row, and one without any
    assert np.isfinite(list(choose("auto", predictions, targets, 3, task=task).costs.values())).all()


def test_between_methods_that_are_alike_the_plainest_is_taken() -> None:
    rows, noise = np.random.default_rng(0).random(100), np.tile([0.5, -0.5], 50)
    assert plainest({"worse": rows + 1, "plain": rows, "best": rows - 0.02 + noise}) == "plain"
    assert plainest({"plain": rows, "best": rows - 0.5 + noise}) == "best"
    assert plainest({"first": rows, "second": rows}) == "first"


def test_a_stack_is_taken_where_it_is_clearly_best() -> None:
    predictions, labels = equals(2, 300)
    choice = choose("auto", predictions[:, :, [1, 2, 0]], labels, 5)  # every member confuses all classes
    assert choice.method.startswith("stacking")
    assert choice.gain.hits is not None and choice.gain.hits > 0.3


def test_fewer_than_ten_are_refused() -> None:
    predictions, labels = pool("classification", 0, 3, rows=9)
    with pytest.raises(InputError, match="at least 10 validation rows to be chosen by, there are 9; raise data.valid"):
        choose("auto", predictions, labels, 2)


@pytest.mark.parametrize("select", SELECTIONS)
@pytest.mark.parametrize("method", ["voting", "weighted", "stacking"])
def test_members_are_selected_as_told(method: str, select: str) -> None:
    predictions, labels = pool("classification", 3, 8, rows=60)
    choice = choose(method, predictions, labels, 3, select=select)
    expected = SELECTIONS[select](predictions, labels, 3, "classification")
    assert set(choice.combiner.members) <= set(expected)
    combined = choice.combiner.combine(predictions[list(choice.combiner.members)])
    assert costs(combined, labels) < np.log(CLASSES)


def test_names_are_held_to_the_known_ones() -> None:
    predictions, labels = pool("classification", 0, 2)
    with pytest.raises(InputError, match="unknown method 'votin'. Did you mean 'voting'"):
        choose("votin", predictions, labels, 2)
    with pytest.raises(InputError, match="unknown selection 'scores'. Did you mean 'score'"):
        choose("voting", predictions, labels, 2, select="scores")
    with pytest.raises(InputError, match="--method median is not for task classification"):
        choose("median", predictions, labels, 2)


@given(st.lists(st.integers(0, 3), min_size=5, max_size=60), st.integers(2, 5))
def test_folds_are_alike_in_size_and_spread_every_class(labels: list[int], folds: int) -> None:
    numbers = fold_numbers(np.array(labels), folds)
    sizes = np.bincount(numbers, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    for value in set(labels):
        own = np.bincount(numbers[np.array(labels) == value], minlength=folds)
        assert own.max() - own.min() <= 1
    splits = folds_of(np.array(labels), folds)
    assert sorted(np.concatenate([held_out for _, held_out in splits])) == list(range(len(labels)))


def test_auto_leaves_out_what_takes_longer_than_it_is_worth() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 1000, 800)
    predictions = generator.random((3, 800, 1000), np.float32)
    predictions[:, np.arange(800), targets] += 500
    predictions /= predictions.sum(axis=2, keepdims=True)
    said: list[str] = []
    started = time.process_time()
    choice = choose("auto", predictions, targets, 5, say=said.append)
    assert time.process_time() - started < 60
    names = "stacking, stacking_boosting, stacking_ridge"
    assert set(choice.costs) == {"single", *candidates("classification")} - set(names.split(", "))
    (line,) = said
    assert all(name in line for name in names.split(", ")) and "1,000 outputs of 3 members and 800 rows" in line
    assert choice.note.endswith(f"; {line}")


@pytest.mark.parametrize(("members", "rows", "classes"), [(5, 10_000, 10), (5, 10_000, 200), (5, 2_000, 100)])
def test_ordinary_sizes_keep_all_methods(members: int, rows: int, classes: int) -> None:
    for name in candidates("classification"):
        assert comparison_operations(name, members, rows, classes) < _WORTH


def test_long_comparisons_say_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, targets = equals(0, 60)
    said: list[str] = []
    choose("stacking", predictions, targets, 5, say=said.append)
    assert said == []
    monkeypatch.setattr("hpo.ensemble.method_choice._LONG", 0.0)
    choose("stacking", predictions, targets, 5, say=said.append)
    assert said == [f"stacking: fit {place} of 5" for place in range(1, 6)]


def test_a_stack_of_windows_that_overlap_is_not_taken_for_what_it_learns_by_heart() -> None:
    """Neighbouring windows nearly have the same truth: on random folds a flexible stack knows what is left out."""
    generator = np.random.default_rng(0)
    rows, horizon = 800, 24
    noise = np.cumsum(generator.normal(size=rows + horizon))
    truth = np.lib.stride_tricks.sliding_window_view(noise, horizon)[:rows].astype(np.float32)
    level = generator.normal(size=(4, 1, 1))
    forecasts = (noise[:rows, None] + 0.1 * level + np.zeros(horizon)).astype(np.float32)
    blind = choose("stacking_boosting", forecasts, truth, 4, task="regression")
    aware = choose("stacking_boosting", forecasts, truth, 4, task="regression", overlap=horizon - 1)
    assert blind.gain.ensemble < 0.8 * aware.gain.ensemble
    assert aware.gain.error > 2 * blind.gain.error
    assert choose("auto", forecasts, truth, 4, task="regression", overlap=horizon - 1).method == SINGLE


@given(st.integers(5, 300), st.integers(2, 5))
def test_spans_are_one_after_another_and_alike_in_size(rows: int, folds: int) -> None:
    numbers = spans(rows, folds)
    sizes = np.bincount(numbers, minlength=folds)
    assert (np.diff(numbers) >= 0).all() and sizes.sum() == rows and np.ptp(sizes) <= 1
