"""Combinations of values that no trial may have.

A clause is a mapping, `{optimizer.name: sgd, model.norm: none}`, which forbids what has all of these values, or a
comparison, `model.out > model.in`, which forbids what it is true of. Where a name in it is inactive, it forbids nothing
(ConfigSpace's forbidden clauses are alike).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from hpo.spec.expressions import Expression, ExpressionError, parse
from hpo.spec.parameter import checked, frozen, thawed


def _clause(value: Any) -> Any:
    """Holds what stands in `forbidden` to be a mapping or a comparison."""
    if isinstance(value, str):
        if not parse(value).is_comparison:
            raise ValueError(
                f"'{value}' is no comparison: write what is not allowed, such as `model.out > model.in`, or a mapping"
                " such as {optimizer.name: sgd, model.norm: none}"
            )
        if not parse(value).names:
            raise ValueError(f"'{value}' names no parameter")
        return value
    if isinstance(value, Mapping) and value:
        listed = {key: item if isinstance(item, list | tuple) else [item] for key, item in value.items()}
        if (empty := next((key for key, items in listed.items() if not items), None)) is not None:
            raise ValueError(f"'{empty}' has no value here: give one, or a list of them")
        return {str(key): tuple(map(checked, items)) for key, items in listed.items()}
    raise ValueError(
        "must be a mapping of parameters to values such as {optimizer.name: sgd, model.norm: none}, or a comparison"
        f" such as `model.out > model.in`, got {value!r:.80}"
    )


Clause = Annotated[
    Any,
    BeforeValidator(_clause),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1}]}),
]
"""A text, or a mapping of names to tuples of values."""


@dataclass(frozen=True)
class Forbidden:
    """A clause that can be asked of configs."""

    comparison: Expression | None
    values: Mapping[str, tuple[Any, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters and settings that it names."""
        return tuple(self.values) if self.comparison is None else self.comparison.names

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether what has these values is forbidden.

        Args:
            values: of active parameters and fixed settings, by name.

        Raises:
            ExpressionError: the comparison is of things that cannot be compared.
        """
        if any(name not in values for name in self.names):
            return False
        if self.comparison is not None:
            return bool(self.comparison.value(values))
        return all(_among(frozen(values[name]), wanted) for name, wanted in self.values.items())

    def __str__(self) -> str:
        if self.comparison is not None:
            return self.comparison.text
        shown = (f"{name}: {_text(wanted)}" for name, wanted in self.values.items())
        return "{" + ", ".join(shown) + "}"


def forbids(clause: Any) -> Forbidden:
    """The clause of a spec, as it can be asked of configs."""
    return Forbidden(parse(clause), {}) if isinstance(clause, str) else Forbidden(None, clause)


def first_that_holds(clauses: tuple[Forbidden, ...], values: Mapping[str, Any]) -> str | None:
    """Why what has these values is forbidden; None where it is not. What has no value is not allowed either."""
    for clause in clauses:
        try:
            if clause.holds(values):
                return f"it is forbidden by {clause}"
        except ExpressionError as error:
            return str(error)
    return None


def _among(value: Any, wanted: tuple[Any, ...]) -> bool:
    return any(isinstance(value, bool) == isinstance(item, bool) and value == item for item in wanted)


def _text(wanted: tuple[Any, ...]) -> str:
    shown = [_word(value) for value in wanted]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def _word(value: Any) -> str:
    """A value as YAML has it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(thawed(value))
