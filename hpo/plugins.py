"""Plug-ins by name: a short name of our own, or a user's `module:attribute`.

An import path runs code, so it is followed only where the user has named it in this process: in a search file, a dict,
an argument or HPO_TRUST, or by trusting a stored file that names it.
"""

import difflib
import functools
import importlib
import importlib.machinery
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Any, TextIO

from hpo.errors import InputError, on_one_line

_NEAR = 0.65
"""How alike, of 0 to 1, a typing error and what is meant are at least: `sdg` and `sgd` 0.67, `nope` and `soup` 0.5."""
_BEGINNING = 3
"""Letters that are enough for the beginning of a word: `acc` of `accuracy`, or `max`, with which `maximum` begins."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: ` Did you mean 'x'?`, or the known words where none is near."""
    names = {name.lower(): name for name in sorted(known)}
    if not names:
        return ""
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=_NEAR)
    if not near:  # `rl` for `lr`
        near = [name for name in names if sorted(name) == sorted(word.lower())]
    if not near:
        begun = [name for name in names if _begins(name, word.lower()) or _begins(word.lower(), name)]
        near = begun if len(begun) == 1 else []
    if near:
        return f" Did you mean '{names[near[0]]}'?"
    return f" Known: {', '.join(sorted(names.values()))}."


def _begins(word: str, start: str) -> bool:
    return len(start) >= _BEGINNING and word.startswith(start)


VARIABLE = "HPO_TRUST"
"""The environment variable with import paths that the user trusts, separated by commas; for servers."""
_PATH = re.compile(r"\w[\w.-]*:\w+")
"""An import path: nothing that a shell would take for more, since messages tell the user to type it."""
_trusted = {path.strip() for path in os.environ.get(VARIABLE, "").split(",")} - {""}
_stored: dict[str, str] = {}
"""Import path -> the stored file that names it, for messages."""


_imported: dict[str, ModuleType] = {}
"""Modules of the user's that were imported and checked."""


def import_paths(document: Any) -> frozenset[str]:
    """What could be an import path among the texts of a document: a mapping, a list or a text, nested."""
    return frozenset(text for text in _texts(document) if ":" in text)


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping):
        for value in document.values():
            yield from _texts(value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from _texts(value)


def named_part(function: Any) -> Any:
    """What has a name: a function, or that of a `functools.partial`, or the class of an instance that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return function if hasattr(function, "__qualname__") else type(function)


def import_name(function: Any) -> str:
    """`module:name` of a function, by which it would be imported if it stands on the top level of its module."""
    part = named_part(function)
    return f"{module_name(sys.modules.get(part.__module__)) or part.__module__}:{part.__qualname__}"


def module_name(module: ModuleType | None) -> str:
    """A module's name; of a script that is run, the one by which it would be imported."""
    if module is None or module.__name__ != "__main__":
        return "" if module is None else module.__name__
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    return str(spec.name) if spec is not None else Path(file).stem if file else "__main__"


def source(path: str) -> Path | None:
    """The file or folder of what an import path names, which must travel to other machines; None of what is installed.

    Nothing is imported: what no module of this process has is taken for installed.
    """
    module, colon, _ = path.partition(":")
    top = sys.modules.get(module.partition(".")[0])
    if not colon or top is None:
        return None
    if top.__file__ is None:  # a folder without an __init__.py
        return Path(next(iter(top.__path__)))
    file = Path(top.__file__)
    place = file.parent if file.name == "__init__.py" else file
    return None if "site-packages" in place.parts else place


def trust(paths: Iterable[str]) -> None:
    """Lets this process import what these paths name; the user has named them, or trusts the file that does."""
    _trusted.update(paths)


def trusted() -> frozenset[str]:
    """The import paths that the user has named so far, for the processes that work for this one."""
    return frozenset(_trusted)


def note_stored(paths: Iterable[str], file: Path) -> None:
    """Keeps where an import path was read, for the message that refuses it."""
    _stored.update(dict.fromkeys(paths, str(file)))


def check_trusted(path: str, what: str, done: str, other_way: str = "") -> None:
    """Refuses what only a stored file names.

    Args:
        path: by which it is trusted.
        what: it is, for the message.
        done: with it, such as "imported".
        other_way: to trust it, beside `--trust` and `trust=True`.

    Raises:
        InputError: the user has not named it in this process.
    """
    if path not in _trusted:
        raise InputError(
            f"{what} is code that {_place(path)} names, and what a stored file names is {done} only if you say so: add"
            f" --trust (in Python trust=True{other_way}) if nobody else can write to that file"
        )


class Registry:
    """The plug-ins of one kind.

    Args:
        kind: what they are, for messages ("model").
        entries: short name -> `module:attribute`, imported when first asked for.
        libraries: name of a library -> `module:attribute` of a function that finds what is called `library/name`.
    """

    def __init__(self, kind: str, entries: Mapping[str, str], libraries: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._libraries = dict(libraries or {})

    @property
    def names(self) -> tuple[str, ...]:
        """The short names, in the order of their registration."""
        return tuple(self._entries)

    def load(self, name: str) -> Any:
        """The object called `name`.

        Raises:
            InputError: the name is unknown, is an import path that the user has not named in this process, or its
                module or attribute cannot be imported.
        """
        library, _, within = name.partition("/")
        if within and library in self._libraries:
            return _entry(self._libraries[library])(within)
        if ":" in name:
            self._check_library(name)
            if not _PATH.fullmatch(name):
                raise InputError(f"{self.kind} {name!r} is no import path: write 'module:attribute', names of Python")
            check_trusted(name, f"{self.kind} '{name}'", "imported", f"; for a server {VARIABLE}={quote(name)}")
            return self._import(name)
        if name not in self._entries:
            hint = did_you_mean(name, self._entries)
            raise InputError(f"unknown {self.kind} '{name}'.{hint} Your own goes by 'module:attribute'.")
        return _entry(self._entries[name])

    def _check_library(self, path: str) -> None:
        """Refuses an import path into a library whose parts go by other names."""
        module, _, attribute = path.partition(":")
        library = module.partition(".")[0]
        if library in self._libraries:
            raise InputError(f"{self.kind} '{path}': a {self.kind} of {library} is written '{library}/{attribute}'")

    def _import(self, path: str) -> Any:
        module_name, _, attribute = path.partition(":")
        try:
            module = _module(module_name)
        except InputError as error:
            raise InputError(f"{self.kind} '{path}': {error}") from error.__cause__
        if not hasattr(module, attribute):
            hint = did_you_mean(attribute, [name for name in dir(module) if not name.startswith("_")])
            raise InputError(f"{self.kind} '{path}': module '{module_name}' has no '{attribute}'.{hint}")
        return getattr(module, attribute)


def _entry(path: str) -> Any:
    """What one of our own import paths names."""
    module_name, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module_name), attribute)


