"""A search file as plain mappings, lists, numbers and texts, with the places of its keys; held to a size first."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
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

_MOST_BYTES, _MOST_VALUES, _DEEPEST, _LARGEST = 2**20, 20_000, 40, 2**63
"""The most bytes, values (keys included) and levels of a YAML file; a larger one takes minutes, or is made to harm."""
Key = tuple[str, ...]
"""The keys that lead to a value."""


@dataclass(frozen=True)
class Source:
    """The places at which keys were written, so that a message can point at them."""

    name: str
    """The file that the user names."""
    places: Mapping[Key, str]
    """Key -> `file:line`."""
    overridden: frozenset[str] = frozenset()
    """The dotted names given by --set."""
    variables: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    """Key -> the environment variables that its value was taken from."""

    def place(self, key: Key) -> str:
        """`file:line` of the key, or of the closest key above it that was written."""
        for name in self.overridden:
            if name == ".".join(key) or name.startswith(".".join(key) + "."):
                return f"--set {name}"
        for length in range(len(key), 0, -1):
            if ".".join(key[:length]) in self.overridden:
                return f"--set {'.'.join(key[:length])}"
            if key[:length] in self.places:
                return self.places[key[:length]]
        return f"{self.name}:1" if self.places else self.name

    def line(self, problem: Problem) -> str:
        """One problem as one line."""
        parts = [self.place(problem.key), ".".join(problem.key), problem.message]
        return ": ".join(part for part in parts if part).replace("\r", "\\r").replace("\n", "\\n")


def read_document(path: Path, follow: bool = True) -> tuple[dict[str, Any], dict[Key, str]]:
    """A file's mapping, and where its keys are.

    Args:
        path: of the file.
        follow: whether the last part of the path may be a link.

    Raises:
        SpecError: it cannot be read, is too large or no YAML, or has something that is no plain value.
    """
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
    lines: dict[Key, int] = {}
    _collect_lines(document, (), lines)
    try:
        return plain(document), {key: f"{path}:{line}" for key, line in lines.items()}
    except Unreadable as error:
        line = next((lines[error.path[:end]] for end in range(len(error.path), 0, -1) if error.path[:end] in lines), 1)
        raise SpecError([f"{path}:{line}: {error}"]) from None


def parse_plain(text: str) -> Any:
    """A YAML document as Python's own mappings, lists, numbers and texts.

    Raises:
        YAMLError, ValueError: it is none, has tags, is nested too deeply, or its aliases make too much of it.
    """
    return plain(_parsed(text))


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


def _collect_lines(node: Any, path: Key, lines: dict[Key, int]) -> None:
    places = getattr(getattr(node, "lc", None), "data", None) or {}  # what a tag or a merge key brings in has none
    items = (
        node.items() if isinstance(node, CommentedMap) else enumerate(node) if isinstance(node, CommentedSeq) else ()
    )
    for key, value in items:
        if key in places:
            lines[(*path, str(key))] = places[key][0] + 1
        _collect_lines(value, (*path, str(key)), lines)


class Unreadable(ValueError):
    """Something that is no number, text, list or mapping."""

    def __init__(self, path: Key, message: str) -> None:
        super().__init__(message)
        self.path = path


def plain(node: Any, path: Key = ()) -> Any:
    """The YAML library's own containers and numbers, numpy's, and paths, as Python's; refuses tags."""
    if isinstance(node, TaggedScalar) or (getattr(node, "tag", None) and getattr(node.tag, "value", None)):
        raise Unreadable(path, f"YAML tags are not allowed, got {node.tag.value}")
    if len(path) > _DEEPEST:
        raise Unreadable(path, f"is nested more than {_DEEPEST} deep")
    if isinstance(node, Mapping):
        return {str(key): plain(value, (*path, str(key))) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value, (*path, str(place))) for place, value in enumerate(node)]
    if isinstance(node, int) and abs(node) >= _LARGEST:
        raise Unreadable(path, f"must be within 2^63 of zero, got a whole number of {node.bit_length():,} bits")
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    if node is None:
        return None
    if isinstance(node, np.generic | np.ndarray):
        return plain(node.tolist(), path)
    if isinstance(node, PurePath):
        return str(node)
    raise Unreadable(path, f"only numbers, texts, lists and mappings are allowed, got {node!r}")
