"""The settings in which two specs differ."""

from collections.abc import Collection, Mapping
from typing import Any

from hpo import tasks
from hpo.spec import SearchSpec

_FREE = ("budget", "resources", "failures", "callbacks")
"""Sections that may change while a study goes on."""
_KNOWN_OTHERWISE = {("data", "path"), ("train",), ("command", "run"), ("command", "folder"), ("command", "grace")}
"""Settings that are known by something else: the content of the data, and code."""
_FILES, _FILE = (("data", "test"), ("data", "validation")), "a file"
"""Settings that may be the path of a file, which is known by its content too, and what stands for that."""


def differences(mine: SearchSpec, other: SearchSpec, left: Collection[str] = _FREE) -> dict[str, tuple[Any, Any]]:
    """The settings in which two specs differ: dotted name -> what each has there, None where it has nothing.

    The sections in `left` may differ, and so may the path of the data, which are known by their content, the name of
    the training function and the words of a command, which are known by their code, and where and how a program ends.
    """
    ours, theirs = (_flat(_dumped(spec, {"objective", *left})) for spec in (mine, other))
    for flat in (ours, theirs):
        for name in _KNOWN_OTHERWISE:
            flat.pop(name, None)
        flat |= {name: _FILE for name in _FILES if isinstance(flat.get(name), str)}
    for flat, spec in ((ours, mine), (theirs, other)):
        for place, objective in enumerate(spec.objectives):  # the goal may be written or not
            flat["objective", str(place)] = (objective.metric, tasks.goal_of(objective))
    names = sorted(ours.keys() | theirs.keys())
    both = ((".".join(name), ours.get(name), theirs.get(name)) for name in names)
    return {name: (one, other) for name, one, other in both if _parted(one) != _parted(other)}


def fixed_settings(spec: SearchSpec) -> dict[str, Any]:
    """The settings in which a study never differs while it goes on, but for those that are known by something else.

    Those that are as they are by themselves are left out, so that a later release with more of them finds the same.
    """
    kept = spec.model_dump(exclude={"study", "base", "objective", *_FREE}, exclude_defaults=True)
    for section, *key in _KNOWN_OTHERWISE:
        holder = kept if not key else kept.get(section) or {}
        holder.pop(key[0] if key else section, None)
    kept["objective"] = [(objective.metric, tasks.goal_of(objective)) for objective in spec.objectives]
    for section, name in _FILES:
        if isinstance((holder := kept.get(section, {})).get(name), str):
            holder[name] = _FILE
    return kept


def _dumped(spec: SearchSpec, without: set[str]) -> dict[str, Any]:
    """The settings of a spec; of its parameters what is not as it is by itself."""
    dumped = spec.model_dump(exclude=without)
    parameters = {name: parameter.model_dump(exclude_defaults=True) for name, parameter in spec.parameters.items()}
    return {**dumped, "parameters": parameters} if "parameters" in dumped else dumped


def _parted(value: Any) -> Any:
    """A value in which switches are told from the numbers 0 and 1, which Python takes to be equal; NaN is itself."""
    if isinstance(value, list | tuple):
        return [_parted(one) for one in value]
    return (type(value), repr(value)) if isinstance(value, bool) or value != value else value


def _flat(tree: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Keys from the top to a value -> the value; names may have dots, so the keys are not joined."""
    flat: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, (*prefix, str(key)))
        else:
            flat[*prefix, str(key)] = value
    return flat
