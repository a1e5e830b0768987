"""One thing that is searched."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import islice, permutations
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from hpo.spec.expressions import Expression, parse
from hpo.spec.section import Section

_LARGEST = 1e15
"""Largest bound of a range: beyond it neighbouring whole numbers are the same float."""
_DIGITS = 12
"""Digits of a value that is computed from a place: so 0.3 comes back as 0.3."""
_TAILS = 4.0
"""Standard deviations from the mean at which a normal distribution without bounds is cut off."""
_LEAST_MASS = 1e-6
"""The least share of a normal distribution that bounds may leave."""
MOST_ORDERS = 720
"""Orders of a permutation: six items have so many, and each is a category to the samplers."""


def frozen(value: Any) -> Any:
    """A value with tuples for its lists, so that values can be compared and hashed."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def thawed(value: Any) -> Any:
    """A value with lists for its tuples, as a trial gets it."""
    return list(map(thawed, value)) if isinstance(value, list | tuple) else value


def written(value: Any) -> Any:
    """A value as the record has it: a list as the text of its JSON, which a category can be."""
    return json.dumps(thawed(value)) if isinstance(value, tuple) else value


def checked(value: Any) -> Any:
    """Holds what stands in `values` to be a scalar, or a list of values."""
    if isinstance(value, list | tuple):
        return tuple(map(checked, value))
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"must be a number, a text, true, false or null, or a list of these, got {value!r:.80}")


Value = Annotated[
    Any,
    AfterValidator(checked),
    WithJsonSchema({"anyOf": [*({"type": kind} for kind in ("boolean", "number", "string", "null", "array"))]}),
]
"""What a setting can be: a number, a text, true, false, null, or a list of these; lists are kept as tuples."""

ALLOWED = {
    "values": {"default", "prior", "when"},
    "permutation": {"default", "when"},
    "normal": {"type", "min", "max", "default", "when"},
    "lognormal": {"type", "min", "max", "default", "when"},
    "equals": {"when"},
}
"""What makes a parameter another thing than a range -> the keys that may stand beside it."""


