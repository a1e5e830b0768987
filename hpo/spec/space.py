"""The search space: parameters, conditions and defaults, asked of an Optuna trial one by one (define-by-run)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.special import ndtr, ndtri

from hpo.spec.dimension import Dimension, dimension, distribution, on_grid
from hpo.spec.expressions import Expression, ExpressionError
from hpo.spec.forbidden import Forbidden, first_that_holds, forbids
from hpo.spec.parameter import Parameter, frozen, thawed
from hpo.spec.study_spec import Config, SearchSpec

LISTED = 10_000
"""A space of more configs has no end: nobody lists them."""
ConfigKey = frozenset[tuple[str, Any]]
"""Equal for equal configs."""
_GROWN = 20
"""How many times as many are looked at on the way, of which clauses may forbid the most."""
_DIGITS = 12
"""Digits of a number in a key: the same step of a range is computed in several ways, which differ in the last bits."""


@dataclass(frozen=True)
class Tie:
    """A parameter that is not searched: its value follows from others."""

    expression: Expression
    when: Mapping[str, tuple[Any, ...]]
    """Conditions, with values as they are recorded."""


@dataclass(frozen=True)
class Space:
    """The parameters of a spec as they are searched and recorded, parents before those whose `when` names them.

    What samplers propose and Optuna records is called recorded here: a range or a list of scalars each. A trial gets
    the `config` of it, in which lists are lists again, and what is tied to others has its value.
    """

    parameters: Mapping[str, Parameter]
    fixed: Mapping[str, Any]
    """Fixed settings that a `when`, a tie or a clause names and no parameter varies."""
    coded: Mapping[str, Dimension] = field(default_factory=dict)
    """The parameters whose values are recorded in another way."""
    ties: Mapping[str, Tie] = field(default_factory=dict)
    """What follows from others, sources first."""
    forbidden: tuple[Forbidden, ...] = ()
    """What no config may be."""

    @classmethod
    def of(cls, spec: SearchSpec) -> "Space":
        """The space of a validated spec."""
        searched = {name: p for name, p in spec.parameters.items() if p.equals is None}
        graph = {name: [parent for parent in p.when if parent in searched] for name, p in searched.items()}
        dimensions = {name: dimension(searched[name]) for name in TopologicalSorter(graph).static_order()}
        ties = {name: p for name, p in spec.parameters.items() if p.equals is not None}
        clauses = tuple(map(forbids, spec.forbidden))
        named = {parent for p in spec.parameters.values() for parent in p.when}
        named |= {name for p in ties.values() if p.expression is not None for name in p.expression.names}
        named |= {name for clause in clauses for name in clause.names}

        def recorded(when: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
            return {
                parent: tuple(map(dimensions[parent].encoded, wanted)) if parent in dimensions else wanted
                for parent, wanted in when.items()
            }

        parameters = {
            name: one.recorded if one.is_plain else one.recorded.model_copy(update={"when": one.parameter.when})
            for name, one in dimensions.items()
        }
        coded = {name: one for name, one in dimensions.items() if not one.is_plain}
        for name, parameter in parameters.items():
            if coded.keys() & parameter.when.keys():
                parameters[name] = parameter.model_copy(update={"when": recorded(parameter.when)})
        return cls(
            parameters,
            {name: frozen(spec.setting(name)) for name in sorted(named) if name not in spec.parameters},
            coded,
            {name: Tie(_expression(ties[name]), recorded(ties[name].when)) for name in _sources_first(ties)},
            clauses,
        )

    # ---- what is recorded, and what a trial gets ---------------------------------------------------------------------

    def config(self, recorded: Mapping[str, Any]) -> Config:
        """The config that a trial gets, of what is recorded; what is tied to something that is not there is left out.

        Raises:
            ExpressionError: a tied value cannot be computed.
        """
        config = {name: self.coded[name].value(it) if name in self.coded else it for name, it in recorded.items()}
        for name, tie in self.ties.items():
            known = {**self.fixed, **config}
            if self._holds(tie.when, recorded) and all(source in known for source in tie.expression.names):
                config[name] = tie.expression.value(known)
        return config

    def recorded(self, config: Mapping[str, Any]) -> Config:
        """What is recorded of a trial with this config."""
        return {
            name: self.coded[name].encoded(config[name]) if name in self.coded else config[name]
            for name in self.parameters
            if name in config
        }

    def settled(self, name: str, proposed: Any) -> Any:
        """What is recorded where a sampler has proposed this: of a range with steps on a log scale the nearest one."""
        return self.coded[name].settled(proposed) if name in self.coded else proposed

    @property
    def is_restricted(self) -> bool:
        """Whether there may be configs that are not allowed."""
        return bool(self.forbidden or self.ties)

    def refusal(self, recorded: Mapping[str, Any]) -> str | None:
        """Why no trial may have this config; None where one may. What is not there yet is not asked for."""
        if not self.is_restricted:
            return None
        try:
            config = self.config(recorded)
        except ExpressionError as error:
            return str(error)
        return first_that_holds(self.forbidden, {**self.fixed, **config})

    def allows(self, recorded: Mapping[str, Any]) -> bool:
        """Whether a trial may have this config, as it is recorded."""
        return self.refusal(recorded) is None

    # ---- which configs there are -------------------------------------------------------------------------------------

    def active(self, name: str, config: Mapping[str, Any]) -> bool:
        """Whether the parameter exists in a config, as it is recorded, that already holds its parents."""
        return self._holds(self.parameters[name].when, config)

    def _holds(self, when: Mapping[str, tuple[Any, ...]], config: Mapping[str, Any]) -> bool:
        known = {**self.fixed, **config}
        return all(parent in known and known[parent] in wanted for parent, wanted in when.items())

    def suggest(self, trial: optuna.Trial) -> Config:
        """Asks the trial's sampler for a value of each active parameter."""
        config: Config = {}
        for name, parameter in self.parameters.items():
            if self.active(name, config):
                config[name] = _ask(trial, name, distribution(parameter))
        return config

    def configs(self, most: int) -> list[Config] | None:
        """All configs that are allowed, as they are recorded; None where there are more than `most`."""
        found: list[Config] = [{}]
        decisive = {name for clause in self.forbidden for name in clause.names}
        decisive |= {name for tie in self.ties.values() for name in tie.expression.names}
        grown = (_GROWN if decisive else 1) * most
        for name in self.parameters:
            active = [config for config in found if self.active(name, config)]
            if not active:
                continue
            values = self.choices(name, most)
            if values is None or len(found) - len(active) + len(active) * len(values) > grown:
                return None
            others = [config for config in found if not self.active(name, config)]
            found = others + [{**config, name: value} for config in active for value in values]
            if name in decisive:
                found = [config for config in found if self.allows(config)]
            if len(found) > most:
                return None
        return found

    def choices(self, name: str, most: int) -> Sequence[Any] | None:
        """All values of a parameter, as they are recorded; None where there are more than `most`."""
        return self.coded.get(name, Dimension(self.parameters[name])).choices(most)

    def default(self, spec: SearchSpec) -> Config:
        """The config that the user would have started from: `default:` or the setting written in its section.

        Parameters with neither are missing; the sampler fills them in.
        """
        return self.start(spec, {})

    def start(self, spec: SearchSpec, given: Mapping[str, Any]) -> Config:
        """Some values laid over the default config, as they are recorded.

        Args:
            spec: of the space.
            given: values as a trial gets them; those of parameters that are inactive then are left out.
        """
        config: Config = {}
        for name, parameter in self.parameters.items():
            if not self.active(name, config):
                continue
            written = spec.parameters[name]
            if name in given:
                value = given[name]
            elif "default" in written.model_fields_set:
                value = written.default
            elif spec.written(name) and written.contains(spec.setting(name)):
                value = spec.setting(name)
            else:
                continue
            config[name] = self.coded[name].encoded(value) if name in self.coded else _as_listed(parameter, value)
        return config

    def starts(self, spec: SearchSpec) -> list[Config]:
        """What is tried first: the default config, then those that the spec lists, each once."""
        found: list[Config] = []
        for given in ({}, *spec.configs):
            config = self.start(spec, given)
            if config and config not in found:
                found.append(config)
        return found


