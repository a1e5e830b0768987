"""Folds: every row is held out once, classes are spread, and the data of a fold are what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import datasets
from hpo.datasets.dataset import Dataset, Examples
from hpo.datasets.folds import fold_numbers, folded, folds_of
from hpo.errors import DataError
from hpo.spec import DataSettings
from tests.conftest import ROOT


def table(rows: int, classes: int = 3) -> Dataset:
    inputs = np.arange(rows, dtype=np.float32)[:, None]
    examples = Examples(inputs, np.arange(rows) % classes)
    return Dataset(examples, examples, examples.take(np.arange(2)), ("a", "b", "c"))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(2, 9), st.integers(0, 5))
def test_each_row_is_held_out_once_and_classes_are_spread(labels: list[int], folds: int, seed: int) -> None:
    targets = np.array(labels)
    split = folds_of(targets, folds, seed)
    assert len(split) == min(folds, len(targets))
    assert sorted(np.concatenate([held_out for _, held_out in split])) == list(range(len(targets)))
    for rows, held_out in split:
        assert len(held_out) and not set(rows) & set(held_out) and len(rows) + len(held_out) == len(targets)
    for label in set(labels):
        counts = [int((targets[held_out] == label).sum()) for _, held_out in split]
        assert max(counts) - min(counts) <= 1


def test_the_seed_draws_the_folds() -> None:
    targets = np.zeros(50, np.int64)
    assert (fold_numbers(targets, 5, 1) == fold_numbers(targets, 5, 1)).all()
    assert (fold_numbers(targets, 5, 1) != fold_numbers(targets, 5, 2)).any()


def test_the_data_of_a_fold_validate_what_they_do_not_train_on() -> None:
    dataset = table(30)
    parts = folded(dataset, 4, 7)
    assert len(parts) == 4 and parts is folded(dataset, 4, 7)
    for part, (rows, held_out) in zip(parts, folds_of(dataset.train.targets, 4, 7), strict=True):
        assert part.train.inputs[:, 0].tolist() == rows.tolist()
        assert part.validation.inputs[:, 0].tolist() == held_out.tolist()
        assert part.test is dataset.test and part.input_moments[0] == pytest.approx(rows.mean())


def test_a_search_with_folds_validates_every_training_row() -> None:
    split = datasets.load(DataSettings(name="wine"), ROOT, 0)
    whole = datasets.load(DataSettings(name="wine"), ROOT, 0, 5)
    assert whole.validation is whole.train and len(whole.train) == len(split.train) + len(split.validation)
    assert whole.fingerprint != split.fingerprint


def test_more_folds_than_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"training.folds 100: there are \d+ training rows, and each fold needs one"):
        datasets.split.check_folds(table(30).train, 100)


def test_a_class_with_a_single_row_is_refused() -> None:
    rows = Examples(np.zeros((5, 1), np.float32), np.array([0, 0, 0, 0, 1]))
    with pytest.raises(DataError, match="class 'b': has a single training example"):
        datasets.split.check_folds(rows, 2, ("a", "b"))