class Parameter(Section):
    """One thing that is searched: a range with inclusive bounds, a list of values, a normal distribution, an order.

    `default` is its value in the first trial. `prior` is a value near which good ones are believed to lie: more configs
    are tried around it, and fewer as trials say more. `when` makes it active only where other parameters (or fixed
    settings) have given values. One that `equals` an expression is not searched: it follows from others.
    """

    type: Literal["float", "int"] = "float"
    """The kind of numbers in a range or of a normal distribution."""
    min: float | int | None = None
    """The least value of a range; of a normal distribution where it is cut off."""
    max: float | int | None = None
    """The largest value of a range; of a normal distribution where it is cut off."""
    log: bool = False
    """Whether the range is searched on a logarithmic scale."""
    step: float | int | None = None
    """The distance of the values of a range: only `min`, `min + step`, ... up to `max`."""
    steps: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """How many values of a range are tried, evenly on its scale, from `min` to `max`."""
    values: tuple[Value, ...] | None = None
    """The values, in place of a range; each may be a list."""
    permutation: tuple[Value, ...] | None = None
    """Two to six items, whose order is searched; the value is a list of all of them."""
    normal: tuple[float, float] | None = None
    """Mean and standard deviation of the values, in place of a range."""
    lognormal: tuple[float, float] | None = None
    """Mean and standard deviation of the natural logarithm of the values, in place of a range."""
    equals: str | None = None
    """What the value follows from: arithmetic of other parameters and settings, such as `2 * model.width`."""
    default: Value = None
    """The value in the first trial."""
    prior: Value = None
    """A value near which good ones are believed to lie."""
    when: dict[str, tuple[Value, ...]] = Field(default_factory=dict)
    """Other parameters or settings -> the values with which this one is active."""

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: item if isinstance(item, list | tuple) else [item] for key, item in value.items()}
        return value

    @field_validator("equals", mode="before")
    @classmethod
    def _arithmetic(cls, value: Any) -> Any:
        if isinstance(value, bool | int | float):
            raise ValueError(f"a fixed value is a setting, not a parameter, got {value!r}; write it in its section")
        if isinstance(value, str):
            expression = parse(value)
            if expression.is_comparison:
                raise ValueError(f"'{value}' is true or false, and a tied value is a number")
            if not expression.names:
                raise ValueError(f"'{value}' names no parameter; a fixed value is a setting: write it in its section")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kinds = [name for name in ALLOWED if getattr(self, name) is not None]
        if len(kinds) > 1:
            raise ValueError(f"'{kinds[0]}' does not go with {', '.join(kinds[1:])}; leave one out")
        for kind in kinds:
            given = {name for name in self.model_fields_set if getattr(self, name) is not None}
            extra = sorted(given - ALLOWED[kind] - {kind})
            if extra and kind == "values":
                raise ValueError(f"give either 'values' or a range, not 'values' with {', '.join(extra)}")
            if extra:
                raise ValueError(f"'{kind}' does not go with {', '.join(extra)}; leave that out")
        if self.values is not None:
            _check_listed("values", self.values)
        elif self.permutation is not None:
            self._check_permutation(self.permutation)
        elif self.moments is not None:
            self._check_normal(*self.moments)
        elif self.equals is None:
            self._check_range()
        for name in ("default", "prior"):
            if name in self.model_fields_set and not self.contains(getattr(self, name)):
                raise ValueError(f"{name} {thawed(getattr(self, name))!r} is not in {self.describe()}")
        return self

    def _check_permutation(self, items: Sequence[Any]) -> None:
        _check_listed("permutation", items)
        if not 2 <= len(items) <= 6:
            raise ValueError(
                f"'permutation' has 2 to 6 items, of which there are up to {MOST_ORDERS} orders, got {len(items)} items"
            )

    def _check_normal(self, mean: float, deviation: float) -> None:
        name = "normal" if self.normal is not None else "lognormal"
        if deviation <= 0:
            raise ValueError(f"the standard deviation of '{name}' must be above 0, got {deviation}")
        if self.lognormal is not None and self.min is not None and self.min <= 0:
            raise ValueError(f"'lognormal' has values above 0 alone, got min {self.min}; leave it out")
        try:
            low, high = self.bounds
        except OverflowError:
            low, high = math.inf, math.inf
        self._check_bounds(low, high)
        from scipy.special import ndtr

        scale = math.log if self.lognormal is not None else float
        mass = abs(float(np.subtract(*ndtr([(scale(bound) - mean) / deviation for bound in (high, low)]))))
        if low < high and mass < _LEAST_MASS:
            raise ValueError(f"min {low:g} and max {high:g} leave less than {_LEAST_MASS:g} of the distribution")

    def _check_range(self) -> None:
        if self.min is None or self.max is None:
            raise ValueError("give 'min' and 'max' for a range, or 'values' for a list")
        self._check_bounds(self.min, self.max)
        if self.log and self.min <= 0:
            raise ValueError(f"log needs min above 0, got min {self.min}")
        if self.step is not None and self.steps is not None:
            raise ValueError("step is a distance and steps a number of values: leave one out")
        if self.step is not None:
            self._check_step(self.step)

    def _check_bounds(self, low: float, high: float) -> None:
        if max(abs(low), abs(high)) > _LARGEST:
            raise ValueError(f"bounds must be within {_LARGEST:g} of zero, got min {low:.6g} and max {high:.6g}")
        if low > high:
            raise ValueError(f"min must not be above max, got min {low} and max {high}")
        if self.type == "int":
            for key in ("min", "max", "step"):
                bound = getattr(self, key)
                if bound is not None and bound != int(bound):
                    raise ValueError(f"type int needs a whole number for {key}, got {bound}")

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

    @property
    def expression(self) -> Expression | None:
        """What its value follows from; None where it is searched."""
        return None if self.equals is None else parse(self.equals)

    @property
    def moments(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the values, or of their logarithm; None where it is no normal distribution."""
        return self.normal or self.lognormal

    @property
    def bounds(self) -> tuple[float | int, float | int]:
        """The least and the largest number; a normal distribution without them is cut off at 4 standard deviations."""
        if self.moments is None:
            assert self.min is not None and self.max is not None
            return self.min, self.max
        mean, deviation = self.moments
        scale = math.exp if self.lognormal is not None else float
        low, high = scale(mean - _TAILS * deviation), scale(mean + _TAILS * deviation)
        if self.type == "int" and max(abs(low), abs(high)) <= _LARGEST:
            low, high = math.ceil(low), math.floor(high)
        return low if self.min is None else self.min, high if self.max is None else self.max

    @property
    def grid(self) -> list[float | int] | None:
        """The values of a range with `steps`; None without."""
        if self.steps is None:
            return None
        assert self.min is not None and self.max is not None
        spaced = np.geomspace if self.log else np.linspace
        found = [float(f"{value:.{_DIGITS}g}") for value in spaced(self.min, self.max, self.steps)]
        found[0], found[-1] = float(self.min), float(self.max)
        return list(dict.fromkeys(map(round, found) if self.type == "int" else found))

    def contains(self, value: Any) -> bool:
        """Whether `value` is one that this parameter can take."""
        if self.values is not None:
            wanted = frozen(value)
            return any(isinstance(wanted, bool) == isinstance(item, bool) and wanted == item for item in self.values)
        if self.permutation is not None:
            return isinstance(value, list | tuple) and frozen(value) in permutations(self.permutation)
        if self.equals is not None or isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.bounds
        if not low <= value <= high or (self.type == "int" and value != int(value)):
            return False
        if (grid := self.grid) is not None:
            return any(math.isclose(value, one, rel_tol=1e-9, abs_tol=1e-15) for one in grid)
        if self.step is None:
            return True
        steps = (value - low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def describe(self) -> str:
        """The values in words, for messages and tables."""
        if self.values is not None:
            return "{" + ", ".join(str(thawed(value)) for value in self.values) + "}"
        if self.permutation is not None:
            return f"the orders of {thawed(self.permutation)}"
        if self.equals is not None:
            return f"what equals {self.equals}"
        low, high = self.bounds
        if self.moments is not None:
            return f"[{low:.6g}, {high:.6g}] {'normal' if self.normal is not None else 'lognormal'}"
        steps = "" if self.steps is None else f" in {self.steps} steps"
        return f"[{low}, {high}]" + (" log" if self.log else "") + steps

    def probes(self) -> list[Any]:
        """Values that between them break any rule of a setting that this parameter could break; none of a tied one."""
        if self.values is not None:
            return list(map(thawed, self.values))
        if self.permutation is not None:
            return [thawed(order) for order in islice(permutations(self.permutation), 2)]
        if self.equals is not None:
            return []
        if (grid := self.grid) is not None:
            return [grid[0], *grid[1:2], grid[-1]]
        low, high = self.bounds
        if self.type == "int":
            return [int(low), int(high)]
        if self.step is not None:
            return [float(low), float(low + self.step), float(high)]
        inside = low + (high - low) * (math.sqrt(2) - 1)  # not a whole number, unless min is max
        return [float(low), float(inside), float(high)]


def _check_listed(key: str, values: Sequence[Any]) -> None:
    """Holds listed values to be some, no two of them equal or written alike."""
    if not values:
        raise ValueError(f"'{key}' is empty: give at least one value")
    texts = {value for value in values if isinstance(value, str)}
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(_twice(key, values[values.index(value)], value))
        if isinstance(value, tuple) and written(value) in texts:
            raise ValueError(f"'{key}' has {thawed(value)!r} as a list and as a text, which are recorded alike")


def _twice(key: str, first: Any, again: Any) -> str:
    """Why two values of a list cannot both be tried: they are equal, and so one config to every record."""
    shown = [str(value).lower() if isinstance(value, bool) else repr(thawed(value)) for value in (first, again)]
    if shown[0] == shown[1]:
        return f"'{key}' has {shown[0]} twice"
    pair = " and ".join(shown)
    return f"'{key}' has {pair}, which are equal, so that the second would never be tried; leave one out"
