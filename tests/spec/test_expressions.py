import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.spec.expressions import ExpressionError, KindError, parse

VALUES = {"model.in": 8, "lr": 0.25, "a b": 3, "kind": "sgd", "flag": True, "nothing": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 * model.in", 16),
        ("model.in // 3 + model.in % 3", 4),
        ("-model.in ** 2", -64),
        ("(model.in + 1) / 3", 3.0),
        ("max(4, min(model.in, 6), lr)", 6),
        ("round(lr * 10) + abs(-2)", 4),
        ("`a b` * 2e-1", pytest.approx(0.6)),
        ("model.in >= 8 and lr < 1", True),
        ("4 < model.in < 8", False),
        ("not (lr == 0.25) or kind == 'sgd'", True),
        ('kind != "adam"', True),
        ("flag == true", True),
        ("flag == 1", False),
        ("nothing == null", True),
    ],
)
def test_the_language_is_arithmetic_and_comparisons(text: str, value: object) -> None:
    expression = parse(text)
    found = expression.value(VALUES)
    assert found == value and isinstance(found, bool) == isinstance(value, bool)
    assert expression.is_comparison == isinstance(value, bool)


def test_names_are_told_each_once_in_order() -> None:
    assert parse("model.out * 2 + `a b` - model.out / x").names == ("model.out", "a b", "x")
    assert parse("min + max(min, 1)").names == ("min",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no expression"),
        ("2 *", "is no expression"),
        ("2x", "is no expression"),
        ("a b", "is no expression"),
        ("x\\\n", "is no expression"),
        ("(" * 300 + "x" + ")" * 300, "has 601 characters"),
        ("-" * 99 + "x", "is nested more than 50 deep"),
        ("x.__class__", None),
        ("x[0]", "has something other than"),
        ("[x]", "has something other than"),
        ("x if y else z", "is no expression"),
        ("lambda: x", "is no expression"),
        ("open('f')", "has something other than"),
        ("(x).real", "has something other than"),
        ("min(x)", "gives 1 numbers to min"),
        ("round(x, 2)", "gives 2 numbers to round"),
        ("min(x, key=y)", "has something other than"),
        ("min(*x)", "gives 1 numbers"),
        ("x & 1", "has something other than"),
        ("x is y", "is no expression"),
        ("99999999999999999999 * x", "too large"),
        ("x := 1", "is no expression"),
        ("2j * x", "is no expression"),
    ],
)
def test_everything_else_is_refused(text: str, said: str | None) -> None:
    if said is None:
        assert parse(text).names == (text,)  # a name, and nothing is looked up by it
        return
    with pytest.raises(ExpressionError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / (model.in - 8)", "divides by zero"),
        ("model.in % 0", "divides by zero"),
        ("9 ** 9 ** model.in ** 9", "too large"),
        ("(0 - lr) ** 0.5", "root of a negative number"),
        ("10.0 ** 300 * 10.0 ** 300", "too large"),
        ("0 ** (0 - 1)", "divides by zero"),
        ("lr * 2 ** 62 * 2 ** 62", "too large"),
    ],
)
def test_what_has_no_value_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        parse(text).value(VALUES)


@pytest.mark.parametrize("text", ["kind * 2", "kind < 3", "flag + 1", "min(nothing, 1)", "-kind"])
def test_texts_and_switches_are_no_numbers(text: str) -> None:
    with pytest.raises(KindError, match="has no value where .* is no number"):
        parse(text).value(VALUES)


@given(st.text(alphabet="abx01. +-*/%()<>=!,'\"`_\n andornot", max_size=30))
def test_any_text_is_an_expression_or_one_sentence(text: str) -> None:
    try:
        expression = parse(text)
        value = expression.value(dict.fromkeys(expression.names, 2))
    except ExpressionError as error:
        assert str(error)
        return
    assert value is None or isinstance(value, bool | str) or math.isfinite(value)


@given(st.integers(-50, 50), st.floats(-50, 50), st.integers(1, 9))
def test_the_values_are_pythons(a: int, b: float, c: int) -> None:
    text = "a * c - b / c + max(a, b) // c + a % c"
    assert parse(text).value({"a": a, "b": b, "c": c}) == a * c - b / c + max(a, b) // c + a % c
