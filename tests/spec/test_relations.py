"""Tied values, forbidden combinations and known configs: what is refused, and which configs there are."""

import math
from itertools import product
from typing import Any

import pytest

from hpo import spec
from hpo.errors import SpecError
from hpo.spec.space import Space, never_active, possible_configs

WIDTHS = {"in": {"values": [8, 16, 32]}, "kind": {"values": ["plain", "deep"]}}


def search_spec(parameters: dict[str, Any], **changes: Any) -> spec.SearchSpec:
    return spec.load_search({"study": "s", "parameters": parameters, **changes})


def problem(parameters: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        search_spec(parameters, **changes)
    assert len(caught.value.lines) == 1, caught.value.lines
    return caught.value.lines[0]


# ---- tied values -----------------------------------------------------------------------------------------------------


def test_a_tied_value_is_in_the_config_and_not_among_what_is_searched() -> None:
    space = Space.of(search_spec({"out": {"equals": "2 * in"}, "last": {"equals": "out // 3 + in"}, **WIDTHS}))
    assert list(space.parameters) == ["in", "kind"]
    assert space.config({"in": 16, "kind": "deep"}) == {"in": 16, "kind": "deep", "out": 32, "last": 26}
    assert space.recorded({"in": 16, "kind": "deep", "out": 32, "last": 26}) == {"in": 16, "kind": "deep"}
    assert space.config({"kind": "deep"}) == {"kind": "deep"}
    assert possible_configs(search_spec({"out": {"equals": "2 * in"}, **WIDTHS})) == 6


def test_a_tied_value_may_have_conditions_and_come_from_settings(document: dict[str, Any]) -> None:
    document["model"]["width"] = 16
    document["parameters"] = {
        "optimizer.name": {"values": ["sgd", "adam"]},
        "optimizer.lr": {"equals": "model.width / 100", "when": {"optimizer.name": "sgd"}},
    }
    space = Space.of(spec.load(document))
    assert space.config({"optimizer.name": "sgd"}) == {"optimizer.name": "sgd", "optimizer.lr": 0.16}
    assert space.config({"optimizer.name": "adam"}) == {"optimizer.name": "adam"}


def test_a_tie_that_no_config_has_is_told() -> None:
    one = search_spec({**WIDTHS, "out": {"equals": "2 * in", "when": {"training.epochs": 3}}})
    (said,) = never_active(one)
    assert said.startswith("'out' is never active and so never searched: its `when` wants training.epochs to be 3")


@pytest.mark.parametrize(
    ("tied", "said"),
    [
        ({"equals": "2 * inn"}, "there is no parameter or setting 'inn'. Did you mean 'in'?"),
        ({"equals": "2 * kind"}, "'kind' is in {plain, deep}, and no number can be computed from that"),
        ({"equals": "2 * out"}, "ties go in a circle: out -> out"),
        ({"equals": "2 * depth"}, "'depth' exists only where 'kind' is deep: give this parameter the same `when`"),
        ({"equals": "2 * depth", "when": {"kind": ["deep", "plain"]}}, "'depth' exists only where 'kind' is deep"),
        ({"equals": "1 / (in - in)"}, "'1 / (in - in)' has no value where in is 8: it divides by zero"),
        ({"equals": "in + training.device"}, "'training.device' is 'auto', and no number"),
        ({"equals": "2 * in", "default": 4}, "'equals' does not go with default"),
        ({"equals": "2 *"}, "'2 *' is no expression"),
    ],
)
def test_a_wrong_tie_is_one_sentence(tied: dict[str, Any], said: str) -> None:
    line = problem({**WIDTHS, "depth": {"min": 1, "max": 2, "when": {"kind": "deep"}}, "out": tied})
    assert line.startswith("spec: parameters.out") and said in line


def test_a_stored_spec_that_is_made_to_take_long_takes_seconds_at_most() -> None:
    """Ties and conditions of which each names two others have 2^n ways through them."""
    ties = {f"{one}{place}": {"equals": f"a{place - 1} + b{place - 1}"} for place in range(1, 26) for one in "ab"}
    first = {one: {"min": 0, "max": 1} for one in ("a0", "b0")}
    whens = {
        f"{one}{place}": {"values": [1, 2], "when": {f"c{place - 1}": 1, f"d{place - 1}": 1} if place else {}}
        for place in range(40)
        for one in "cd"
    }
    clauses = [f"a25 + {place} * b25 > {10**12}" for place in range(200)]
    one = search_spec({**first, **whens, **ties}, forbidden=clauses)
    assert Space.of(one).config({"a0": 0.5, "b0": 0.5})["b25"] == 2**24
    assert problem({**first, **ties, "more": {"equals": "a0"}}).endswith("more than 50 parameters are tied")


def test_ties_of_a_branch_are_those_of_the_branch() -> None:
    depth = {"min": 1, "max": 2, "when": {"kind": "deep"}}
    space = Space.of(search_spec({**WIDTHS, "depth": depth, "out": {"equals": "2 * depth", "when": {"kind": "deep"}}}))
    assert space.config({"in": 8, "kind": "deep", "depth": 1.5})["out"] == 3.0
    assert "out" not in space.config({"in": 8, "kind": "plain"})


def test_two_ties_in_a_circle_and_a_condition_on_a_tie() -> None:
    line = problem({**WIDTHS, "a": {"equals": "b + in"}, "b": {"equals": "a"}})
    assert "ties go in a circle" in line
    line = problem({**WIDTHS, "a": {"equals": "in + 1"}, "b": {"min": 0, "max": 1, "when": {"a": 9}}})
    assert "'a' follows from others (in + 1); name what it follows from" in line


def test_a_tied_value_is_held_to_the_rule_of_its_setting(document: dict[str, Any]) -> None:
    document["parameters"] = {
        "training.label_smoothing": {"min": 0, "max": 0.6},
        "optimizer.momentum": {"equals": "2 * training.label_smoothing"},
    }
    with pytest.raises(SpecError, match="must be less than 1, got 1.2, where training.label_smoothing is 0.6"):
        spec.load(document)
    document["forbidden"] = ["optimizer.momentum >= 1"]
    assert spec.load(document).forbidden == ("optimizer.momentum >= 1",)


# ---- forbidden combinations ------------------------------------------------------------------------------------------


def test_configs_are_counted_without_what_is_forbidden() -> None:
    grid = {"a": {"type": "int", "min": 1, "max": 6}, "b": {"type": "int", "min": 1, "max": 6}, **WIDTHS}
    forbidden = ["a >= b", {"kind": "deep", "in": [8, 32]}, 'b == 6 and kind == "plain"']
    expected = [
        {"a": a, "b": b, "in": width, "kind": kind}
        for a, b, width, kind in product(range(1, 7), range(1, 7), (8, 16, 32), ("plain", "deep"))
        if a < b and not (kind == "deep" and width in (8, 32)) and not (b == 6 and kind == "plain")
    ]
    found = Space.of(search_spec(grid, forbidden=forbidden)).configs(1000)
    assert found is not None and sorted(map(str, found)) == sorted(map(str, expected))
    assert possible_configs(search_spec(grid, forbidden=forbidden)) == len(expected)


def test_a_clause_about_what_is_inactive_forbids_nothing() -> None:
    parameters = {"kind": WIDTHS["kind"], "depth": {"values": [1, 2], "when": {"kind": "deep"}}}
    found = Space.of(search_spec(parameters, forbidden=["depth < 3", {"kind": "deep", "depth": 1}])).configs(9)
    assert found == [{"kind": "plain"}]


def test_clauses_know_lists_switches_settings_and_ties() -> None:
    parameters = {
        "sizes": {"values": [[64, 64], [32]]},
        "bias": {"values": [True, False]},
        "n": {"values": [1, 2]},
        "twice": {"equals": "2 * n"},
    }
    forbidden = [{"sizes": [[32]], "bias": True}, "bias == false and n == 1", "twice * training.epochs > 35"]
    space = Space.of(search_spec(parameters, forbidden=forbidden, training={"epochs": 10}))
    found = [space.config(one) for one in space.configs(99) or []]
    assert found == [{"sizes": [64, 64], "bias": True, "n": 1, "twice": 2}]


def test_one_clause_needs_no_list_and_is_stored_as_it_was() -> None:
    one = search_spec(WIDTHS, forbidden={"kind": "deep", "in": 8})
    assert one.forbidden == ({"kind": ("deep",), "in": (8,)},)
    again = spec.load_search(spec.parse_plain(spec.dump(one)))
    assert again == one and Space.of(again).forbidden == Space.of(one).forbidden


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("in + 1", "'in + 1' is no comparison: write what is not allowed"),
        ("1 < 2", "'1 < 2' names no parameter"),
        ("in >", "is no expression"),
        ("inn > 2", "there is no parameter or setting 'inn'. Did you mean 'in'?"),
        ("kind > 2", "'kind > 2' has no value where kind is 'plain': 'plain' is no number"),
        ({"kind": "dep"}, "kind: is never 'dep': 'kind' is in {plain, deep}"),
        ({"knid": "deep"}, "there is no parameter or setting 'knid'. Did you mean 'kind'?"),
        ({"kind": []}, "'kind' has no value here"),
        ({}, "must be a mapping of parameters to values"),
        (3, "must be a mapping of parameters to values"),
        ({"kind": {"a": 1}}, "or a list of these"),
    ],
)
def test_a_wrong_clause_is_one_sentence(clause: Any, said: str) -> None:
    assert said in problem(WIDTHS, forbidden=[clause])