def _place(path: str) -> str:
    return f"'{_stored[path]}'" if path in _stored else "only a stored file"


def _module(name: str) -> ModuleType:
    """Imports a module of the user's, of the current folder or installed.

    Raises:
        InputError: it cannot be imported, or not by a worker, which is another process.
    """
    if name in _imported and sys.modules.get(name) is _imported[name]:  # asked for by every trial
        return _imported[name]
    if name == "__main__":
        raise InputError(
            "'__main__' is another program in each worker; keep what you name in a file of its own, such as net.py,"
            " and write 'net:...'"
        )
    folder = Path.cwd()
    if str(folder) not in sys.path:  # a console script does not look where the user stands
        sys.path.append(str(folder))
    told = _Told(sys.stderr)
    try:
        with redirect_stdout(told), redirect_stderr(told):  # stdout is a command's own
            module = importlib.import_module(name)
    except SystemExit as error:
        last = (told.withheld().strip().splitlines() or [""])[-1]
        says = next((f" and says: {text:.200}" for text in (str(error.code or ""), last) if len(text) > 1), "")
        raise InputError(
            f"module '{name}' ends the program while it is imported (sys.exit, or a parser of arguments){says}; keep"
            " that under `if __name__ == '__main__':`"
        ) from error
    except Exception as error:  # a user's module may raise anything while it is imported
        raise InputError(
            _taken(name, folder) or f"module '{name}' cannot be imported: {on_one_line(error):.300}{_hiding()}"
        ) from error
    finally:
        told.tell()
    if (problem := _taken(name, folder)) is not None:
        raise InputError(problem)
    _imported[name] = module
    return module


def _hiding() -> str:
    """The end of an error message: which of the user's own files were imported in place of modules of that name."""
    folders = {str(Path.cwd()), sys.path[0]}
    others = [folder for folder in sys.path if folder and folder not in folders]
    hiding = sorted(
        f"'{file}'"
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
        and str(Path(file).parent) in folders
        and importlib.machinery.PathFinder.find_spec(name, others)
    )
    return f"; {', '.join(hiding)} is taken for another module of that name: rename it" if hiding else ""


def _taken(name: str, folder: Path) -> str | None:
    """What is wrong where a file of the current folder has the name of a module that is elsewhere too.

    Which of both is imported depends on how a process was started.
    """
    stem = folder.joinpath(*name.split("."))
    own = next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)
    if own is None:
        return None
    top = name.partition(".")[0]
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != folder.resolve()]
    found = importlib.machinery.PathFinder.find_spec(top, elsewhere)
    origin = None if found is None else found.origin
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        other = "Python's own"
    elif origin is None or Path(origin).resolve() in {
        (folder / f"{top}.py").resolve(),
        (folder / top / "__init__.py").resolve(),
    }:
        return None
    else:
        other = str(origin)
    shown = own.relative_to(folder)
    return (
        f"module '{name}' is {other} and also {shown} in the current folder, so that a worker may import another one"
        f" than is meant; rename yours, for example to my_{shown.parts[0]}"
    )


class _Told:
    """Stands for a stream while a module is imported: what it says is kept until it is clear that it goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._kept: list[str] | None = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Keeps the text; once `tell` was called it goes on to the stream, which a logger may still write to."""
        if self._kept is None:
            return self._stream.write(text)
        self._kept.append(text)
        return len(text)

    def withheld(self) -> str:
        """What was kept, which is not told any more."""
        text, self._kept = "".join(self._kept or ()), []
        return text

    def tell(self) -> None:
        """Writes what was kept, and from now on everything at once."""
        kept, self._kept = self._kept, None
        if kept:
            self._stream.write("".join(kept))
