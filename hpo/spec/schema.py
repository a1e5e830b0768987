"""The search file as a JSON schema (draft 2020-12), for editors: what pydantic says of the models, and the short forms.

A schema says less than `hpo validate`: it knows no data, no settings of plug-ins, and few rules between keys. What it
refuses, `hpo validate` refuses too.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from hpo.spec.extending import EXTENDS
from hpo.spec.families import NAME
from hpo.spec.parameter import ALLOWED, Parameter
from hpo.spec.rules import NOT_SEARCHABLE, SEARCHABLE
from hpo.spec.section import LOSSES, TABLES, TASKS
from hpo.spec.study_spec import StudySpec, section_class

Schema = dict[str, Any]
_DURATION: Schema = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*[smhd]?\s*$"}
_DURATIONS = (("Budget", "time_limit"), ("Failures", "trial_timeout"))
_CONSTRAINT: Schema = {
    "type": "string",
    "pattern": r"^\s*[\w.-]+\s*(<=|>=)\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$",
}
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}
"""Where a number or a switch is wanted, the environment may have it."""
_RANGE = {"type": "object", "required": ["min", "max"]}
_WORDS: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "number"]}}]}
"""A program and its arguments."""


def schema(names: Mapping[str, Collection[str]]) -> Schema:
    """The schema of a search file.

    Args:
        names: section -> the plug-ins that it can name; others are named by `module:attribute`.
    """
    whole = StudySpec.model_json_schema()
    parts: dict[str, Schema] = whole["$defs"]
    for part in parts.values():
        part["properties"] = {key: _or_variable(value) for key, value in part["properties"].items()}
    for section, key in _DURATIONS:
        parts[section]["properties"][key]["anyOf"].append(_DURATION)
    parts["Objectives"]["properties"].pop("others")
    _parameter(parts["Parameter"])
    _data(parts["DataSettings"])
    frozen = parts["ModelSettings"]["properties"]
    frozen["frozen"] = _one_or_more(frozen["frozen"], {"type": "string"})
    properties = {key: _or_variable(value) for key, value in whole["properties"].items()}
    properties |= {section: _named(properties[section], known) for section, known in names.items()}
    properties["objective"] = _objective(properties["objective"])
    properties["constraints"] = _one_or_more(properties["constraints"], {"anyOf": [_CONSTRAINT, _ref("Constraint")]})
    parts["Command"]["properties"]["run"] = {
        "description": parts["Command"]["properties"]["run"]["description"],
        **_WORDS,
    }
    properties["command"] = _command(properties["command"])
    properties["metrics"] = _one_or_more(properties["metrics"], {"anyOf": [{"type": "string"}, _ref("Metric")]})
    properties["task"] = _or_own(properties["task"], TASKS)
    parts["TrainingSettings"]["properties"]["loss"] = _or_own(parts["TrainingSettings"]["properties"]["loss"], LOSSES)
    callback = {"anyOf": [{"type": "string"}, _ref("Named")]}
    properties["callbacks"] = _one_or_more(properties["callbacks"], callback)
    for key in ("forbidden", "configs"):
        properties[key] = _one_or_more(properties[key], properties[key]["items"])
    properties["parameters"]["additionalProperties"] = {"anyOf": [_ref("Parameter"), {"type": "null"}]}
    files = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    described = {"description": "The file, or files, over which this one is laid: its own keys win.", **files}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A search file of hpo",
        "description": "What is searched, how trials are trained, and what ends the search.",
        "type": "object",
        "properties": {EXTENDS: described, **properties},
        "additionalProperties": False,
        "if": {"required": [EXTENDS]},
        "else": _whole_file(),
        "dependentSchemas": {"model": {"properties": {"parameters": _of_models()}}},
        "$defs": parts,
    }


def _whole_file() -> Schema:
    """What a file needs that extends no other: a name, data with a model, and parameters that say what they are."""
    kinds = [_RANGE, *({"type": "object", "required": [kind]} for kind in ALLOWED)]
    of_trained = {section: ["data", "model"] for section in ("data", "model", "optimizer", "resources", "task")}
    return {
        "required": ["study"],
        "dependentRequired": of_trained,
        "properties": {"parameters": {"additionalProperties": {"anyOf": kinds}}},
    }


def _parameter(part: Schema) -> None:
    """What may stand beside what, and the short form of `when`."""
    keys = Parameter.model_fields.keys()
    part["dependentSchemas"] = {
        kind: {"properties": dict.fromkeys(sorted(keys - allowed - {kind}), False)} for kind, allowed in ALLOWED.items()
    }
    value = part["properties"]["default"]
    part["properties"]["when"]["additionalProperties"] = {
        "anyOf": [{key: value[key] for key in value if key == "anyOf"}, {"type": "array"}]
    }
    part["if"] = {"properties": {"log": {"const": True}}, "required": ["log", "min"]}
    part["then"] = {"properties": {"min": _or_variable({"type": "number", "exclusiveMinimum": 0})}}
    part["properties"]["values"]["anyOf"][0]["minItems"] = 1


def _data(part: Schema) -> None:
    """The name of a file says what it is; one text that means a missing value may stand alone."""
    endings = "|".join(ending.removeprefix(".") for ending in (".npz", *TABLES))
    part["required"] = []
    by_path = {"required": ["path"], "properties": {"path": {"pattern": rf"\.({endings})$|\$\{{"}}}
    part["anyOf"] = [{"required": ["name"]}, by_path]
    part["properties"]["missing"] = _one_or_more(part["properties"]["missing"], {"type": "string"})


def _named(section: Schema, known: Collection[str]) -> Schema:
    """A plug-in by its name alone, or with settings; without a name it is the one that is the default."""
    name = {"anyOf": [{"enum": sorted(known)}, {"type": "string", "pattern": r"[:/]|\$\{"}]}
    own = next((one for one in (section, *section.get("anyOf", ())) if "$ref" in one), None)
    settings: Schema = {"type": "object", "properties": {"name": name}}
    inside = settings if own is None else {"allOf": [{"$ref": own["$ref"]}, settings]}
    if "default" in section:  # sampler and scheduler
        inside, description = settings, section.get("description")
        return {"description": description, "anyOf": [name, inside, {"type": "null"}]}
    return {"description": section.get("description"), "anyOf": [name, inside]}


def _objective(section: Schema) -> Schema:
    one = {"anyOf": [{"type": "string"}, _ref("Objectives")]}
    return {
        "description": section.get("description"),
        "anyOf": [*one["anyOf"], {"type": "array", "items": one, "minItems": 1}, {"type": "null"}],
    }


def _command(section: Schema) -> Schema:
    """A program by its words alone, or with what it needs."""
    return {
        "description": section.get("description"),
        "anyOf": [*_WORDS["anyOf"], _ref("Command"), {"type": "null"}],
    }


def _or_own(section: Schema, names: Collection[str]) -> Schema:
    """One of these names, or an import path of the user's own."""
    about: Schema = {key: section[key] for key in ("description", "default") if key in section}
    return {**about, "anyOf": [{"enum": list(names)}, {"type": "string", "pattern": r":|\$\{"}]}


