import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo.datasets.dataset import Examples, dense
from hpo.datasets.ragged import joined
from hpo.datasets.windows import Windows
from hpo.tasks.rows import WindowRows

PLACES = st.lists(st.integers(0, 15), min_size=1, max_size=30)


def windows(places: list[int]) -> Windows:
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    return Windows(values, np.array(places, np.int64), 5)


@given(PLACES)
def test_windows_are_slices_of_their_steps_wherever_they_are_cut(places: list[int]) -> None:
    own = windows(places)
    whole = own.dense()
    assert own.shape == whole.shape and own.size == whole.size and own.ndim == whole.ndim
    for place, window in zip(places, whole, strict=True):
        assert np.array_equal(window, own.values[place : place + 5])
    rows = WindowRows(torch.from_numpy(own.values), own.begins, own.length)
    numbers, batches = zip(*rows.batches(7), strict=True)
    assert np.array_equal(torch.cat(batches).numpy(), whole) and [*np.concatenate(numbers)] == [*range(len(places))]
    assert np.array_equal(np.unique(whole.reshape(-1, 2), axis=0), own.covered)


@given(PLACES, PLACES)
def test_rows_are_taken_and_joined_without_copies_of_steps(places: list[int], others: list[int]) -> None:
    own = windows(places)
    examples = Examples(own, np.zeros((len(places), 1), np.float32))
    order = np.arange(len(places))[::-1]
    assert examples.take(order).inputs.values is own.values
    assert np.array_equal(dense(examples.take(order).inputs), own.dense()[order])
    shared = joined([own, own[order]])
    assert shared.values is own.values and len(shared) == 2 * len(own)
    apart = joined([own, windows(others)])
    assert np.array_equal(apart.dense(), np.concatenate([own.dense(), windows(others).dense()]))
