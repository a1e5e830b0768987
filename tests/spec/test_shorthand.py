"""Parameters on a command line."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import SpecError
from hpo.spec import Parameter
from hpo.spec.shorthand import parse_parameter, study_name


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("lr=log:1e-4..1", "lr", {"min": 1e-4, "max": 1, "log": True}),
        ("x=-0.5..+.5", "x", {"min": -0.5, "max": 0.5}),
        ("x=0..1", "x", {"min": 0, "max": 1}),
        ("depth=int:1..4", "depth", {"type": "int", "min": 1, "max": 4}),
        ("w=int:log:8..512", "w", {"type": "int", "min": 8, "max": 512, "log": True}),
        ("w=log:int:8..512", "w", {"type": "int", "min": 8, "max": 512, "log": True}),
        ("b=int:8..64/8", "b", {"type": "int", "min": 8, "max": 64, "step": 8}),
        ("d=0..0.5/0.1", "d", {"min": 0, "max": 0.5, "step": 0.1}),
        ("opt=adam,sgd", "opt", {"values": ["adam", "sgd"]}),
        ("n=2,2.5,true,null", "n", {"values": [2, 2.5, True, None]}),
        ("optimizer.lr = 3", "optimizer.lr", {"values": [3]}),
    ],
)
def test_what_is_written_is_what_is_meant(text: str, name: str, said: dict[str, Any]) -> None:
    assert parse_parameter(text) == (name, said)
    Parameter.model_validate(said)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "--param lr: write NAME="),
        ("=1..2", "--param =1..2: write NAME="),
        ("lr=", "--param lr=: write NAME="),
        ("lr=log:1e-4.1", "'log:1e-4.1' is no range"),
        ("lr=1..", "'1..' is no range"),
        ("lr=1..2..3", "'1..2..3' is no range"),
        ("lr=int:a,b", "'int:a,b' is no range"),
        ("opt=a,,b", "a value is empty"),
        ("lr=1e-4-0.1", "'1e-4-0.1' is no number and no range"),
        ("opt=[a", "'[a' is no list of values"),
        ("opt=!x a", "'!x a' is no list of values"),
    ],
)
def test_what_is_not_is_refused_with_the_grammar(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_parameter(text)
    assert message in str(caught.value)


@given(st.text())
def test_any_text_is_a_parameter_or_one_sentence(text: str) -> None:
    try:
        name, said = parse_parameter(text)
    except SpecError as error:
        assert len(error.lines) == 1
    else:
        assert name and said


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["python", "train.py", "--lr", "{lr}"], "train"),
        (["./run me.sh"], "run-me"),
        (["python", "-m", "net"], "python"),
        (["..."], "program"),
    ],
)
def test_a_study_has_the_name_of_its_script(words: list[str], name: str) -> None:
    assert study_name(words) == name
