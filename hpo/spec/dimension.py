"""How a parameter is searched and recorded: a range or a list of scalars is all that samplers and Optuna know.

A list is recorded as its text, a range in `steps` by the place of the value, a normal distribution by the share of it
that lies below the value: to a sampler it is a range from 0 to 1 in which all is equally likely.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.special import ndtr, ndtri

from hpo.spec.parameter import Parameter, frozen, thawed, written

_DIGITS = 12
"""Digits of a value that is computed: so a default of 0.3 comes back as 0.3."""


def distribution(parameter: Parameter) -> BaseDistribution:
    """The Optuna distribution of a parameter as it is recorded; bounds are inclusive in both."""
    if parameter.values is not None:
        return CategoricalDistribution(parameter.values)
    assert parameter.min is not None and parameter.max is not None
    if parameter.type == "int":
        return IntDistribution(int(parameter.min), int(parameter.max), log=parameter.log, step=int(parameter.step or 1))
    step = None if parameter.step is None else float(parameter.step)
    return FloatDistribution(float(parameter.min), float(parameter.max), log=parameter.log, step=step)


def on_grid(parameter: Parameter, value: float) -> float | int:
    """The value of a range that is nearest to a number."""
    assert parameter.min is not None and parameter.max is not None
    step = parameter.step or (1 if parameter.type == "int" else None)
    if step is not None:
        value = parameter.min + round((value - parameter.min) / step) * step
    value = min(max(value, parameter.min), parameter.max)
    return int(value) if parameter.type == "int" else float(value)


@dataclass(frozen=True)
class Dimension:
    """A parameter that is recorded as it is."""

    parameter: Parameter

    @property
    def recorded(self) -> Parameter:
        """The parameter as samplers see it."""
        return self.parameter

    @property
    def is_plain(self) -> bool:
        """Whether values are recorded as a trial gets them."""
        return type(self) is Dimension

    def value(self, recorded: Any) -> Any:
        """A recorded value as a trial gets it."""
        return recorded

    def encoded(self, value: Any) -> Any:
        """A trial's value as it is recorded."""
        return value

    def settled(self, recorded: Any) -> Any:
        """What is recorded where a sampler has proposed this: every config is recorded in one way only."""
        return recorded

    def choices(self, most: int) -> Sequence[Any] | None:
        """All recorded values; None where there are more than `most`."""
        return _choices(distribution(self.recorded), most)

    def _beside(self) -> dict[str, Any]:
        """Default and prior, as they are recorded."""
        given = [name for name in ("default", "prior") if name in self.parameter.model_fields_set]
        return {name: self.encoded(getattr(self.parameter, name)) for name in given}


@dataclass(frozen=True)
class Listed(Dimension):
    """A choice among values of which some are lists, or among the orders of some items."""

    @cached_property
    def _values(self) -> dict[Any, Any]:
        """Recorded value -> the trial's."""
        listed = self.parameter.values or permutations(self.parameter.permutation or ())
        return {written(value): value for value in listed}

    @cached_property
    def recorded(self) -> Parameter:
        """A choice among scalars."""
        return Parameter(values=tuple(self._values), **self._beside())

    def value(self, recorded: Any) -> Any:
        """The list, or the scalar."""
        return thawed(self._values[recorded])

    def encoded(self, value: Any) -> Any:
        """The text of a list."""
        return written(frozen(value))


@dataclass(frozen=True)
class Stepped(Dimension):
    """A range in `steps`, recorded by the places of its values."""

    @cached_property
    def _grid(self) -> list[float | int]:
        return self.parameter.grid or []

    @cached_property
    def recorded(self) -> Parameter:
        """The places."""
        return Parameter(type="int", min=0, max=len(self._grid) - 1, **self._beside())

    def value(self, recorded: Any) -> Any:
        """The value at a place."""
        return self._grid[int(recorded)]

    def encoded(self, value: Any) -> Any:
        """The place of the nearest value."""
        return min(range(len(self._grid)), key=lambda place: abs(self._grid[place] - value))