def test_a_default_config_that_is_forbidden_is_told() -> None:
    parameters = {"in": {"values": [8, 16], "default": 16}, "kind": {"values": ["plain", "deep"], "default": "deep"}}
    line = problem(parameters, forbidden=[{"in": 16, "kind": "deep"}])
    assert (
        "the default config, which is the first trial, is not allowed: it is forbidden by {in: 16, kind: deep}" in line
    )


# ---- known configs ---------------------------------------------------------------------------------------------------


def test_known_configs_are_laid_over_the_default_one_and_come_after_it() -> None:
    parameters = {
        "kind": {"values": ["plain", "deep"], "default": "deep"},
        "rate": {"min": 0, "max": 1, "default": 0.5, "when": {"kind": "deep"}},
        "sizes": {"values": [[1], [2, 2]], "default": [1]},
        "free": {"min": 0, "max": 1},
    }
    one = search_spec(parameters, configs=[{"rate": 0.1}, {"kind": "plain", "sizes": [2, 2]}, {"kind": "deep"}])
    assert Space.of(one).starts(one) == [
        {"kind": "deep", "rate": 0.5, "sizes": "[1]"},
        {"kind": "deep", "rate": 0.1, "sizes": "[1]"},
        {"kind": "plain", "sizes": "[2, 2]"},
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"knid": "deep"}, "configs.1.knid: there is no parameter 'knid'. Did you mean 'kind'?"),
        ({"in": 9}, "configs.1.in: 9 is not in {8, 16, 32}"),
        ({"out": 9}, "configs.1.out: follows from others (2 * in); leave it out"),
        ({"depth": 1}, "configs.1.depth: is not active in this config, by its `when`; leave it out"),
        ({"kind": "deep", "in": 8}, "configs.1: is not allowed: it is forbidden by {kind: deep, in: 8}"),
        ({"in": 16}, "configs.1: is the same config as configs.0; leave one out"),
        ({}, "configs.1: names no parameter"),
        (3, "configs.1: must be a mapping"),
    ],
)
def test_a_wrong_config_is_one_sentence(config: Any, said: str) -> None:
    parameters = {
        "in": WIDTHS["in"],
        "kind": {"values": ["plain", "deep"], "default": "plain"},
        "depth": {"min": 1, "max": 2, "when": {"kind": "deep"}},
        "out": {"equals": "2 * in"},
    }
    forbidden = {"kind": "deep", "in": 8}
    assert said in problem(parameters, forbidden=forbidden, configs=[{"in": 16}, config])


def test_all_of_it_is_read_again_from_what_is_stored() -> None:
    parameters = {
        "sizes": {"values": [[64, 64], [32]], "default": [32]},
        "order": {"permutation": ["a", "b", "c"]},
        "rate": {"lognormal": [-3, 1], "when": {"sizes": [[32]]}},
        "steps": {"min": 1, "max": 100, "log": True, "steps": 3},
        "double": {"equals": "2 * steps"},
    }
    one = search_spec(parameters, forbidden=["double > 100 and rate > 0.1"], configs=[{"sizes": [64, 64]}])
    again = spec.load_search(spec.parse_plain(spec.dump(one)))
    assert again.model_dump() == one.model_dump()
    space = Space.of(again)
    config = {"sizes": [32], "order": ["b", "a", "c"], "rate": 0.25, "steps": 10.0, "double": 20.0}
    recorded = space.recorded(config)
    assert recorded["sizes"] == "[32]" and recorded["steps"] == 1 and 0 < recorded["rate"] < 1
    assert space.active("rate", recorded) and not space.active("rate", {**recorded, "sizes": "[64, 64]"})
    assert space.config(recorded) == config
    assert math.isclose(space.config({**recorded, "rate": 0.5})["rate"], math.exp(-3))
