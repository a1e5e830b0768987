"""A config that a user names: held to the parameters that are searched."""

from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from hpo.errors import Problem, SpecError
from hpo.plugins import did_you_mean
from hpo.spec.parameter import Parameter, frozen, thawed
from hpo.spec.rules import in_our_words
from hpo.spec.space import Space
from hpo.spec.study_spec import Config, SearchSpec, StudySpec


def checked_config(spec: SearchSpec, given: Mapping[str, Any]) -> Config:
    """The config, with each value as its parameter has it; parameters may be missing.

    Args:
        spec: says what is searched.
        given: parameter name -> value.

    Raises:
        SpecError: with every problem: an unknown name, a value that is not searched, one that follows from others, a
            parameter without its condition, a combination that is forbidden.
    """
    problems = list(_problems(spec, given))
    config = {} if problems else {name: _as_searched(spec.parameters[name], value) for name, value in given.items()}
    if not problems and isinstance(spec, StudySpec):
        try:
            spec.apply(config)
        except pydantic.ValidationError as error:
            problems = [in_our_words(detail) for detail in error.errors()]
    space = Space.of(spec)
    if not problems and (reason := space.refusal(space.recorded(config))) is not None:
        problems = [Problem(("config",), f"is not allowed: {reason}")]
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
        elif parameter.equals is not None:
            yield Problem((name,), f"follows from others ({parameter.equals}); leave it out")
        elif not parameter.contains(value):
            yield Problem((name,), f"must be in {parameter.describe():.200}, got {value!r:.80}")
        else:
            yield from _unmet({**space.fixed, **given}, name, parameter)


def _unmet(known: Mapping[str, Any], name: str, parameter: Parameter) -> Iterable[Problem]:
    """The conditions that a config breaks with a parameter that it names."""
    for parent, wanted in parameter.when.items():
        values = " or ".join(repr(thawed(value)) for value in wanted)
        if parent not in known:
            yield Problem((name,), f"is only there where {parent} is {values}; name that too")
        elif frozen(known[parent]) not in wanted:
            yield Problem((name,), f"is only there where {parent} is {values}, and that is {known[parent]!r}")


def _as_searched(parameter: Parameter, value: Any) -> Any:
    """The value as the parameter's distribution has it."""
    if parameter.values is not None:
        alike = (item for item in parameter.values if isinstance(item, bool) == isinstance(value, bool))
        return thawed(next(item for item in alike if item == frozen(value)))
    if parameter.permutation is not None:
        return thawed(value)
    return int(value) if parameter.type == "int" else float(value)
