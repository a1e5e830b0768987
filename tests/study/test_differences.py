import math
from typing import Any

import pytest

from hpo import spec
from hpo.study.artifacts.seal import canonical
from hpo.study.differences import differences, fixed_settings


def changed(document: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    document["parameters"] = {"model.kind": {"values": values}}
    return document


def test_a_goal_that_is_written_and_one_that_follows_are_the_same(document: dict[str, Any]) -> None:
    document["objective"] = {"metric": "accuracy"}
    mine = spec.load(document)
    document["objective"] = {"metric": "accuracy", "goal": "maximize"}
    document["budget"] = {"trials": 99}
    assert differences(mine, spec.load(document)) == {}


@pytest.mark.parametrize(
    ("values", "others", "differ"),
    [
        ([False, True], [0, 1], True),
        ([0, 1], [0, 1.0], False),
        (["a", True], ["a", True], False),
        ([1, 2], [1, 3], True),
    ],
    ids=str,
)
def test_switches_are_no_numbers(values: list[Any], others: list[Any], differ: bool, document: dict[str, Any]) -> None:
    """To Python `False == 0`, but a model is built otherwise of them."""
    mine, other = (spec.load(changed(document, listed)) for listed in (values, others))
    assert list(differences(mine, other)) == (["parameters.model.kind.values"] if differ else [])


def test_names_with_dots_are_not_what_they_look_like(document: dict[str, Any]) -> None:
    nested = {**document, "model": {"name": "mlp", "tune": {"part": "head"}}}
    other = {**document, "model": {"name": "mlp", "tune": {"part": "body"}, "tune.part": "head"}}
    one, two = (spec.load(made) for made in (nested, other))
    assert differences(one, two) and fixed_settings(one) != fixed_settings(two)


@pytest.mark.parametrize(("one", "other"), [(math.inf, None), (math.nan, None), (math.inf, -math.inf), (1, True)])
def test_values_that_json_confuses_differ(one: Any, other: Any, document: dict[str, Any]) -> None:
    mine, theirs = (spec.load({**document, "model": {"name": "mlp", "cap": value}}) for value in (one, other))
    assert set(differences(mine, theirs)) == {"model.cap"} and not differences(mine, mine)
    assert canonical(fixed_settings(mine)) != canonical(fixed_settings(theirs))
    assert not differences(mine, spec.load_stored(spec.parse_plain(spec.dump(mine))))


def test_what_states_depend_on_has_no_name_path_or_limit(document: dict[str, Any]) -> None:
    one = spec.load(document)
    two = spec.load({**document, "study": "renamed", "budget": {"trials": 99}, "failures": {"max_retries": 9}})
    assert fixed_settings(one) == fixed_settings(two) and fixed_settings(one)["parameters"]
    other = spec.load({**document, "objective": {"metric": "nll"}})
    assert fixed_settings(other) != fixed_settings(one)
    moved = one.model_copy(update={"data": one.data.model_copy(update={"path": "/elsewhere"})})
    assert fixed_settings(moved) == fixed_settings(one) != fixed_settings(one.model_copy(update={"seed": 7}))
