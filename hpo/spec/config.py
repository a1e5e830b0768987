"""A config that a user names: held to the parameters that are searched."""

from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from hpo.errors import Problem, SpecError
from hpo.plugins import did_you_mean
from hpo.spec.parameter import Parameter
from hpo.spec.rules import in_our_words
from hpo.spec.space import Space
from hpo.spec.study_spec import Config, SearchSpec, StudySpec


def checked_config(spec: SearchSpec, given: Mapping[str, Any]) -> Config:
    """The config, with each value as its parameter has it; parameters may be missing.

    Args:
        spec: says what is searched.
        given: parameter name -> value.

    Raises:
        SpecError: with every problem: an unknown name, a value that is not searched, a parameter without its condition.
    """
    problems = list(_problems(spec, given))
    config = {} if problems else {name: _as_searched(spec.parameters[name], value) for name, value in given.items()}
    if not problems and isinstance(spec, StudySpec):
        try:
            spec.apply(config)
        except pydantic.ValidationError as error:
            problems = [in_our_words(detail) for detail in error.errors()]
    if problems:
        raise SpecError([f"{'.'.join(problem.key)}: {problem.message}" for problem in problems])
    return config


def _problems(spec: SearchSpec, given: Mapping[str, Any]) -> Iterable[Problem]:
    space = Space.of(spec)
    if not given:
        yield Problem(("config",), "names no parameter")
    for name, value in given.items():
        parameter = spec.parameters.get(name)
        if parameter is None:
            fixed = spec.setting(name)
            known = did_you_mean(name, spec.parameters) if fixed is None else f" It is fixed at {fixed!r}."
            yield Problem((name,), f"is not searched by this study.{known}")
        elif not parameter.contains(value):
            yield Problem((name,), f"must be in {parameter.describe():.200}, got {value!r:.80}")
        else:
            yield from _unmet(space, name, given)


def _unmet(space: Space, name: str, given: Mapping[str, Any]) -> Iterable[Problem]:
    """The conditions that a config breaks with a parameter that it names."""
    known = {**space.fixed, **given}
    for parent, wanted in space.parameters[name].when.items():
        values = " or ".join(map(repr, wanted))
        if parent not in known:
            yield Problem((name,), f"is only there where {parent} is {values}; name that too")
        elif known[parent] not in wanted:
            yield Problem((name,), f"is only there where {parent} is {values}, and that is {known[parent]!r}")


def _as_searched(parameter: Parameter, value: Any) -> Any:
    """The value as the parameter's distribution has it."""
    if parameter.values is not None:
        alike = (item for item in parameter.values if isinstance(item, bool) == isinstance(value, bool))
        return next(item for item in alike if item == value)
    return int(value) if parameter.type == "int" else float(value)
