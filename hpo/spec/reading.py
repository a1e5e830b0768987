"""Reads a spec from YAML, dict and `--set`, and tells the place of everything that is wrong."""

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Generic, TypeVar

import numpy as np
import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    ScalarEvent,
)

from hpo.errors import Problem, SpecError, first_line
from hpo.files import read_regular
from hpo.plugins import did_you_mean, import_paths, note_stored, trust
from hpo.spec.parameter import Parameter
from hpo.spec.rules import command_problems, in_our_words, parameter_problems
from hpo.spec.study_spec import SearchSpec, StudySpec

SpecLike = str | Path | Mapping[str, Any] | SearchSpec
"""A YAML file's path, a dict of the same shape, or a spec."""

_Spec = TypeVar("_Spec", bound=SearchSpec)
_MOST_BYTES, _MOST_VALUES, _DEEPEST, _LARGEST = 2**20, 20_000, 40, 2**63
"""The most bytes, values (keys included) and levels of a YAML file; a larger one takes minutes, or is made to harm."""
_MOST_WORDED = 100
"""Problems that are told in our words, with what may have been meant: looking for that takes its time."""


@dataclass(frozen=True)
class Source:
    """The lines in which keys were written, so that a message can point at them.

    `lines` maps a key path to its line; `overridden` holds the dotted names given by --set.
    """

    name: str
    lines: Mapping[tuple[str, ...], int]
    overridden: frozenset[str] = frozenset()

    def place(self, key: tuple[str, ...]) -> str:
        """`file:line` of the key, or of the closest key above it that was written."""
        for name in self.overridden:
            if name == ".".join(key) or name.startswith(".".join(key) + "."):
                return f"--set {name}"
        for length in range(len(key), 0, -1):
            if ".".join(key[:length]) in self.overridden:
                return f"--set {'.'.join(key[:length])}"
            if key[:length] in self.lines:
                return f"{self.name}:{self.lines[key[:length]]}"
        return f"{self.name}:1" if self.lines else self.name

    def line(self, problem: Problem) -> str:
        """One problem as one line."""
        parts = [self.place(problem.key), ".".join(problem.key), problem.message]
        return ": ".join(part for part in parts if part).replace("\r", "\\r").replace("\n", "\\n")


@dataclass(frozen=True)
class Written(Generic[_Spec]):
    """A spec as somebody wrote it: read and validated once, with the places of its keys for what further rules say."""

    spec: _Spec | None
    """None where it is not sound in itself."""
    source: Source
    problems: tuple[Problem, ...]

    def checked(
        self,
        checks: Sequence[Callable[[_Spec], Iterable[Problem]]] = (),
        last_check: Callable[[_Spec], Iterable[Problem]] | None = None,
    ) -> _Spec:
        """The spec, held to further rules.

        Args:
            checks: the rules, asked only where the spec is sound in itself.
            last_check: an expensive rule, asked only where there is no problem yet.

        Raises:
            SpecError: with every problem found, each with its place.
        """
        problems = list(self.problems)
        if self.spec is not None:
            problems += [problem for check in checks for problem in check(self.spec)]
            if last_check is not None and not problems:
                problems += last_check(self.spec)
        if problems or self.spec is None:
            raise SpecError([self.source.line(problem) for problem in dict.fromkeys(problems)])
        return self.spec


def read(space: SpecLike, overrides: Mapping[str, Any] | None = None) -> Written[SearchSpec]:
    """Reads a search whose trials are trained, and validates it; what is wrong is told when it is `checked`.

    It is one over models, a `StudySpec`, unless it has a training function or a program of its own and neither `data`
    nor `model`.

    Import paths and programs in a file, in a dict and in the overrides are trusted from now on: the user names them.

    Args:
        space: a YAML file's path, a dict of the same shape, or a spec.
        overrides: dotted name -> value, laid over what the file says.

    Raises:
        SpecError: it cannot be read at all.
    """
    document, source = _read(space)
    named = {*document, *(name.partition(".")[0] for name in overrides or {})}
    own = named & {"train", "command"} and not document.keys() & {"data", "model"}
    return _written(SearchSpec if own else StudySpec, document, source, space, overrides)


def load(
    space: SpecLike,
    overrides: Mapping[str, Any] | None = None,
    checks: Sequence[Callable[[StudySpec], Iterable[Problem]]] = (),
    last_check: Callable[[StudySpec], Iterable[Problem]] | None = None,
) -> StudySpec:
    """Reads and validates a search over models.

    Args:
        space: a YAML file's path, a dict of the same shape, or a spec.
        overrides: dotted name -> value, laid over what the file says.
        checks: further rules, asked only where the spec is sound in itself.
        last_check: an expensive rule, asked only where there is no problem yet.

    Raises:
        SpecError: with every problem found, each with its place.
    """
    document, source = _read(space)
    return _written(StudySpec, document, source, space, overrides).checked(checks, last_check)


