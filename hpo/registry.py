"""Plug-ins by name: a short name of our own, or a user's `module:attribute`."""

import difflib
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hpo.errors import InputError


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: ` Did you mean 'x'?`, or the known words where none is close."""
    names = sorted(known)
    if not names:
        return ""
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(names)}."


class Registry:
    """The plug-ins of one kind.

    Args:
        kind: what they are, for messages ("model").
        entries: short name -> `module:attribute`, imported when first asked for.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The short names, in the order of their registration."""
        return tuple(self._entries)

    def load(self, name: str) -> Any:
        """The object called `name`.

        Raises:
            InputError: the name is unknown, or its module or attribute cannot be imported.
        """
        if ":" in name:
            return self._import(name)
        if name not in self._entries:
            hint = did_you_mean(name, self._entries)
            raise InputError(f"unknown {self.kind} '{name}'.{hint} Your own goes by 'module:attribute'.")
        return self._import(self._entries[name])

    def _import(self, path: str) -> Any:
        module_name, _, attribute = path.partition(":")
        working_directory = str(Path.cwd())
        if working_directory not in sys.path:  # a console script does not look where the user stands
            sys.path.append(working_directory)
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # a user's module may raise anything while it is imported
            raise InputError(f"{self.kind} '{path}': module '{module_name}' cannot be imported: {error}") from error
        if not hasattr(module, attribute):
            hint = did_you_mean(attribute, [name for name in dir(module) if not name.startswith("_")])
            raise InputError(f"{self.kind} '{path}': module '{module_name}' has no '{attribute}'.{hint}")
        return getattr(module, attribute)
