from hypothesis import given
from hypothesis import strategies as st

from hpo.study.number_set import NumberSet


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60))
def test_it_has_what_a_set_has_in_order(steps: list[tuple[int, bool]]) -> None:
    numbers, expected = NumberSet(), set[int]()
    for number, belongs in steps:
        for among in (numbers, expected):
            (among.add if belongs else among.discard)(number)
        assert numbers.array().tolist() == sorted(expected)