def load_search(
    space: SpecLike,
    overrides: Mapping[str, Any] | None = None,
    checks: Sequence[Callable[[SearchSpec], Iterable[Problem]]] = (),
    last_check: Callable[[SearchSpec], Iterable[Problem]] | None = None,
) -> SearchSpec:
    """Reads and validates a search that need not say what its trials are: `data` and `model` may be missing.

    Arguments are those of `load`.

    Raises:
        SpecError: with every problem found, each with its place.
    """
    document, source = _read(space)
    return _written(_kind(document), document, source, space, overrides).checked(checks, last_check)


def load_stored(stored: Path | Mapping[str, Any]) -> SearchSpec:
    """Reads the spec that a study has stored, in a file or as a dict; the import paths in it are not trusted.

    Raises:
        SpecError: with every problem found, each with its place.
    """
    document, source = _read(stored, follow=False)
    spec = _validated(_kind(document), document, source).checked()
    if isinstance(stored, Path):
        note_stored(spec.import_paths, stored)
    return spec


def _kind(document: Mapping[str, Any]) -> type[SearchSpec]:
    return StudySpec if document.keys() & {"data", "model"} else SearchSpec


def _written(
    kind: type[_Spec],
    document: dict[str, Any],
    source: Source,
    space: SpecLike,
    overrides: Mapping[str, Any] | None,
) -> Written[_Spec]:
    overrides = dict(overrides or {})
    trust(import_paths([overrides, {} if isinstance(space, SearchSpec) else document]))
    problems = [problem for name, value in overrides.items() for problem in _override(document, name, value)]
    written = _validated(kind, document, Source(source.name, source.lines, frozenset(overrides)), problems)
    command = None if written.spec is None else written.spec.command
    if command is not None and ("command" in overrides or not isinstance(space, SearchSpec)):
        trust([command.key])
    return written


def _validated(
    kind: type[_Spec], document: Mapping[str, Any], source: Source, problems: Sequence[Problem] = ()
) -> Written[_Spec]:
    problems, spec = list(problems), None
    try:
        spec = kind.model_validate(document)
        problems += [*parameter_problems(spec), *command_problems(spec)]
    except pydantic.ValidationError as error:
        details = error.errors()
        problems += [in_our_words(detail) for detail in details[:_MOST_WORDED]]
        problems += [Problem(tuple(map(str, detail["loc"])), detail["msg"]) for detail in details[_MOST_WORDED:]]
    return Written(spec, source, tuple(problems))


def dump(spec: SearchSpec) -> str:
    """The spec as YAML that `load` reads back into an equal spec."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # a sampler's dimensions keep their order
    yaml.dump(spec.model_dump(mode="json", exclude_unset=True), text)
    return text.getvalue()


def parse_override(text: str) -> tuple[str, Any]:
    """`optimizer.lr=0.1` -> ("optimizer.lr", 0.1); the value is read as YAML.

    Raises:
        SpecError: there is no `=`, no name, or the value is not YAML.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SpecError([f"--set {text}: write it as dotted.name=value, for example --set training.epochs=5"])
    if value.strip().startswith("+") and name.strip().startswith("budget."):
        raise SpecError([f"--set {text}: a limit that is set is one in all, without a +; --trials +20 is 20 more"])
    try:
        return name.strip(), parse_plain(value)
    except (YAMLError, ValueError) as error:
        raise SpecError([f"--set {text}: the value is not YAML: {first_line(error)}"]) from None