def _one_or_more(section: Schema, one: Schema) -> Schema:
    return {"description": section.get("description"), "anyOf": [one, {"type": "array", "items": one}]}


def _or_variable(value: Schema) -> Schema:
    """A number, a switch or one of some words, or a variable in its place."""
    kinds = set(_types(value))
    if "$ref" in value or not kinds & {"number", "integer", "boolean", "enum"}:
        return value
    about: Schema = {key: value[key] for key in ("description", "default") if key in value}
    plain: Schema = {key: value[key] for key in value.keys() - {"description", "default", "title"}}
    return {**about, "anyOf": [*plain.pop("anyOf", ()), *([plain] if plain else []), _VARIABLE]}


def _types(value: Schema) -> Iterator[str]:
    kind = "enum" if "enum" in value or "const" in value else value.get("type", "")
    yield from [kind] if isinstance(kind, str) else kind
    for part in value.get("anyOf", ()):
        yield from _types(part)


def _of_models() -> Schema:
    """The parameters of a search over models: names of settings, and the names of families as a list of texts."""
    listed: Schema = dict.fromkeys(sorted(Parameter.model_fields.keys() - {"values", "default", "prior"}), False)
    names: Schema = {"properties": {**listed, "values": {"items": {"type": "string"}}}}
    return {"propertyNames": {"pattern": _searchable()}, "properties": {NAME: names}}


def _searchable() -> str:
    """A pattern of the names that parameters of a search over models can have."""
    fields = StudySpec.model_fields
    settings = {
        section: _settings(section_class(fields[section]), section) for section in SEARCHABLE if section != "model"
    }
    others = (rf"{section}\.({'|'.join(names)})" for section, names in settings.items() if names)
    return rf"^(model\.(?!(.+\.)?weights$)(.+\.)?[^.]+|{'|'.join(others)})$"


def _settings(model: type[BaseModel], section: str) -> list[str]:
    return [name for name in model.model_fields if f"{section}.{name}" not in NOT_SEARCHABLE]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
