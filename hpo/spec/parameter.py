"""One thing that is searched."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hpo.spec.section import Scalar, Section

_LARGEST = 1e15
"""Largest bound of a range: beyond it neighbouring whole numbers are the same float."""


class Parameter(Section):
    """One thing that is searched: a range with inclusive bounds, or a list of values.

    `default` is its value in the first trial. `prior` is a value near which good ones are believed to lie: more configs
    are tried around it, and fewer as trials say more. `when` makes it active only where other parameters (or fixed
    settings) have given values.
    """

    type: Literal["float", "int"] = "float"
    """The kind of numbers in a range."""
    min: float | int | None = None
    """The least value of a range."""
    max: float | int | None = None
    """The largest value of a range."""
    log: bool = False
    """Whether the range is searched on a logarithmic scale."""
    step: float | int | None = None
    """The distance of the values of a range: only `min`, `min + step`, ... up to `max`."""
    values: tuple[Scalar, ...] | None = None
    """The values, in place of a range."""
    default: Scalar = None
    """The value in the first trial."""
    prior: Scalar = None
    """A value near which good ones are believed to lie."""
    when: dict[str, tuple[Scalar, ...]] = Field(default_factory=dict)
    """Other parameters or settings -> the values with which this one is active."""

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: item if isinstance(item, list | tuple) else [item] for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.values is not None:
            self._check_values(self.values)
        else:
            self._check_range()
        for name in ("default", "prior"):
            if name in self.model_fields_set and not self.contains(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)!r} is not in {self.describe()}")
        return self

    def _check_values(self, values: tuple[Scalar, ...]) -> None:
        extra = {"type", "min", "max", "log", "step"} & self.model_fields_set
        if extra:
            raise ValueError(f"give either 'values' or a range, not 'values' with {', '.join(sorted(extra))}")
        if not values:
            raise ValueError("'values' is empty: give at least one value")
        for place, value in enumerate(values):
            if value in values[:place]:
                first = values[values.index(value)]
                raise ValueError(_twice(first, value))

    def _check_range(self) -> None:
        if self.min is None or self.max is None:
            raise ValueError("give 'min' and 'max' for a range, or 'values' for a list")
        if max(abs(self.min), abs(self.max)) > _LARGEST:
            raise ValueError(
                f"bounds must be within {_LARGEST:g} of zero, got min {self.min:.6g} and max {self.max:.6g}"
            )
        if self.min > self.max:
            raise ValueError(f"min must not be above max, got min {self.min} and max {self.max}")
        if self.log and self.min <= 0:
            raise ValueError(f"log needs min above 0, got min {self.min}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other: leave one out")
        if self.type == "int":
            for key in ("min", "max", "step"):
                bound = getattr(self, key)
                if bound is not None and bound != int(bound):
                    raise ValueError(f"type int needs a whole number for {key}, got {bound}")
        if self.step is not None:
            self._check_step(self.step)

    def _check_step(self, step: float | int) -> None:
        assert self.min is not None and self.max is not None
        if step <= 0:
            raise ValueError(f"step must be above 0, got {step}")
        steps = (self.max - self.min) / step
        if steps > _LARGEST:
            raise ValueError(f"step is too small for its range, got {step}")
        if not math.isclose(steps, round(steps), abs_tol=1e-9):
            raise ValueError(
                f"max must be min plus a multiple of step, got min {self.min}, max {self.max}, step {step}"
            )

    def contains(self, value: Any) -> bool:
        """Whether `value` is one that this parameter can take."""
        if self.values is not None:
            return any(isinstance(value, bool) == isinstance(item, bool) and value == item for item in self.values)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.min is not None and self.max is not None
        if not self.min <= value <= self.max or (self.type == "int" and value != int(value)):
            return False
        if self.step is None:
            return True
        steps = (value - self.min) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def describe(self) -> str:
        """The values in words, for messages and tables."""
        if self.values is not None:
            return "{" + ", ".join(str(value) for value in self.values) + "}"
        return f"[{self.min}, {self.max}]" + (" log" if self.log else "")

    def probes(self) -> list[Any]:
        """Values that between them break any rule of a setting that this parameter could break."""
        if self.values is not None:
            return list(self.values)
        assert self.min is not None and self.max is not None
        if self.type == "int":
            return [int(self.min), int(self.max)]
        if self.step is not None:
            return [float(self.min), float(self.min + self.step), float(self.max)]
        inside = self.min + (self.max - self.min) * (math.sqrt(2) - 1)  # not a whole number, unless min is max
        return [float(self.min), float(inside), float(self.max)]


def _twice(first: Any, again: Any) -> str:
    """Why two values of a list cannot both be tried: they are equal, and so one config to every record."""
    shown = [str(value).lower() if isinstance(value, bool) else repr(value) for value in (first, again)]
    if shown[0] == shown[1]:
        return f"'values' has {shown[0]} twice"
    pair = " and ".join(shown)
    return f"'values' has {pair}, which are equal, so that the second would never be tried; leave one out"
