"""What a user's search file takes from elsewhere: files that it `extends`, and variables of the environment.

Neither is done for what a study has stored: that is the merged file with the values of its variables.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from hpo.errors import SpecError
from hpo.spec.document import Key, Source, Unreadable, parse_plain, plain, read_document

EXTENDS = "extends"
"""The key that names a file, or several, whose keys hold where the file itself has no others."""
_MOST_FILES = 20
_NAMED = ("data", "model", "sampler", "scheduler")
"""Sections whose other keys are settings of what they name."""
_KINDS = {"values", "permutation", "normal", "lognormal", "equals"}
"""What makes a parameter another thing than a range."""
_VARIABLE = re.compile(r"\$?\$\{(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?")
_SECRET = re.compile(r"secret|token|passw|credential|private|(^|_)(api|access)?_?key($|_)", re.IGNORECASE)
_CREDENTIALS = re.compile(r"://[^/@\s]*:[^/@\s]*@")


def read_file(path: Path) -> tuple[dict[str, Any], Source]:
    """A search file of the user's, with what it extends laid under it and the values of its variables.

    Raises:
        SpecError: one of the files cannot be read, is no mapping or names itself, or a variable is not set.
    """
    document, places, variables = _Files().read(path, (), None)
    return document, Source(str(path), places, variables=variables)


def read_mapping(given: Mapping[str, Any], stored: bool = False) -> tuple[dict[str, Any], Source]:
    """A search as a dict; what it extends is looked for where one stands, unless the dict is what a study has stored.

    Raises:
        SpecError: it has something that is no plain value, or what it extends cannot be read.
    """
    try:
        document = plain(given)
    except Unreadable as error:
        raise SpecError([f"spec: {'.'.join(error.path)}: {error}"]) from None
    if stored or EXTENDS not in document:
        return document, Source("spec", {})
    document, places, variables = _Files().extended(document, {}, Path("spec"), (), {})
    return document, Source("spec", places, variables=variables)


def read_stored_file(path: Path) -> tuple[dict[str, Any], Source]:
    """A search file that a study has stored: it extends nothing, and what looks like a variable is a text.

    Raises:
        SpecError: it cannot be read, or is no mapping.
    """
    document, places = read_document(path, follow=False)
    return document, Source(str(path), places)


_Read = tuple[dict[str, Any], dict[Key, str], dict[Key, tuple[str, ...]]]
"""A document, where its keys are, and what its variables were."""


def _no_path(place: str, path: Path, error: Exception) -> str:
    return f"{place}: {EXTENDS}: '{path!s:.100}' is no path: {error!s:.100}"


class _Files:
    """Reads files that extend each other, so many at most."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, path: Path, above: tuple[Path, ...], place: str | None) -> _Read:
        """A file and all below it.

        Args:
            path: of the file.
            above: the files that have led to it.
            place: where it is named; None where the user names it.
        """
        self._count += 1
        if self._count > _MOST_FILES:
            raise SpecError([f"{place}: {EXTENDS}: a search is made of at most {_MOST_FILES} files"])
        try:
            own = path.resolve()
            found = place is None or path.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, links in a circle
            raise SpecError(
                [f"{path}: is no path: {error}" if place is None else _no_path(place, path, error)]
            ) from None
        if own in above:
            circle = " -> ".join(str(file.name) for file in (*above[above.index(own) :], own))
            raise SpecError([f"{place}: {EXTENDS}: files extend each other in a circle: {circle}"])
        if not found:
            raise SpecError([f"{place}: {EXTENDS}: there is no file '{path}'; it is looked for beside this file"])
        document, places = read_document(path)
        variables: dict[Key, tuple[str, ...]] = {}
        document = _with_variables(document, (), Source(str(path), places), variables)
        return self.extended(document, places, path, (*above, own), variables)

    def extended(
        self,
        document: dict[str, Any],
        places: dict[Key, str],
        path: Path,
        above: tuple[Path, ...],
        variables: dict[Key, tuple[str, ...]],
    ) -> _Read:
        """A document laid over what it extends."""
        if EXTENDS not in document:
            return document, places, variables
        source, named = Source(str(path), places), document.pop(EXTENDS)
        names = named if isinstance(named, list) else [named]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise SpecError(
                [f"{source.place((EXTENDS,))}: {EXTENDS}: must be a file, or a list of files, got {named!r:.80}"]
            )
        merged: _Read = ({}, {}, {})
        for name in names:
            below = self.read(path.parent / Path(name).expanduser(), above, source.place((EXTENDS,)))
            merged = _over(below, merged)
        return _over((document, places, variables), merged)