def _read(space: SpecLike, follow: bool = True) -> tuple[dict[str, Any], Source]:
    if isinstance(space, SearchSpec):
        return space.model_dump(exclude_unset=True), Source("spec", {})
    if isinstance(space, Mapping):
        try:
            return _plain(space), Source("spec", {})
        except _Unreadable as error:
            raise SpecError([f"spec: {'.'.join(error.path)}: {error}"]) from None
    path = Path(space)
    try:
        text = read_regular(path, _MOST_BYTES, follow=follow).decode()
    except FileNotFoundError:
        raise SpecError([f"{path}: no such file; --space wants the path of a YAML file"]) from None
    except (OSError, ValueError) as error:
        raise SpecError([f"{path}: cannot be read: {error}"]) from None
    try:
        document = _parsed(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError([f"{path}:{line}: not YAML: {first_line(error.problem or error)}"]) from None
    except (YAMLError, ValueError) as error:
        raise SpecError([f"{path}:1: not YAML: {first_line(error)}"]) from None
    if not isinstance(document, CommentedMap):
        raise SpecError(
            [f"{path}:1: a search is a mapping of sections (study, data, model, ...), got {document!r:.60}"]
        )
    lines: dict[tuple[str, ...], int] = {}
    _collect_lines(document, (), lines)
    try:
        return _plain(document), Source(str(path), lines)
    except _Unreadable as error:
        line = next((lines[error.path[:end]] for end in range(len(error.path), 0, -1) if error.path[:end] in lines), 1)
        raise SpecError([f"{path}:{line}: {error}"]) from None


def parse_plain(text: str) -> Any:
    """A YAML document as Python's own mappings, lists, numbers and texts.

    Raises:
        YAMLError, ValueError: it is none, has tags, is nested too deeply, or its aliases make too much of it.
    """
    return _plain(_parsed(text))


def _parsed(text: str) -> Any:
    """A YAML document as ruamel's containers, which know their lines."""
    _check_size(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML allows it
        return YAML(typ="rt").load(text)


def _check_size(text: str) -> None:
    """Counts what a document has when its aliases are written out, event by event: nothing is built yet."""
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []
    total = 0
    for event in YAML(typ="rt").parse(io.StringIO(text)):
        if isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise _too_much(event, f"alias '*{event.anchor}' stands for something that it is a part of, or nothing")
            total += sizes[event.anchor]
        elif isinstance(event, ScalarEvent | CollectionStartEvent):
            total += 1
            if isinstance(event, CollectionStartEvent):
                open_.append((event.anchor, total - 1))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                sizes[anchor] = total - before
        if len(open_) > _DEEPEST:
            raise _too_much(event, f"is nested more than {_DEEPEST} deep")
        if total > _MOST_VALUES:
            raise _too_much(event, f"has more than {_MOST_VALUES:,} values, aliases written out")


def _too_much(event: Event, message: str) -> MarkedYAMLError:
    return MarkedYAMLError(problem=message, problem_mark=event.start_mark)


def _collect_lines(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    places = getattr(getattr(node, "lc", None), "data", None) or {}  # what a tag or a merge key brings in has none
    items = (
        node.items() if isinstance(node, CommentedMap) else enumerate(node) if isinstance(node, CommentedSeq) else ()
    )
    for key, value in items:
        if key in places:
            lines[(*path, str(key))] = places[key][0] + 1
        _collect_lines(value, (*path, str(key)), lines)


class _Unreadable(ValueError):
    """Something that is no number, text, list or mapping."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def _plain(node: Any, path: tuple[str, ...] = ()) -> Any:
    """The YAML library's own containers and numbers, numpy's, and paths, as Python's; refuses tags."""
    if isinstance(node, TaggedScalar) or (getattr(node, "tag", None) and getattr(node.tag, "value", None)):
        raise _Unreadable(path, f"YAML tags are not allowed, got {node.tag.value}")
    if len(path) > _DEEPEST:
        raise _Unreadable(path, f"is nested more than {_DEEPEST} deep")
    if isinstance(node, Mapping):
        return {str(key): _plain(value, (*path, str(key))) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value, (*path, str(place))) for place, value in enumerate(node)]
    if isinstance(node, int) and abs(node) >= _LARGEST:
        raise _Unreadable(path, f"must be within 2^63 of zero, got a whole number of {node.bit_length():,} bits")
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    if node is None:
        return None
    if isinstance(node, np.generic | np.ndarray):
        return _plain(node.tolist(), path)
    if isinstance(node, PurePath):
        return str(node)
    raise _Unreadable(path, f"only numbers, texts, lists and mappings are allowed, got {node!r}")


def _override(document: dict[str, Any], name: str, value: Any) -> Iterable[Problem]:
    try:
        value = _plain(value)
    except _Unreadable as error:
        yield Problem((name, *error.path), str(error))
        return
    section, _, key = name.partition(".")
    if not key:
        document[section] = value
        return
    if section == "parameters":  # their names are dotted themselves; a sub-key comes last
        yield from _override_parameter(document, key, value)
        return
    holder = document.get(section)
    if isinstance(holder, str | list):  # the short forms `sampler: tpe` and `command: train.sh`
        holder = {"run" if section == "command" else "name": holder}
    if holder is None:
        holder = {}
    if not isinstance(holder, dict) or "." in key:
        yield Problem(
            (name,), f"cannot be set: there is no setting of this name.{did_you_mean(section, StudySpec.model_fields)}"
        )
        return
    document[section] = {**holder, key: value}
    if isinstance(document.get("parameters"), dict):  # a setting fixed by hand is no longer searched
        document["parameters"] = {other: item for other, item in document["parameters"].items() if other != name}


def _override_parameter(document: dict[str, Any], key: str, value: Any) -> Iterable[Problem]:
    parameters = document.setdefault("parameters", {})
    if not isinstance(parameters, dict):
        return
    parent, _, leaf = key.rpartition(".")
    if parent in parameters and leaf in Parameter.model_fields and isinstance(parameters[parent], dict):
        parameters[parent] = {**parameters[parent], leaf: value}
    elif value is None:
        parameters.pop(key, None)
    elif isinstance(value, dict):
        parameters[key] = value
    else:
        yield Problem(("parameters", key), f"a parameter is a mapping such as {{min: 0, max: 1}}, got {value!r}")
