import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo.models.row import Codes, Quantities, Row
from hpo.tasks.features import Feature


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_a_row_is_parted_into_quantities_and_codes(categories: list[int]) -> None:
    row = Row.of((len(categories),), [Feature(str(place), count) for place, count in enumerate(categories)])
    assert sorted((*row.quantities, *row.codes)) == list(range(len(categories)))
    assert [categories[place] for place in row.codes] == list(row.categories)
    assert all(categories[place] == 0 for place in row.quantities)


def test_without_a_layout_all_are_quantities() -> None:
    row = Row.of((3,), ())
    assert row == Row((0, 1, 2), (), ())
    assert Quantities(row)(torch.tensor([[1.0, 2, 3]])).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(("shape", "what"), [((3, 8, 8), "images"), ((20, 64), "series or sound")])
def test_other_inputs_are_refused(shape: tuple[int, ...], what: str) -> None:
    with pytest.raises(ValueError, match=f"it takes rows of a table, and these data are {what}"):
        Row.of(shape, ())


def test_a_column_shares_what_the_unknown_have_and_each_category_has_its_own_beside_it() -> None:
    codes = Codes(Row((0,), (1, 2), (3, 2)), width=4, unknown=0.0, std=1.0)
    rows = torch.tensor([[0.5, 3, 1], [0.5, 0, 0], [0.5, 7, -1]])
    table = codes.table.weight
    embedded = codes(rows)
    assert embedded.shape == (3, 2, 4)
    torch.testing.assert_close(embedded[0], torch.stack([table[0] + table[3], table[4] + table[4 + 1]]))
    torch.testing.assert_close(embedded[1], torch.stack([table[0], table[4]]))
    torch.testing.assert_close(embedded[2], embedded[1])


def test_training_takes_a_share_for_unknown_and_prediction_none() -> None:
    torch.manual_seed(0)
    codes = Codes(Row((), (0,), (1,)), width=1, unknown=0.25, std=0.0)
    torch.nn.init.constant_(codes.table.weight[1:], 1.0)
    rows = torch.ones(10_000, 1)
    assert codes(rows).mean().item() == pytest.approx(0.75, abs=0.02)
    assert codes.eval()(rows).mean().item() == 1


def test_impossible_settings_of_embeddings_are_refused() -> None:
    for width, unknown in ((0, 0.0), (1, 1.0), (1, -0.1)):
        with pytest.raises(ValueError, match="embeddings must have at least 1 number and unknown be in"):
            Codes(Row((), (0,), (1,)), width, unknown, 1.0)
