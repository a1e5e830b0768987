"""Ragged rows on a device."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo.tasks.rows import RaggedRows


def rows_of(lists: list[list[int]]) -> RaggedRows:
    lengths = np.array([len(row) for row in lists], np.int64)
    values = torch.tensor([value for row in lists for value in row], dtype=torch.int32)
    return RaggedRows(values, np.cumsum(lengths) - lengths, lengths, 0)


@given(
    lists=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=1, max_size=9),
    size=st.integers(1, 5),
)
def test_batches_have_all_rows_by_length_and_little_padding(lists: list[list[int]], size: int) -> None:
    found: dict[int, list[int]] = {}
    longest = 0
    for numbers, batch in rows_of(lists).batches(size):
        assert len(numbers) <= size and batch.shape == (len(numbers), max(len(lists[row]) for row in numbers))
        assert batch.shape[1] >= longest
        longest = batch.shape[1]
        found |= {int(row): values[values != 0].tolist() for row, values in zip(numbers, batch, strict=True)}
    assert [found[row] for row in range(len(lists))] == lists


def test_no_rows_are_one_empty_batch() -> None:
    ((numbers, batch),) = rows_of([]).batches(4)
    assert len(numbers) == 0 and batch.shape == (0, 1)
