"""Rows of different lengths in one array."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpo.datasets.ragged import Ragged, joined

ROWS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), max_size=8)


def ragged(rows: list[list[int]], limit: int = 9) -> Ragged:
    return Ragged.of([np.array(row) for row in rows], limit, 0, np.int32)


def listed(rows: Ragged) -> list[list[int]]:
    return [row[row != 0].tolist() for row in rows.padded()]


@given(rows=ROWS, limit=st.integers(1, 7), draw=st.data())
def test_rows_are_kept_cut_taken_and_joined(rows: list[list[int]], limit: int, draw: st.DataObject) -> None:
    made, cut = ragged(rows, limit), [row[:limit] for row in rows]
    assert listed(made) == cut and made.shape == (len(rows), limit) and made.dtype == np.int32
    assert made.lengths.tolist() == [len(row) for row in cut] and made.size == sum(map(len, cut))
    chosen = draw.draw(st.lists(st.integers(0, len(rows) - 1), max_size=5)) if rows else []
    assert listed(made[np.array(chosen, np.intp)]) == [cut[row] for row in chosen]
    first, last = sorted(draw.draw(st.tuples(st.integers(0, 8), st.integers(0, 8))))
    assert listed(made[first:last]) == cut[first:last]
    assert listed(joined([made, made[first:last], made])) == [*cut, *cut[first:last], *cut]


def test_padding_fills_up_to_the_longest_row_or_to_a_length() -> None:
    made = ragged([[1, 2, 3], [4]])
    assert made.padded().tolist() == [[1, 2, 3], [4, 0, 0]]
    assert made.padded(5).tolist() == [[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]]
    assert made[:0].padded().shape == (0, 1)
