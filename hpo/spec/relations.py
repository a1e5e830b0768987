"""What must hold between parameters: of those that are tied, of forbidden combinations, and of known configs."""

from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from hpo.errors import Problem
from hpo.plugins import did_you_mean
from hpo.spec.expressions import ExpressionError, KindError
from hpo.spec.forbidden import Forbidden, first_that_holds
from hpo.spec.parameter import Parameter, thawed
from hpo.spec.probing import combinations
from hpo.spec.space import Space
from hpo.spec.study_spec import SearchSpec

Refusal = Callable[[SearchSpec, str, Any], str | None]
_MOST_TIES = 50


def relation_problems(spec: SearchSpec, refusal: Refusal) -> Iterable[Problem]:
    """What is wrong with ties, forbidden combinations and known configs of a spec whose parameters are sound.

    Args:
        spec: of a search.
        refusal: (spec, name of a setting, value) -> why the setting does not take the value, None where it does.
    """
    ties = [name for name, parameter in spec.parameters.items() if parameter.equals is not None]
    if len(ties) > _MOST_TIES:
        return [Problem(("parameters", ties[_MOST_TIES], "equals"), f"more than {_MOST_TIES} parameters are tied")]
    problems = [*_sources(spec), *_circles(spec)]
    if not problems:
        space = Space.of(spec)
        problems += [*_tied_values(spec, space, refusal), *_clauses(spec, space)]
        problems = problems or [*_configs(spec, space), *_default(spec, space)]
    return problems


# ---- tied parameters -------------------------------------------------------------------------------------------------


def _sources(spec: SearchSpec) -> Iterable[Problem]:
    for name, tied in spec.parameters.items():
        for source in () if tied.expression is None else tied.expression.names:
            message = _unknown(spec, source, name) or _no_number(spec, source) or _inactive(spec, name, source)
            if message is not None:
                yield Problem(("parameters", name, "equals"), message)


def _unknown(spec: SearchSpec, name: str, own: str | None = None) -> str | None:
    if name in spec.parameters or spec.setting(name) is not None:
        return None
    known = [other for other in spec.parameters if other != own]
    return f"there is no parameter or setting '{name}'.{did_you_mean(name, known)}"


def _no_number(spec: SearchSpec, name: str) -> str | None:
    parameter = spec.parameters.get(name)
    if parameter is None:
        value = spec.setting(name)
        return None if _is_number(value) else f"'{name}' is {value!r:.80}, and no number can be computed from that"
    if parameter.equals is not None or all(map(_is_number, parameter.probes())):
        return None
    return f"'{name}' is in {parameter.describe():.80}, and no number can be computed from that"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _inactive(spec: SearchSpec, name: str, source: str) -> str | None:
    """Why a tied parameter may exist where its source does not."""
    own = _conditions(spec, name)
    for parent, wanted in _conditions(spec, source):
        if parent not in spec.parameters and spec.setting(parent) in wanted:
            continue
        if not any(other == parent and set(values) <= set(wanted) for other, values in own):
            shown = " or ".join(str(thawed(value)) for value in wanted)
            return f"'{source}' exists only where '{parent}' is {shown}: give this parameter the same `when`"
    return None


