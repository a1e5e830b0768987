from typing import Any

import pytest

from hpo import spec
from hpo.study.differences import differences


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
