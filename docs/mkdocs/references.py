"""The references, written as Markdown from the commands, the models of the YAML and the public names of `hpo`."""

import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click
import griffe
from arguments import Arguments
from markdown.extensions.toc import slugify
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

import hpo
from hpo import cli
from hpo.models import MODELS
from hpo.spec import StudySpec

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "yaml.md"
WHOLE = "The whole file"
RULES = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "max_length": "at most {} characters",
    "pattern": "matches `{}`",
}
"""Attribute of what annotates a type -> the rule in words."""


def commands() -> str:
    """Every command of `hpo` with its options, in the words of `--help`."""
    beside = vars(sys.modules[cli.main.__module__]).values()
    group = next(value for value in beside if isinstance(value, click.Group))
    return "\n\n".join(_commands(group, "hpo", None))


def _commands(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    """A command and, of a group, all below it."""
    context = click.Context(command, parent, name)
    yield f"## {context.command_path}"
    yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
    yield _help_text(command.help or "")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            yield f"`{record[0]}`\n:   {record[1]}"
    yield _help_text(command.epilog or "")
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _commands(command.commands[below], below, context)


def _help_text(text: str) -> str:
    """A help text as Markdown: what click is told not to wrap (`\\b`) is code."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(f"```text\n{part[2:].strip()}\n```" if part.startswith("\b") else part for part in parts)


def search_file() -> str:
    """Every key of a search file with its type, default and rule, in the order of the guide."""
    parts = [_section("", StudySpec, {})]
    for name, field in _ordered(StudySpec).items():
        model = _model(field.annotation)
        if model is not None:
            default = field.default.model_dump() if isinstance(field.default, BaseModel) else {}
            parts.append(_section(name, model, default))
    return "\n\n".join(parts)


def _ordered(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a model. Those of the whole file come as the guide explains them."""
    headings = _headings()
    places = {name: headings.index(heading) for name in model.model_fields for heading in _explaining(name)}
    return {
        name: model.model_fields[name] for name in sorted(model.model_fields, key=lambda name: places.get(name, -1))
    }


def _headings() -> list[str]:
    return re.findall(r"^## (.+)$", GUIDE.read_text(), re.MULTILINE)


def _explaining(name: str) -> list[str]:
    """The heading of the guide under which a section is explained: the one that begins with its name, or has it."""
    having = [heading for heading in _headings() if name in re.findall(r"\w+", heading)]
    return sorted(having, key=lambda heading: not heading.startswith(name))[:1]


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model somewhere in a type such as `dict[str, Parameter]`; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model(part)) is not None), None)


def _section(name: str, model: type[BaseModel], given: dict[str, Any]) -> str:
    """One section of the file; `given` has its values where the file leaves the whole section out."""
    schema = model.model_json_schema()["properties"]
    prefix = {
        "": "",
        "parameters": "parameters.NAME.",
        "constraints": "constraints.N.",
        "callbacks": "callbacks.N.",
        "metrics": "metrics.N.",
    }.get(name, f"{name}.")
    rows = [["key", "type", "default", "rule", "meaning"], ["---"] * 5]
    for key, field in (model.model_fields if name else _ordered(model)).items():
        kind, default = _type(key, schema[key], field, name), _default(key, field, given)
        rows.append([f"`{prefix}{key}`", kind, default, _rule(field), _meaning(model, key)])
    if model.model_config.get("extra") == "allow":
        rows.append([f"`{prefix}...`", "anything", "", "", "A setting that the plug-in has."])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    link = [f"Explained in [the guide](../yaml.md#{slugify(heading, '-')})." for heading in _explaining(name)]
    return "\n\n".join([f"## {name or WHOLE}", inspect.cleandoc(model.__doc__ or ""), *link, table])


def _meaning(model: type[BaseModel], key: str) -> str:
    """The docstring of a key, from the source: pydantic would have to read that at every start of `hpo`."""
    own = (base for base in model.__mro__ if base.__module__.startswith("hpo."))
    declared = next(base for base in own if key in inspect.get_annotations(base))
    docstring = _object(_package(), f"{declared.__module__}.{declared.__qualname__}.{key}").docstring
    assert docstring is not None, f"'{key}' of {declared.__name__} has no docstring"
    return " ".join(docstring.value.split()).replace("|", "\\|")


