"""Several model families in one study: `model.name` as a parameter, and settings that are of one family alone.

A setting of one family has the family in its name: `model.resnet.width` in `parameters`, and a mapping in the `model`
section, `model: {name: resnet, resnet: {width: 16}}`. So each name has one range everywhere, whatever `width` is in
another family, and is active where `model.name` is its family.
"""

from collections.abc import Collection, Mapping
from typing import Any

from hpo.spec.parameter import Parameter
from hpo.spec.section import Named

SECTION, NAME = "model", "model.name"


def family_of(name: str) -> str | None:
    """The family to which a dotted name gives a setting: `resnet` of `model.resnet.width`; None where it names none."""
    section, _, key = name.partition(".")
    return (key.rpartition(".")[0] or None) if section == SECTION else None


def settings_of(model: Named, family: str) -> Mapping[str, Any]:
    """What a `model` section has for one family alone; nothing where it has no mapping of that name."""
    own = model.settings.get(family)
    return own if isinstance(own, Mapping) else {}


def resolved(model: Named, families: Collection[str]) -> Named:
    """The model of one trial: the settings that are of every family, and over them those of the one that it names.

    Args:
        model: as it is written, with a trial's values.
        families: whose mappings are settings of a family, and no value of a setting.
    """
    nested = {family for family in families if isinstance(model.settings.get(family), Mapping)}
    if not nested:
        return model
    shared = {key: value for key, value in model.settings.items() if key not in nested}
    return type(model).model_validate({**shared, **settings_of(model, model.name), "name": model.name})


def laid_over(model: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A `model` section with one more setting, `width` of every family or `resnet.width` of one."""
    family, _, setting = key.rpartition(".")
    if not family:
        return {**model, key: value}
    own = model.get(family)
    return {**model, family: {**(own if isinstance(own, Mapping) else {}), setting: value}}


def with_conditions(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Parameters of which those of a family are active only where that family is trained.

    Raises:
        ValueError: a parameter's own `when` wants another family.
    """
    found = dict(parameters)
    for name, parameter in parameters.items():
        family = family_of(name)
        wanted = parameter.when.get(NAME, (family,))
        if family is None:
            continue
        if wanted != (family,):
            others = " or ".join(map(repr, wanted))
            raise ValueError(f"'{name}' is a setting of '{family}', and its `when` wants {NAME} to be {others}")
        found[name] = parameter.model_copy(update={"when": {NAME: (family,), **parameter.when}})
    return found


def goes_with(parameters: Mapping[str, Parameter], name: str, family: str) -> bool:
    """Whether a parameter may be active in a trial of a family, by its own `when` and by those of its parents."""
    waiting, seen = [name], {name}
    while waiting:
        parameter = parameters.get(waiting.pop())
        when = {} if parameter is None else parameter.when
        if family not in when.get(NAME, (family,)):
            return False
        waiting += when.keys() - seen
        seen |= when.keys()
    return True
