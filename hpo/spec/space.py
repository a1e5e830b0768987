"""The search space: parameters, conditions and defaults, asked of an Optuna trial one by one (define-by-run)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.special import ndtr, ndtri

from hpo.spec import Config, Parameter, SearchSpec

LISTED = 10_000
"""A space of more configs has no end: nobody lists them."""
ConfigKey = frozenset[tuple[str, Any]]
"""Equal for equal configs."""
_DIGITS = 12
"""Digits of a number in a key: the same step of a range is computed in several ways, which differ in the last bits."""


def distribution(parameter: Parameter) -> BaseDistribution:
    """The Optuna distribution of a parameter; bounds are inclusive in both."""
    if parameter.values is not None:
        return CategoricalDistribution(parameter.values)
    assert parameter.min is not None and parameter.max is not None
    if parameter.type == "int":
        return IntDistribution(int(parameter.min), int(parameter.max), log=parameter.log, step=int(parameter.step or 1))
    step = None if parameter.step is None else float(parameter.step)
    return FloatDistribution(float(parameter.min), float(parameter.max), log=parameter.log, step=step)


@dataclass(frozen=True)
class Space:
    """The parameters of a spec, parents before the parameters whose `when` names them."""

    parameters: Mapping[str, Parameter]
    fixed: Mapping[str, Any]
    """Fixed settings that a `when` names and no parameter varies."""

    @classmethod
    def of(cls, spec: SearchSpec) -> "Space":
        """The space of a validated spec."""
        graph = {
            name: [parent for parent in p.when if parent in spec.parameters] for name, p in spec.parameters.items()
        }
        order = TopologicalSorter(graph).static_order()
        parents = {parent for parameter in spec.parameters.values() for parent in parameter.when}
        fixed = {parent: spec.setting(parent) for parent in parents if parent not in spec.parameters}
        return cls({name: spec.parameters[name] for name in order}, fixed)

    def active(self, name: str, config: Mapping[str, Any]) -> bool:
        """Whether the parameter exists in a config that already holds its parents."""
        known = {**self.fixed, **config}
        return all(parent in known and known[parent] in wanted for parent, wanted in self.parameters[name].when.items())

    def suggest(self, trial: optuna.Trial) -> Config:
        """Asks the trial's sampler for a value of each active parameter."""
        config: Config = {}
        for name, parameter in self.parameters.items():
            if self.active(name, config):
                config[name] = _ask(trial, name, distribution(parameter))
        return config

    def configs(self, most: int) -> list[Config] | None:
        """All possible configs; None where there are more than `most`."""
        found: list[Config] = [{}]
        for name, parameter in self.parameters.items():
            active = [config for config in found if self.active(name, config)]
            if not active:
                continue
            values = _values(distribution(parameter), most)
            if values is None or len(found) - len(active) + len(active) * len(values) > most:
                return None
            others = [config for config in found if not self.active(name, config)]
            found = others + [{**config, name: value} for config in active for value in values]
        return found

    def default(self, spec: SearchSpec) -> Config:
        """The config that the user would have started from: `default:` or the setting written in its section.

        Parameters with neither are missing; the sampler fills them in.
        """
        config: Config = {}
        for name, parameter in self.parameters.items():
            if not self.active(name, config):
                continue
            if "default" in parameter.model_fields_set:
                config[name] = _as_listed(parameter, parameter.default)
            elif spec.written(name) and parameter.contains(spec.setting(name)):
                config[name] = _as_listed(parameter, spec.setting(name))
        return config


def possible_configs(spec: SearchSpec) -> int | None:
    """How many configs a search can try; None where there is no end of them: more than 10,000, or they may repeat."""
    configs = None if spec.repeats else Space.of(spec).configs(LISTED)
    return None if configs is None else len(configs)


def never_active(spec: SearchSpec) -> Iterator[str]:
    """A sentence for each parameter that no config has, since a fixed setting is otherwise."""
    space = Space.of(spec)
    never: set[str] = set()
    for name, parameter in space.parameters.items():
        for parent, wanted in parameter.when.items():
            if parent in never:
                reason = f"'{parent}' is not"
            elif parent in space.fixed and not any(_same(space.fixed[parent], value) for value in wanted):
                reason = (
                    f"its `when` wants {parent} to be {_or(wanted)}, which is fixed at {_text(space.fixed[parent])}"
                )
            else:
                continue
            never.add(name)
            yield f"'{name}' is never active and so never searched: {reason}."
            break


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _or(values: Iterable[Any]) -> str:
    return " or ".join(map(_text, values))


def _text(value: Any) -> str:
    """A value as YAML has it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def config_key(config: Mapping[str, Any]) -> ConfigKey:
    """What two configs have in common if and only if they are the same."""
    return frozenset(
        (name, float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value) for name, value in config.items()
    )


def _values(wanted: BaseDistribution, most: int) -> Sequence[Any] | None:
    """The values of a parameter; None where there are more than `most`."""
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


def believed(parameter: Parameter, rng: np.random.Generator) -> Any:
    """A value drawn around the parameter's prior; None where it has none.

    Of a range it is normal in the parameter's own scale, with a standard deviation of a fifth of the range, cut off at
    the bounds. Of listed values it is the prior itself in two of three draws, and any of them in the third.
    """
    if "prior" not in parameter.model_fields_set:
        return None
    if parameter.values is not None:
        if rng.random() < 2 / 3:
            return _as_listed(parameter, parameter.prior)
        return parameter.values[int(rng.integers(len(parameter.values)))]
    assert parameter.min is not None and parameter.max is not None and isinstance(parameter.prior, int | float)
    scale: Any = np.log if parameter.log else float
    low, high, middle = (float(scale(value)) for value in (parameter.min, parameter.max, parameter.prior))
    spread = (high - low) / 5
    if spread == 0:
        return parameter.prior
    drawn = float(ndtri(rng.uniform(ndtr((low - middle) / spread), ndtr((high - middle) / spread))))
    value = middle + spread * drawn
    return _on_grid(parameter, float(np.exp(value)) if parameter.log else value)


def _on_grid(parameter: Parameter, value: float) -> float | int:
    assert parameter.min is not None and parameter.max is not None
    step = parameter.step or (1 if parameter.type == "int" else None)
    if step is not None:
        value = parameter.min + round((value - parameter.min) / step) * step
    value = min(max(value, parameter.min), parameter.max)
    return int(value) if parameter.type == "int" else float(value)


def _as_listed(parameter: Parameter, value: Any) -> Any:
    """The value as `values` has it: 0 and 0.0 are one value to a user and two to a sampler."""
    return next((item for item in parameter.values or () if parameter.contains(value) and item == value), value)


def _ask(trial: optuna.Trial, name: str, wanted: BaseDistribution) -> Any:
    match wanted:
        case CategoricalDistribution():
            return trial.suggest_categorical(name, wanted.choices)
        case IntDistribution():
            return trial.suggest_int(name, wanted.low, wanted.high, step=wanted.step, log=wanted.log)
        case FloatDistribution():
            return trial.suggest_float(name, wanted.low, wanted.high, step=wanted.step, log=wanted.log)
    raise TypeError(f"no suggestion for {wanted}")