def _type(key: str, schema: dict[str, Any], field: FieldInfo, section: str) -> str:
    model = _model(field.annotation)
    if model is not None:
        inside = ", ".join(f"`{name}`" for name in model.model_fields)
        one = f"{{{inside}}}" if section else f"[section](#{key})"
        return {"array": f"list of {one}", "object": f"name -> {one}"}.get(schema.get("type", ""), one)
    if _takes_duration(field):
        return "seconds, or a text such as `90s`, `30m`, `2h`"
    return _one_of(schema)


def _one_of(schema: dict[str, Any]) -> str:
    *most, last = dict.fromkeys(_alternatives(schema))
    return f"{', '.join(most)} or {last}" if most else last


def _alternatives(schema: dict[str, Any]) -> list[str]:
    """What a value may be, each in a word or two."""
    if "anyOf" in schema:
        found = [text for part in schema["anyOf"] if part.get("type") != "null" for text in _alternatives(part)]
        return [text for text in found if text != "whole number" or "number" not in found]
    if "enum" in schema or "const" in schema:
        return [f"`{_yaml(value)}`" for value in schema.get("enum", [schema.get("const")])]
    kind, items, values = schema.get("type"), schema.get("items"), schema.get("additionalProperties")
    if kind == "array":
        return [f"list of {_one_of(items)}" if items else "list"]
    if kind == "object":
        return [f"name -> {_one_of(values)}" if isinstance(values, dict) and values else "mapping"]
    words = {"boolean": ["`true`", "`false`"], "integer": ["whole number"], "number": ["number"], "string": ["text"]}
    return words.get(str(kind), ["anything"])


def _takes_duration(field: FieldInfo) -> bool:
    """Whether `30m` is read as a number of seconds; the schema does not say so."""
    try:
        return bool(TypeAdapter(field.rebuild_annotation()).validate_python("30m") == 1800)
    except ValidationError:
        return False


def _default(key: str, field: FieldInfo, given: dict[str, Any]) -> str:
    """The default; of a section only what it cannot do without. Some differ where the whole section is left out."""
    if field.is_required():
        return "**required**"
    own = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(own, BaseModel):
        needed = {name: getattr(own, name) for name, part in type(own).model_fields.items() if part.is_required()}
        return _shown(needed) if needed else ""
    if key in given and given[key] != own:
        return f"{_shown(own)}; {_shown(given[key])} without the section"
    return _shown(own)


def _shown(value: Any) -> str:
    return f"`{_yaml(value)}`" if value or value in (0, False) else "none"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml(item)}' for key, item in value.items())}}}"
    return str(value)


