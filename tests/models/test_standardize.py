import numpy as np
import torch

from hpo.datasets.moments import moments
from hpo.models.standardize import Standardize
from hpo.tasks.features import Feature, width, with_missing


def test_what_float32_blurs_is_centred_in_float64_and_comes_out_as_float32() -> None:
    stamps = (1.7e9 + 10.0 * np.arange(360))[:, None]
    layer = Standardize((1,))
    layer.fit(*moments(stamps), wide=True)
    seen = layer(torch.from_numpy(stamps))
    assert seen.dtype == torch.float32 and len(seen.unique()) == 360
    torch.testing.assert_close(seen.std(correction=0), torch.tensor(1.0))

    other = Standardize((1,))
    other.load_state_dict(layer.state_dict())  # takes the type of the checkpoint
    torch.testing.assert_close(other(torch.from_numpy(stamps)), seen, rtol=0, atol=0)


def test_without_need_everything_is_float32() -> None:
    layer = Standardize((2,))
    layer.fit(*moments(np.array([[1, 2], [3, np.nan]], np.float32)))
    assert {buffer.dtype for buffer in layer.buffers()} == {torch.float32}
    assert layer(torch.tensor([[1.0, float("nan")]])).tolist() == [[-1.0, 0.0]]


def test_a_constant_is_one_whatever_rounding_has_left_of_it() -> None:
    table = np.full((7, 1), 0.1)
    assert table.std() > 0  # 1.4e-17
    assert moments(table)[1].tolist() == [1.0]


def test_categories_are_one_number_each_and_missing_quantities_are_told() -> None:
    layout = (Feature("a", may_miss=True), Feature("b", categories=3), Feature("c"), Feature("d", categories=2))
    layer = Standardize((4,), layout)
    layer.fit(np.array([1.0, 0, 2, 0]), np.array([2.0, 1, 1, 1]))
    rows = torch.tensor([[3.0, 2, 5, 1], [torch.nan, 0, torch.nan, 2], [1, 3, 2, 0]])
    expected = [
        [1.0, 3, 0, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 0, 0, 0],
    ]
    assert layer(rows).tolist() == expected and width(layout) == 8
    assert set(layer.state_dict()) == {"mean", "std"}, "a checkpoint needs no more than without"


def test_codes_stay_where_they_are_and_missing_quantities_are_told_behind_them() -> None:
    layout = (Feature("a", may_miss=True), Feature("b", categories=3), Feature("c", may_miss=True))
    layer = Standardize((3,), layout, coded=True)
    layer.fit(np.array([1.0, 0.5, 2]), np.array([2.0, 0.5, 1]))
    rows = torch.tensor([[3.0, 2, torch.nan], [torch.nan, 0, 3]])
    assert layer(rows).tolist() == [[1.0, 2, 0, 0, 1], [0, 0, 1, 1, 0]] and layer.gives == (5,)
    assert [feature.name for feature in with_missing(layout)] == ["a", "b", "c", "a (missing)", "c (missing)"]
    assert set(layer.state_dict()) == {"mean", "std"}
