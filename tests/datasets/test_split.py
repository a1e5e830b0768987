import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.datasets.split import stratified


@given(
    st.lists(st.integers(0, 5), min_size=12, max_size=200).map(lambda labels: [*range(6), *range(6), *labels]),
    st.floats(0.01, 0.99),
    st.integers(0, 2**32),
)
def test_each_row_is_in_one_part_and_each_label_has_its_share(labels: list[int], fraction: float, seed: int) -> None:
    rows = len(labels)
    count = int(np.ceil(fraction * rows))
    if min(count, rows - count) < 6:
        with pytest.raises(ValueError, match="too few for 6 classes"):
            stratified(np.array(labels), fraction, seed)
        return
    first, second = stratified(np.array(labels), fraction, seed)
    assert len(second) == count
    assert sorted([*first, *second]) == list(range(rows))
    assert (np.diff(first) > 0).all() and (np.diff(second) > 0).all()
    for label in range(6):
        share = labels.count(label) * count / rows
        assert share - 1 < (np.array(labels)[second] == label).sum() < share + 1


def test_the_seed_decides() -> None:
    labels = np.arange(100) % 7
    draws = [stratified(labels, 0.2, seed)[1].tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_label_of_a_single_row_cannot_be_in_both() -> None:
    with pytest.raises(ValueError, match="single example"):
        stratified(np.array([0, 0, 0, 1]), 0.5, 0)


def test_every_row_may_be_drawn() -> None:
    drawn = {row for seed in range(60) for row in stratified(np.zeros(20, int), 0.2, seed)[1].tolist()}
    assert drawn == set(range(20))