def _over(top: _Read, base: _Read) -> _Read:
    merged = _merged(top[0], base[0], ())
    kept = {key: names for key, names in base[2].items() if _at(merged, key) == _at(base[0], key)}
    return merged, {**base[1], **top[1]}, {**kept, **top[2]}


def _at(node: Any, key: Key) -> Any:
    """The value at a key; None where there is none."""
    for part in key:
        if isinstance(node, Mapping):
            node = node.get(part)
        elif isinstance(node, list) and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


def _merged(top: Mapping[str, Any], base: Mapping[str, Any], path: Key) -> dict[str, Any]:
    """Mappings of both files with the keys of both; of other values those of the file that extends."""
    merged = dict(base)
    for key, value in top.items():
        below, inner = base.get(key), (*path, key)
        if not path and key in _NAMED:  # by a name alone, or with settings
            value, below = _as_mapping(value, below), _as_mapping(below, value)
        if value is None and (not path or path == ("parameters",)):
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(below, Mapping) and not _replaces(value, below, inner):
            merged[key] = _merged(value, below, inner)
        else:
            merged[key] = value
    return merged


def _as_mapping(value: Any, other: Any) -> Any:
    return {"name": value} if isinstance(value, str) and isinstance(other, Mapping) else value


def _replaces(top: Mapping[str, Any], base: Mapping[str, Any], path: Key) -> bool:
    """Whether a mapping is of another thing than the one below it, whose keys would be none of its own."""
    if len(path) == 1 and path[0] in _NAMED:
        return "name" in top and top["name"] != base.get("name")
    if len(path) == 2 and path[0] == "parameters":
        kinds, below = _KINDS & top.keys(), _KINDS & base.keys()
        ranged = bool(top.keys() & {"min", "max"}) and not below & {"normal", "lognormal"}
        return (bool(kinds) and kinds != below) or (ranged and bool(below))
    return False


def _with_variables(node: Any, path: Key, source: Source, found: dict[Key, tuple[str, ...]]) -> Any:
    """Values with what the environment has for `${NAME}`; keys stay as they are."""
    if isinstance(node, Mapping):
        return {key: _with_variables(value, (*path, key), source, found) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_variables(value, (*path, str(place)), source, found) for place, value in enumerate(node)]
    if not isinstance(node, str) or "${" not in node:
        return node

    def value_of(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        try:
            value = _variable(match)
        except ValueError as error:
            raise SpecError([f"{source.place(path)}: {'.'.join(path)}: {error}"]) from None
        if os.environ.get(match["name"]):
            found[path] = (*found.get(path, ()), match["name"])
        return value

    text = _VARIABLE.sub(value_of, node)
    return _number(text) if _VARIABLE.fullmatch(node) else text


def _number(text: str) -> Any:
    """A number or switch where a text is one, as it would be where it stood in the file."""
    try:
        read = parse_plain(text)
    except (YAMLError, ValueError):
        return text
    return read if isinstance(read, bool | int | float) else text


def _variable(match: re.Match[str]) -> str:
    """The value of a variable, or its default.

    Raises:
        ValueError: it is not written right, is not set, or must not be stored.
    """
    name, default = match["name"], match["default"]
    if name is None or "${" in (default or ""):
        raise ValueError("a variable is written ${NAME}, or ${NAME:-default}; for the two signs themselves write $${")
    if _SECRET.search(name):
        raise ValueError(
            f"${{{name}}} looks like a secret, and what a search file says is stored in the study; let your code read"
            " it from the environment"
        )
    value = os.environ.get(name) or default
    if value is None:
        raise ValueError(f"${{{name}}} is not set, or empty; set it, or write a default: ${{{name}:-default}}")
    if _CREDENTIALS.search(value):
        raise ValueError(f"${{{name}}} has a password in its URL, and what a search file says is stored in the study")
    return value