@dataclass(frozen=True)
class LogStepped(Dimension):
    """A range on a logarithmic scale of which only some values are tried: drawn from the whole, and rounded."""

    @cached_property
    def recorded(self) -> Parameter:
        """The whole range."""
        own = self.parameter
        return Parameter(type=own.type, min=own.min, max=own.max, log=True, **self._beside())

    def settled(self, recorded: Any) -> Any:
        """The nearest of its values."""
        return on_grid(self.parameter, recorded)

    def choices(self, most: int) -> Sequence[Any] | None:
        """`min`, `min + step`, ... up to `max`."""
        return _choices(distribution(self.parameter.model_copy(update={"log": False})), most)


@dataclass(frozen=True)
class Normal(Dimension):
    """A normal or lognormal distribution, cut off at its bounds, recorded by the share that lies below a value."""

    @cached_property
    def recorded(self) -> Parameter:
        """All shares."""
        return Parameter(min=0, max=1, **self._beside())

    @cached_property
    def _scale(self) -> tuple[Callable[[Any], float], Callable[[Any], float]]:
        """The functions that lead from values to a scale on which they are normal, and back."""
        return (math.log, math.exp) if self.parameter.lognormal is not None else (float, float)

    @cached_property
    def _tails(self) -> tuple[float, float]:
        """The shares of the whole distribution below the least and below the largest value."""
        half = 0.5 if self.parameter.type == "int" else 0.0  # a whole number k stands for [k - 0.5, k + 0.5]
        low, high = self.parameter.bounds
        return self._below(low - half), self._below(high + half)

    def _below(self, value: float) -> float:
        assert self.parameter.moments is not None
        mean, deviation = self.parameter.moments
        if self.parameter.lognormal is not None and value <= 0:
            return 0.0
        return float(ndtr((self._scale[0](value) - mean) / deviation))

    def value(self, recorded: Any) -> Any:
        """The value below which this share lies."""
        assert self.parameter.moments is not None
        (mean, deviation), (low, high), (least, most) = self.parameter.moments, self._tails, self.parameter.bounds
        forth, back = self._scale
        place = mean + deviation * float(ndtri(low + recorded * (high - low)))
        found = back(min(max(place, forth(least) if least > 0 or back is float else -math.inf), forth(most)))
        if self.parameter.type == "int":
            return int(min(max(round(found), least), most))
        return min(max(float(f"{found:.{_DIGITS}g}"), float(least)), float(most))

    def encoded(self, value: Any) -> Any:
        """The share that lies below a value."""
        low, high = self._tails
        return min(max((self._below(value) - low) / ((high - low) or 1.0), 0.0), 1.0)

    def settled(self, recorded: Any) -> Any:
        """What is recorded of a proposed share: for whole numbers, the share below the number that it stands for."""
        return self.encoded(self.value(recorded)) if self.parameter.type == "int" else recorded

    def choices(self, most: int) -> Sequence[Any] | None:
        """The shares of all whole numbers."""
        low, high = self.parameter.bounds
        if low == high:
            return [self.encoded(low)]
        if self.parameter.type != "int" or high - low >= most:
            return None
        return [self.encoded(value) for value in range(int(low), int(high) + 1)]


def dimension(parameter: Parameter) -> Dimension:
    """How a parameter is searched; one that is tied to others is not."""
    if parameter.permutation is not None or any(isinstance(value, tuple) for value in parameter.values or ()):
        return Listed(parameter)
    if parameter.moments is not None:
        return Normal(parameter)
    if parameter.steps is not None:
        return Stepped(parameter)
    if parameter.log and parameter.step is not None:
        return LogStepped(parameter)
    return Dimension(parameter)


def _choices(wanted: BaseDistribution, most: int) -> Sequence[Any] | None:
    """The values of a distribution; None where there are more than `most`."""
    if isinstance(wanted, CategoricalDistribution):
        return wanted.choices
    assert isinstance(wanted, IntDistribution | FloatDistribution)
    if wanted.single():
        return (wanted.low,)
    if wanted.step is None or (wanted.high - wanted.low) / wanted.step >= most:
        return None
    if isinstance(wanted, IntDistribution):
        return range(wanted.low, wanted.high + 1, wanted.step)
    steps = round((wanted.high - wanted.low) / wanted.step)
    return [min(wanted.low + place * wanted.step, wanted.high) for place in range(steps + 1)]
