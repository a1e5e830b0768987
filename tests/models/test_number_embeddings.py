from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpo.models.number_embeddings import NumberEmbedding, Periodic, PiecewiseLinear
from hpo.models.row import Row

ROW = Row((0, 1), (), ())
VALUES = arrays(np.float32, (20, 2), elements=st.integers(-5, 5).map(float))


@given(VALUES, st.integers(1, 8), st.floats(-9, 9, width=32))
def test_pieces_are_passed_one_after_another(values: np.ndarray, pieces: int, value: float) -> None:
    layer = PiecewiseLinear(ROW, pieces)
    layer.fit(torch.from_numpy(values))
    shares = layer(torch.full((1, 2), value))[0]
    assert shares.shape == (2, pieces) and bool(shares.isfinite().all())
    for edges, passed in zip(layer.edges, shares, strict=True):
        sizes = edges.diff()
        there = int((sizes > 0).sum())
        assert there >= 1 and bool((sizes[:there] > 0).all()) and not passed[there:].any()
        torch.testing.assert_close(edges[0] + (passed * sizes).sum(), torch.tensor(value), rtol=1e-4, atol=1e-4)
        inner = passed[1 : there - 1]
        assert bool(((inner >= 0) & (inner <= 1)).all())
        assert all(float(before) == 1 or float(behind) == 0 for before, behind in pairwise(passed[:there]))


def test_pieces_hold_as_many_rows_each() -> None:
    values = torch.linspace(0, 1, 1001).square()[:, None].repeat(1, 2)
    layer = PiecewiseLinear(ROW, 4)
    layer.fit(values)
    torch.testing.assert_close(layer.edges[0], torch.tensor([0, 0.0625, 0.25, 0.5625, 1]))


def test_waves_have_learned_frequencies_of_each_number() -> None:
    layer = Periodic(ROW, 3, 0.5)
    waves = layer(torch.tensor([[0.25, -1.0]]))
    angles = 2 * torch.pi * layer.frequencies * torch.tensor([[0.25], [-1.0]])
    torch.testing.assert_close(waves[0], torch.cat([angles.sin(), angles.cos()], dim=1))
    waves.sum().backward()
    assert layer.frequencies.grad is not None


def test_each_number_has_a_map_of_its_own() -> None:
    layer = NumberEmbedding(ROW, Periodic(ROW, 3, 0.5), 5)
    first, second = layer(torch.tensor([[0.3, 0.1]]))[0], layer(torch.tensor([[0.3, 0.2]]))[0]
    assert first.shape == (2, 5) and bool((first >= 0).all())
    torch.testing.assert_close(first[0], second[0])
    assert not torch.equal(first[1], second[1])