def _rule(field: FieldInfo) -> str:
    found = [
        text.format(getattr(rule, name))
        for rule in _rules(field)
        for name, text in RULES.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join(found).replace("|", "\\|")


def _rules(annotated: Any) -> Iterator[Any]:
    """All that annotates a type, at whatever depth."""
    yield annotated
    inside = (annotated.annotation, *annotated.metadata) if isinstance(annotated, FieldInfo) else get_args(annotated)
    for part in inside:
        yield from _rules(part)


def families() -> str:
    """Every family of models with its settings, in the words of its docstring."""
    return "\n\n".join(_family(name) for name in MODELS.names)


def _family(name: str) -> str:
    """A family: what it is and whose, and a table of its settings."""
    function = MODELS.load(name)
    source = (sys.modules[function.__module__].__doc__ or "").strip()
    sections = griffe.Docstring(inspect.getdoc(function) or "").parse("google", warnings=False)
    text = [section.value for section in sections if section.kind is griffe.DocstringSectionKind.text]
    said = {
        argument.name: " ".join(argument.description.split())
        for section in sections
        if section.kind is griffe.DocstringSectionKind.parameters
        for argument in section.value
    }
    rows = [["setting", "default", "meaning"], ["---"] * 3]
    for argument in inspect.signature(function).parameters.values():
        if argument.kind is argument.KEYWORD_ONLY:
            assert argument.name in said, f"'{argument.name}' of {name} is not in its docstring"
            rows.append([f"`{argument.name}`", f"`{_yaml(argument.default)}`", said[argument.name]])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    has_settings = len(rows) > 2
    return "\n\n".join(
        [
            f"### `{name}` {{ #{name} }}",
            source,
            *text,
            f"Input: {said['input_shape']}",
            *([table] if has_settings else []),
        ]
    )


def python() -> str:
    """The names of `hpo.__all__`, the errors, and the types that the functions take and give."""
    package = _package()
    public = {name: _object(package, f"hpo.{name}") for name in hpo.__all__}
    functions = sorted((name for name in public if public[name].is_function), key=lambda name: public[name].lineno or 0)
    errors = [found for found in _object(package, "hpo.errors").classes.values() if found.bases]
    known = {found.canonical_path for found in (*public.values(), *errors)}
    others = sorted(_short(package, path) for path in _reached(package, list(public.values())) - known)
    return "\n\n".join(
        [
            "## Functions",
            *(f"::: hpo.{name}" for name in functions),
            "## Classes",
            *(f"::: hpo.{name}{_options(public[name])}" for name in public if name not in functions),
            "## Errors",
            *(f"::: {found.path}" for found in errors),
            "## What the functions take and give",
            "These names are not in `hpo` itself; each is imported from the module that stands before it.",
            *(f"::: {path}{_options(_object(package, path))}" for path in others),
        ]
    )


@cache
def _package() -> griffe.Module:
    """The code of `hpo`, read without running it."""
    extensions = griffe.load_extensions("dataclasses", Arguments)
    package = griffe.load("hpo", search_paths=[ROOT], resolve_aliases=True, extensions=extensions)
    assert isinstance(package, griffe.Module)
    return package


def _object(package: griffe.Module, path: str) -> griffe.Object:
    found = package.modules_collection.get_member(path)
    return found.final_target if isinstance(found, griffe.Alias) else found


def _short(package: griffe.Module, path: str) -> str:
    """The shortest path by which an object can be imported."""
    *modules, name = path.split(".")
    for length in range(1, len(modules)):
        shorter = ".".join([*modules[:length], name])
        try:
            if _object(package, shorter).canonical_path == path:
                return shorter
        except KeyError:
            continue
    return path


def _options(found: griffe.Object) -> str:
    """How an object is shown: enumerations with all their values, models of the YAML without what has a page."""
    if found.canonical_path in {f"{model.__module__}.{model.__qualname__}" for model in StudySpec.__mro__}:
        return "\n    options: {members: false}"
    if isinstance(found, griffe.Class) and any(str(base).endswith("Enum") for base in found.bases):
        return "\n    options: {show_if_no_docstring: true}"
    return ""


def _reached(package: griffe.Module, objects: list[griffe.Object]) -> set[str]:
    """The paths of all types of ours that `objects` name in their signatures, and that these are made of."""
    paths: set[str] = set()
    while objects:
        named = {path for found in objects for annotation in _annotations(found) for path in _own_names(annotation)}
        objects = [found for path in named if (found := _object(package, path)).canonical_path not in paths]
        paths |= {found.canonical_path for found in objects}
    return paths


def _annotations(found: griffe.Object) -> Iterator[griffe.Expr | str | None]:
    """The types that whoever uses a function, an alias, a dataclass or another class gets to see."""
    if isinstance(found, griffe.Function):
        yield from (parameter.annotation for parameter in found.parameters)
        yield found.returns
    elif isinstance(found, griffe.Attribute):
        yield found.value
    elif isinstance(found, griffe.Class) and "dataclass" in found.labels:
        yield from (field.annotation for name, field in found.attributes.items() if not name.startswith("_"))
    elif isinstance(found, griffe.Class) and not found.bases:
        yield from (method.returns for name, method in found.functions.items() if not name.startswith("_"))


def _own_names(annotation: griffe.Expr | str | None) -> Iterator[str]:
    if isinstance(annotation, griffe.Expr):
        names = (part.canonical_path for part in annotation.iterate() if isinstance(part, griffe.Expr))
        yield from (name for name in names if name.startswith("hpo."))
