"""Configs that a user names, held to what is searched."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import spec
from hpo.errors import SpecError
from hpo.spec.config import checked_config
from hpo.spec.space import Space

SPACE = {
    "study": "named",
    "parameters": {
        "x": {"min": 0, "max": 1},
        "depth": {"type": "int", "min": 1, "max": 9, "step": 2},
        "kind": {"values": ["plain", "deep", 0, True]},
        "rate": {"min": 1e-4, "max": 1, "log": True, "when": {"kind": "deep"}},
    },
    "objective": {"metric": "loss", "goal": "minimize"},
}


def checked(**config: Any) -> dict[str, Any]:
    return checked_config(spec.load_search(SPACE), config)


def test_values_are_as_their_parameters_have_them() -> None:
    found = checked(x=1, depth=3.0, kind="deep", rate=0.5)
    assert found == {"x": 1.0, "depth": 3, "kind": "deep", "rate": 0.5}
    assert [type(value) for value in found.values()] == [float, int, str, float]
    assert checked(kind=True)["kind"] is True and checked(kind=0.0)["kind"] == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "config: names no parameter"),
        ({"y": 1}, "y: is not searched by this study. Known: depth, kind, rate, x."),
        ({"dept": 1}, "dept: is not searched by this study. Did you mean 'depth'?"),
        ({"x": 1.5}, "x: must be in [0, 1], got 1.5"),
        ({"x": "0.5"}, "x: must be in [0, 1], got '0.5'"),
        ({"depth": 2}, "depth: must be in [1, 9], got 2"),
        ({"kind": 1}, "kind: must be in {plain, deep, 0, True}, got 1"),
        ({"rate": 0.1}, "rate: is only there where kind is 'deep'; name that too"),
        ({"rate": 0.1, "kind": "plain"}, "rate: is only there where kind is 'deep', and that is 'plain'"),
        ({"x": None}, "x: must be in [0, 1], got None"),
        ({"x": {"a": 1}}, "x: must be in [0, 1], got {'a': 1}"),
        ({"x": 7, "depth": 7.5}, "x: must be in [0, 1], got 7\ndepth: must be in [1, 9], got 7.5"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_all_at_once(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        checked(**config)
    assert str(refused.value) == message


def test_a_fixed_setting_is_no_parameter(document: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"training.epochs: is not searched by this study. It is fixed at 3."):
        checked_config(spec.load(document), {"training.epochs": 5})
    assert checked_config(spec.load(document), {"model.width": 16}) == {"model.width": 16}


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers()))


@given(st.dictionaries(st.sampled_from(["x", "depth", "kind", "rate", "other"]), ANYTHING))
def test_whatever_is_named_is_refused_or_lies_in_the_space(config: dict[str, Any]) -> None:
    read = spec.load_search(SPACE)
    try:
        found = checked_config(read, config)
    except SpecError:
        return
    space = Space.of(read)
    assert found.keys() == config.keys()
    assert all(space.parameters[name].contains(value) and space.active(name, found) for name, value in found.items())


def test_lists_orders_ties_and_what_is_forbidden_are_held_to_too() -> None:
    document = {
        "study": "named",
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {
            "widths": {"values": [[64], [128, 64]]},
            "order": {"permutation": ["a", "b", "c"]},
            "drop": {"normal": [0.5, 0.1], "min": 0, "max": 1, "when": {"widths": [[128, 64]]}},
            "twice": {"equals": "2 * lr"},
            "lr": {"min": 0, "max": 1},
        },
        "forbidden": ["lr > 0.9"],
    }
    read = spec.load_search(document)
    found = checked_config(read, {"widths": (128, 64), "order": ("c", "a", "b"), "drop": 0.5, "lr": 0.25})
    assert found == {"widths": [128, 64], "order": ["c", "a", "b"], "drop": 0.5, "lr": 0.25}
    assert Space.of(read).config(Space.of(read).recorded(found)) == {**found, "twice": 0.5}
    for config, message in (
        ({"twice": 0.5}, r"twice: follows from others \(2 \* lr\); leave it out"),
        ({"widths": [64], "drop": 0.5}, r"drop: is only there where widths is \[128, 64\], and that is \[64\]"),
        ({"order": ["a", "b"]}, "order: must be in"),
        ({"lr": 0.95}, "config: is not allowed: .*lr > 0.9"),
    ):
        with pytest.raises(SpecError, match=message):
            checked_config(read, config)
