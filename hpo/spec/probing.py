"""Configs with which settings and models are tried before a search: one parameter after another at its extremes."""

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

from hpo.spec.expressions import ExpressionError
from hpo.spec.space import Space
from hpo.spec.study_spec import Config, SearchSpec

_MOST_COMBINED = 81
"""Combinations of a few parameters that are looked at: four of three values have so many."""


def probes(spec: SearchSpec) -> Iterator[tuple[str, Config]]:
    """Parameter -> a config with one of its extremes, the other settings as they are written.

    Where parameters are tied or combinations forbidden, what is tied has its value, and what is forbidden is left out.
    """
    space = Space.of(spec)
    for name, parameter in spec.parameters.items():
        for value in parameter.probes():
            config = completed(spec, space, {name: value}) if space.is_restricted else {name: value}
            if config is not None:
                yield name, config


def config_as_written(spec: SearchSpec) -> Config | None:
    """What is tied to others where all is as it is written; None where that is forbidden."""
    space = Space.of(spec)
    return completed(spec, space, {}) if space.is_restricted else {}


def completed(spec: SearchSpec, space: Space, given: Config) -> Config | None:
    """Some values with all that follows from them and from the written settings; None where that is forbidden."""
    config = dict(given)
    for tie in space.ties.values():
        for source in tie.expression.names:
            parameter = spec.parameters.get(source)
            if parameter is not None and parameter.equals is None and source not in config:
                config[source] = _usual(spec, source)
    recorded = space.recorded(config)
    if space.refusal({**_as_written(spec, space), **recorded}) is not None:
        return None
    tied = space.config({**_as_written(spec, space), **recorded})
    return {**config, **{name: tied[name] for name in space.ties if name in tied}}


def combinations(spec: SearchSpec, space: Space, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Some parameters and settings at their extremes, in all combinations; tied ones have the value that follows.

    Args:
        spec: of a search.
        space: of the spec.
        names: what is wanted; that of which there is no value is left out.
    """
    needed = _needed(space, names)
    ties = {name: tie for name, tie in space.ties.items() if name in needed}
    searched = [name for name in needed if name in spec.parameters and name not in ties]
    fixed = {name: spec.setting(name) for name in needed if name not in spec.parameters}
    every = product(*(spec.parameters[name].probes() for name in searched))
    for values in islice(every, _MOST_COMBINED):
        known = {**fixed, **dict(zip(searched, values, strict=True))}
        for name, tie in ties.items():
            if all(source in known for source in tie.expression.names):
                try:
                    known[name] = tie.expression.value(known)
                except ExpressionError:  # where it has no value, no trial has it
                    continue
        yield known


def _needed(space: Space, names: tuple[str, ...]) -> list[str]:
    """These parameters and settings, and all that they follow from."""
    found: dict[str, None] = {}
    waiting = list(reversed(names))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += reversed(space.ties[name].expression.names if name in space.ties else ())
    return list(found)


def _usual(spec: SearchSpec, name: str) -> Any:
    """A value of a parameter: its default, what is written in its section, or its first extreme."""
    parameter = spec.parameters[name]
    if "default" in parameter.model_fields_set:
        return parameter.default
    written = spec.setting(name)
    return written if written is not None and parameter.contains(written) else parameter.probes()[0]


def _as_written(spec: SearchSpec, space: Space) -> Mapping[str, Any]:
    """The settings that parameters vary, as they are written, where they can be recorded."""
    written = {name: spec.setting(name) for name in space.parameters}
    known = {name: it for name, it in written.items() if it is not None and spec.parameters[name].contains(it)}
    return space.recorded(known)
