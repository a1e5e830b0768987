"""Arithmetic and comparisons of parameters, as a search file has them: parsed by `ast`, and evaluated node by node.

Nothing else of Python is in the language: numbers, texts in quotes, `true`, `false`, `null`, names of parameters and
settings (in backquotes where they are no plain words), `+ - * / // % **`, `min`, `max`, `round`, `abs`, comparisons,
`and`, `or`, `not`. So a stored spec can hold expressions and runs no code.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_MOST_CHARACTERS, _DEEPEST = 500, 50
_LARGEST = 2**63
_TOKEN = re.compile(
    r"""`(?P<quoted>[^`]+)`
    | (?P<text>'[^']*' | "[^"]*")
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    | (?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "not"}
_CONSTANTS = {"true": "True", "false": "False", "null": "None"}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "round": round, "abs": abs}
_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_EQUALITY = (ast.Eq, ast.NotEq)
_GRAMMAR = "numbers, names of parameters, + - * / // % **, min, max, round, abs"


class ExpressionError(ValueError):
    """An expression is not of the language, or has no value for what it is given."""


class KindError(ExpressionError):
    """A text, a switch or a list stands where a number is wanted."""


@dataclass(frozen=True)
class Expression:
    """An expression that was parsed; `parse` makes it."""

    text: str
    names: tuple[str, ...]
    """The parameters and settings that it names, each once, in order."""
    _tree: ast.expr = field(repr=False, compare=False)

    @property
    def is_comparison(self) -> bool:
        """Whether its value is true or false, not a number."""
        negated = isinstance(self._tree, ast.UnaryOp) and isinstance(self._tree.op, ast.Not)
        return negated or isinstance(self._tree, ast.Compare | ast.BoolOp)

    def value(self, values: Mapping[str, Any]) -> Any:
        """The value of the expression.

        Args:
            values: name -> value, of all `names`.

        Raises:
            ExpressionError: it has none: a division by zero, a number that no float holds, a text where a number is
                wanted.
        """
        try:
            return _value(self._tree, {f"_{place}": values[name] for place, name in enumerate(self.names)})
        except ExpressionError as error:
            given = ", ".join(f"{name} is {values[name]!r:.40}" for name in self.names)
            raise type(error)(f"'{self.text}' has no value where {given}: {error}") from None


@lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """An expression.

    Raises:
        ExpressionError: it is not of the language.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ExpressionError(f"has {len(text):,} characters, and an expression has {_MOST_CHARACTERS} at most")
    names: list[str] = []
    try:
        if "\\" in text:
            raise SyntaxError
        tree = ast.parse(_with_places(text, names).strip(), mode="eval").body
        _check(tree)
    except ExpressionError as error:
        raise ExpressionError(f"'{text}' {error}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(
            f"'{text}' is no expression: it is made of {_GRAMMAR}; a name that is not plain words and dots stands in"
            " backquotes"
        ) from None
    return Expression(text, tuple(names), tree)


def _with_places(text: str, names: list[str]) -> str:
    """The text with `_0`, `_1`, ... for the names, which are entered: `model.in` is none to Python."""

    def replaced(match: re.Match[str]) -> str:
        name = match["quoted"] or match["name"]
        if name is None:
            return match[0]
        if match["quoted"] is None:
            if name in _WORDS or (name in _FUNCTIONS and text[match.end() :].lstrip().startswith("(")):
                return name
            if name in _CONSTANTS:
                return _CONSTANTS[name]
        if name not in names:
            names.append(name)
        return f" _{names.index(name)} "

    return _TOKEN.sub(replaced, text)


def _check(node: ast.expr, depth: int = 0) -> None:
    """Holds a tree to the language."""
    if depth > _DEEPEST:
        raise ExpressionError(f"is nested more than {_DEEPEST} deep")
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            if isinstance(node.value, int | float) and not (abs(node.value) < _LARGEST):
                raise ExpressionError("has a number that is too large")
            return
        case ast.Name():
            return
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC or isinstance(op, ast.Pow):
            parts = [node.left, node.right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not()):
            parts = [node.operand]
        case ast.BoolOp():
            parts = node.values
        case ast.Compare(ops=ops) if all(type(op) in _COMPARISONS for op in ops):
            parts = [node.left, *node.comparators]
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in _FUNCTIONS:
            if len(parts) != 1 and name in ("round", "abs"):
                raise ExpressionError(f"gives {len(parts)} numbers to {name}, which takes one")
            if len(parts) < 2 and name in ("min", "max"):
                raise ExpressionError(f"gives {len(parts)} numbers to {name}, which takes two or more")
        case _:
            raise ExpressionError(f"has something other than {_GRAMMAR}")
    for part in parts:
        _check(part, depth + 1)


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, values)
        case ast.UnaryOp(op=op, operand=operand):
            number = _number(_value(operand, values))
            return -number if isinstance(op, ast.USub) else number
        case ast.BoolOp(op=op, values=parts):
            wanted = isinstance(op, ast.Or)
            return next((wanted for part in parts if bool(_value(part, values)) is wanted), not wanted)
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compared(ops, [_value(part, values) for part in (left, *others)])
        case ast.Call(func=ast.Name(id=name), args=parts):
            return _held(_FUNCTIONS[name](*(_number(_value(part, values)) for part in parts)))
        case ast.BinOp(left=left, op=op, right=right):
            one, other = _number(_value(left, values)), _number(_value(right, values))
            try:
                return _held(_power(one, other) if isinstance(op, ast.Pow) else _ARITHMETIC[type(op)](one, other))
            except ZeroDivisionError:
                raise ExpressionError("it divides by zero") from None
            except OverflowError:
                raise ExpressionError("its value is too large") from None
    raise TypeError(f"{type(node).__name__} was not checked")


def _compared(ops: list[ast.cmpop], parts: list[Any]) -> bool:
    for op, one, other in zip(ops, parts, parts[1:], strict=False):
        if not isinstance(op, _EQUALITY):
            one, other = _number(one), _number(other)
        elif isinstance(one, bool) != isinstance(other, bool):  # to Python, true is 1
            return isinstance(op, ast.NotEq)
        if not _COMPARISONS[type(op)](one, other):
            return False
    return True


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KindError(f"{value!r:.40} is no number")
    return value


def _power(base: int | float, exponent: int | float) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and exponent > 0 and abs(base) > 1 and exponent * math.log2(abs(base)) >= 63:
        raise OverflowError  # before anything of that many digits is computed
    return base**exponent


def _held(value: Any) -> int | float:
    if isinstance(value, complex):
        raise ExpressionError("it is a root of a negative number")
    if not abs(value) < _LARGEST:
        raise ExpressionError("its value is too large")
    number: int | float = value
    return number