def _conditions(spec: SearchSpec, name: str) -> list[tuple[str, tuple[Any, ...]]]:
    """What must be so for a parameter to exist, its parents' conditions included."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    waiting, seen = [name], {name}
    while waiting:
        parameter = spec.parameters.get(waiting.pop())
        when = {} if parameter is None else parameter.when
        found += when.items()
        waiting += when.keys() - seen
        seen |= when.keys()
    return found


def _circles(spec: SearchSpec) -> Iterable[Problem]:
    ties = {name: tied.expression for name, tied in spec.parameters.items() if tied.expression is not None}
    try:
        TopologicalSorter({name: tie.names for name, tie in ties.items()}).prepare()
    except CycleError as error:
        yield Problem(("parameters", error.args[1][0], "equals"), f"ties go in a circle: {' -> '.join(error.args[1])}")


def _tied_values(spec: SearchSpec, space: Space, refusal: Refusal) -> Iterable[Problem]:
    """A tied value that no config has, or that breaks the rule of its setting where its sources are extreme."""
    for name, tie in space.ties.items():
        found = list(combinations(spec, space, (name,)))
        if not any(name in known for known in found):
            try:
                tie.expression.value(found[0])
            except (ExpressionError, LookupError) as error:
                yield Problem(("parameters", name, "equals"), str(error))
            continue
        for known in found:
            if name not in known or first_that_holds(space.forbidden, known) is not None:
                continue
            if (message := refusal(spec, name, known[name])) is not None:
                given = ", ".join(f"{source} is {known[source]}" for source in tie.expression.names)
                yield Problem(("parameters", name, "equals"), f"{message}, where {given}")
                break


# ---- forbidden combinations ------------------------------------------------------------------------------------------


def _clauses(spec: SearchSpec, space: Space) -> Iterable[Problem]:
    for place, clause in enumerate(space.forbidden):
        key = ("forbidden", str(place))
        unknown = [message for name in clause.names if (message := _unknown(spec, name)) is not None]
        if unknown:
            yield Problem(key, unknown[0])
        elif clause.comparison is None:
            yield from _never(spec, key, clause.values)
        else:
            yield from _uncomparable(spec, space, key, clause)


def _never(spec: SearchSpec, key: tuple[str, ...], values: Mapping[str, tuple[Any, ...]]) -> Iterable[Problem]:
    """Values that a parameter never has: most likely written wrong."""
    for name, wanted in values.items():
        parameter = spec.parameters.get(name)
        if parameter is None or parameter.equals is not None:
            continue
        yield from (
            Problem((*key, name), f"is never {thawed(value)!r}: '{name}' is in {parameter.describe()}")
            for value in wanted
            if not parameter.contains(value)
        )


def _uncomparable(spec: SearchSpec, space: Space, key: tuple[str, ...], clause: Forbidden) -> Iterable[Problem]:
    """A comparison of what is no number."""
    for known in combinations(spec, space, clause.names):
        try:
            clause.holds(known)
        except KindError as error:
            yield Problem(key, str(error))
            return
        except ExpressionError:  # where it has no value, nothing is allowed; elsewhere it may have one
            continue


def _default(spec: SearchSpec, space: Space) -> Iterable[Problem]:
    if space.is_restricted and (reason := space.refusal(space.default(spec))) is not None:
        yield Problem(
            ("forbidden",) if spec.forbidden else ("parameters",),
            f"the default config, which is the first trial, is not allowed: {reason}; change a `default`, or the"
            " setting in its section",
        )


# ---- known configs ---------------------------------------------------------------------------------------------------


def _configs(spec: SearchSpec, space: Space) -> Iterable[Problem]:
    seen: list[Any] = []
    for place, given in enumerate(spec.configs):
        key = ("configs", str(place))
        wrong = [Problem((*key, name), told) for name in given if (told := _wrong(spec, name, given[name])) is not None]
        yield from wrong
        if wrong:
            continue
        if not given:
            yield Problem(key, "names no parameter; the default config is tried anyway")
            continue
        config = space.start(spec, given)
        inactive = [name for name in given if name not in config]
        yield from (
            Problem((*key, name), "is not active in this config, by its `when`; leave it out") for name in inactive
        )
        if (reason := space.refusal(config)) is not None:
            yield Problem(key, f"is not allowed: {reason}")
        elif config in seen:
            yield Problem(key, f"is the same config as configs.{seen.index(config)}; leave one out")
        seen.append(config)


def _wrong(spec: SearchSpec, name: str, value: Any) -> str | None:
    parameter: Parameter | None = spec.parameters.get(name)
    if parameter is None:
        return f"there is no parameter '{name}'.{did_you_mean(name, spec.parameters)}"
    if parameter.equals is not None:
        return f"follows from others ({parameter.equals}); leave it out"
    if not parameter.contains(value):
        return f"{thawed(value)!r:.80} is not in {parameter.describe():.200}"
    return None