def _expression(parameter: Parameter) -> Expression:
    assert parameter.expression is not None
    return parameter.expression


def _sources_first(ties: Mapping[str, Parameter]) -> Iterable[str]:
    """The names of tied parameters, in the order in which their values can be computed.

    Raises:
        CycleError: they go in a circle.
    """
    graph = {name: [other for other in _expression(tied).names if other in ties] for name, tied in ties.items()}
    return TopologicalSorter(graph).static_order()


def possible_configs(spec: SearchSpec) -> int | None:
    """How many configs a search can try; None where there is no end of them: more than 10,000, or they may repeat."""
    configs = None if spec.repeats else Space.of(spec).configs(LISTED)
    return None if configs is None else len(configs)


def never_active(spec: SearchSpec) -> Iterator[str]:
    """A sentence for each parameter that no config has, since a fixed setting is otherwise."""
    space = Space.of(spec)
    never: set[str] = set()
    conditions = {name: parameter.when for name, parameter in space.parameters.items()}
    for name, when in {**conditions, **{name: tie.when for name, tie in space.ties.items()}}.items():
        for parent, wanted in when.items():
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
    return str(value).lower() if isinstance(value, bool) else repr(thawed(value))


def config_key(config: Mapping[str, Any]) -> ConfigKey:
    """What two configs have in common if and only if they are the same."""
    return frozenset((name, _keyed(value)) for name, value in config.items())


def _keyed(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else frozen(value)


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
    return on_grid(parameter, float(np.exp(value)) if parameter.log else value)


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
