"""The code of the user's own that trials are trained with: hashes of what a training function or a model depends on.

Followed are names: from a function to the functions, classes, constants and imports that it uses, in its own file and
in modules of the same folder. Comments, docstrings, formatting, the order of imports and whatever else stands in these
files change nothing. Not followed are installed packages, of which a study keeps the versions, and what is found by a
text, as with `getattr` or `importlib`.
"""

import ast
import contextlib
import dis
import functools
import hashlib
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol, Self, runtime_checkable

from hpo import models
from hpo.errors import StudyError
from hpo.plugins import Registry, import_name, module_name, named_part

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_STORES = ("STORE_NAME", "STORE_GLOBAL")
_INSTALLED = {"site-packages", "dist-packages"}
_OWN_PACKAGE = __name__.partition(".")[0]
_PACKAGE = Path(models.__file__).resolve().parents[1]
"""The folder of hpo's own code."""
_SCRIPTS = {".py", ".sh", ".awk", ".r", ".R", ".jl", ".pl", ".rb", ".js", ".mjs", ".ts", ".lua", ".m", ".do", ".sql"}
"""How the names of files end that are scripts; other files are if they begin with `#!`."""
_LARGEST_SCRIPT = 2**24
_NOWHERE = "(no file)"
"""Stands for the file of what was typed into a notebook or a shell."""
_PARTS = {"training function": "function", "model": "model"}
"""Part of a study's code in words -> its name here."""
_KEYS = {"function": "objective", "model": "model"}
"""Part of a study's code -> its key in what a study keeps, as release 0.2 had it."""
_LEARNED = "learning"
_LEARNING = Registry("task, loss or metric", {})
_BOUND, _INNER = "(arguments)", "(inner function)"
"""Stand beside the files: for what `functools.partial` or a closure has fixed, and for a function within another."""


@dataclass(frozen=True)
class Code:
    """A function and the source that it depends on: file, relative to the folder of its module -> hash."""

    name: str
    """`module:function`."""
    files: Mapping[str, str]

    @classmethod
    def of(cls, function: Any) -> Self:
        """The code of a function, a `functools.partial` of one, or an instance of a class that can be called."""
        bound = _bound(function)
        named, function = import_name(function), named_part(function)
        module = sys.modules.get(function.__module__)
        file, start = _file(module), function.__qualname__.partition(".")[0]
        files: dict[str, str] = {}
        if file is None or module is None or not start.isidentifier():
            files[_NOWHERE] = _digest([_typed(function)])
        elif "<locals>" in function.__qualname__ and hasattr(function, "__code__"):  # what is around it is not its code
            names = _loaded(function.__code__) & _bound_names(_statements(file.read_bytes()))
            files = {**_reached(file, module_name(module), names), _INNER: _digest([_typed(function)])}
        else:
            files = _reached(file, module_name(module), {start})
        return cls(named, {**files, _BOUND: _digest(bound)} if bound else files)

    @property
    def identity(self) -> tuple[str, str]:
        """The function's name, and a hash of the arguments bound to it: both stay when its source changes."""
        return self.name, self.files.get(_BOUND, "")

    @classmethod
    def named(cls, path: str) -> Self:
        """The code of `module:attribute`, which was imported before; installed packages have no files."""
        name, _, attribute = path.partition(":")
        file = _file(sys.modules.get(name))
        return cls(path, {} if file is None else _reached(file, name, {attribute.partition(".")[0]}))

    @classmethod
    def of_all(cls, parts: Iterable["Code"]) -> "Code | None":
        """Several codes as one: a single one is itself, and of none there is none."""
        several = list(parts)
        if len(several) < 2:
            return several[0] if several else None
        files = {f"{file} ({one.name})": digest for one in several for file, digest in one.files.items()}
        return cls(", ".join(one.name for one in several), files)

    @classmethod
    def of_words(cls, text: str, words: Sequence[str], folder: Path) -> Self:
        """The code of a program: the scripts among its words, and what those of Python import of the same folder.

        Args:
            text: its name.
            words: the program and its arguments; `python -m module` names a script too.
            folder: that they are relative to.
        """
        files: dict[str, str] = {}
        for word, before in zip(words, ("", *words), strict=False):
            file, module = _script(folder, word, before == "-m")
            if file is not None and file.suffix == ".py":
                below = file.parents[module.count(".")]
                found = _reached(file, module, {None})
                files |= {_relative(below / name, folder): digest for name, digest in found.items()}
            elif file is not None:
                files[_relative(file, folder)] = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
        return cls(text, files)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Reads what a study keeps.

        Raises:
            LookupError, TypeError: it is none.
        """
        name, files = kept["name"], kept["files"]
        if not isinstance(files, dict) or not all(isinstance(text, str) for text in (name, *files.values())):
            raise TypeError("code is a name and the hashes of its files")
        return cls(name, files)

    def to_json(self) -> dict[str, Any]:
        """Writes what `from_json` reads."""
        return {"name": self.name, "files": dict(self.files)}

    def changes(self, now: "Code") -> str | None:
        """How this code differs from another one, in words; None where it is the same."""
        if self.name != now.name:
            return f"was '{self.name}', is '{now.name}'"
        names = sorted(self.files.keys() | now.files.keys())
        files = [name for name in names if self.files.get(name) != now.files.get(name)]
        return f"'{self.name}' has changed, in {', '.join(files)}" if files else None


@runtime_checkable
class Coded(Protocol):
    """A training function that says itself what its code is, as a program does."""

    def code(self) -> Code:
        """What it runs."""


@dataclass(frozen=True)
class TrainingCode:
    """What trains a study's trials, as far as it is the user's own; None is built in."""

    function: Code | None
    model: Code | None
    learning: tuple[Code, ...] = ()
    """The task, losses and metrics."""

    @classmethod
    def of(cls, function: Callable[..., Any] | None, *families: str, learning: Sequence[str] = ()) -> Self:
        """The code of a training function, the built-in one where None, and of what is named in a spec.

        Args:
            function: trains.
            families: the names of the models in a spec.
            learning: import paths of the task, losses and metrics.

        Raises:
            InputError: a model or one of the others cannot be imported.
        """
        own = None if function is None or _is_built_in(function) else _code_of(function)
        named = [family for family in families if ":" in family]
        for family in named:
            models.MODELS.load(family)
        for path in learning:
            _LEARNING.load(path)
        return cls(own, Code.of_all(map(Code.named, named)), tuple(Code.named(path) for path in learning))

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Reads what a study keeps."""
        function, model = (None if kept[key] is None else Code.from_json(kept[key]) for key in _KEYS.values())
        return cls(function, model, tuple(Code.from_json(one) for one in kept.get(_LEARNED, ())))

    def to_json(self) -> dict[str, Any]:
        """Writes what `from_json` reads."""
        written: dict[str, Any] = {
            key: None if code is None else code.to_json()
            for key, code in zip(_KEYS.values(), (self.function, self.model), strict=True)
        }
        return {**written, _LEARNED: [code.to_json() for code in self.learning]} if self.learning else written

    def changes(self, now: "TrainingCode") -> list[str]:
        """How this code differs from another one of the same function, built in or not, in words."""
        parts = [(name, getattr(self, part), getattr(now, part)) for name, part in _PARTS.items()]
        known = {code.name: code for code in self.learning}
        parts += [("task, loss or metric", known.get(code.name), code) for code in now.learning]
        told = ((name, old.changes(new)) for name, old, new in parts if old is not None and new is not None)
        return [f"{name} {change}" for name, change in told if change]


def check(study: str, known: Sequence[TrainingCode], now: TrainingCode, accept: bool, call: str) -> None:
    """Compares the code that is to train with the code that trained a study's trials.

    Args:
        study: what the message calls it.
        known: the code that it began with, and what was accepted later; where there is none, nothing is compared.
        now: what is to train.
        accept: whether changed code is taken for the same, because the user says so.
        call: of Python, by which the training function can be given.

    Raises:
        StudyError: it is other code.
    """
    if not known:
        return
    mine, other = known[0].function, now.function
    if mine is not None and other is None:
        raise StudyError(
            f"{study} is trained by a function of its own, '{mine.name}', and not by the built-in one. Give it from"
            f" Python: {call}; or run a new search under another name (--study)"
        )
    if mine is None and other is not None:
        raise StudyError(
            f"{study} is trained by the built-in function, not '{other.name}'; leave that out, or run a new search"
            " under another name (--study)"
        )
    changes = known[-1].changes(now)
    if changes and not accept and all(one.changes(now) for one in known):
        raise StudyError(
            f"{study} was trained by other code: {'; '.join(changes)}. Put that back, run a new search under another"
            " name (--study), or say that it trains the same (--accept-code; accept_code=True)"
        )


def _is_built_in(function: Any) -> bool:
    """Whether a function, or a partial one, is hpo's own, by the file that it is written in: a name may be anything."""
    if type(function) is functools.partial:
        return _is_built_in(function.func)
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__") or function.__closure__ is not None:
        return False  # one that calls another is that other's
    return _PACKAGE in Path(function.__code__.co_filename).resolve().parents


def _code_of(function: Any) -> Code:
    return function.code() if isinstance(function, Coded) else Code.of(function)


# ---- what a function reaches -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Statement:
    """A statement of a module: what it binds or changes, and what it uses of the module's names."""

    touched: frozenset[str]
    loaded: frozenset[str]
    digest: str
    imports: tuple[tuple[str, str | None], ...] = ()
    """Modules that it imports, each with the name that is taken from it; all of it where None, or `*`."""
    alone: bool = False
    """Whether it is nothing but an import."""


def _reached(file: Path, module: str, start: Iterable[str | None]) -> dict[str, str]:
    """File, relative to the folder that the module is imported from -> hash of what is reached there."""
    root = file.parents[len((module if file.stem != "__init__" else f"{module}.x").split(".")) - 1]
    wanted: dict[Path, set[str | None]] = {file: {*start}}
    names = {file: module}
    found: dict[Path, list[_Statement]] = {}
    todo = [file]
    while todo:
        place = todo.pop()
        found[place] = _closure(_statements(place.read_bytes()), wanted[place])
        for name, attribute in _imported(found[place], names[place], place):
            for other, other_name, part in _own_files(root, name, attribute):
                if part not in wanted.setdefault(other, set()):
                    wanted[other].add(part)
                    names[other] = other_name
                    todo.append(other)
    return {place.relative_to(root).as_posix(): _hash(statements) for place, statements in sorted(found.items())}


def _closure(statements: tuple[_Statement, ...], wanted: Iterable[str | None]) -> list[_Statement]:
    """The statements that these names depend on; all of them where one of the names is None or is bound by none."""
    names = set(wanted)
    if not names <= _bound_names(statements):
        return list(statements)
    chosen: set[int] = set()
    while True:
        new = {
            place
            for place, statement in enumerate(statements)
            if place not in chosen and (statement.touched & names or "*" in statement.touched)
        }
        if not new:
            return [statements[place] for place in sorted(chosen)]
        chosen |= new
        names |= {name for place in new for name in statements[place].loaded}


def _bound_names(statements: Iterable[_Statement]) -> frozenset[str]:
    return frozenset(name for statement in statements for name in statement.touched)


def _hash(statements: list[_Statement]) -> str:
    imports = sorted(statement.digest for statement in statements if statement.alone)
    return _digest(imports + [statement.digest for statement in statements if not statement.alone])


def _imported(statements: Iterable[_Statement], module: str, file: Path) -> Iterator[tuple[str, str | None]]:
    """The imports of statements, with relative ones made absolute."""
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    for statement in statements:
        for name, attribute in statement.imports:
            dots = len(name) - len(name.lstrip("."))
            if dots:
                parents = package.split(".")[: len(package.split(".")) - dots + 1]
                name = ".".join([*parents, *filter(None, [name[dots:]])])
            yield name, attribute


def _own_files(root: Path, module: str, attribute: str | None) -> Iterator[tuple[Path, str, str | None]]:
    """The files below a folder that an import reads: file, its module, and what is taken from it."""
    if module.partition(".")[0] == _OWN_PACKAGE:
        return
    if attribute is not None and (below := _module_file(root, f"{module}.{attribute}")) is not None:
        yield below, f"{module}.{attribute}", None
        return
    if (file := _module_file(root, module)) is not None:
        yield file, module, None if attribute == "*" else attribute


def _script(folder: Path, word: str, is_module: bool) -> tuple[Path | None, str]:
    """The file of the folder that a word of a command names, and its module; None for what is installed, and for data.

    Args:
        folder: that it is relative to.
        word: of the command.
        is_module: whether it is the name of a module, behind `-m`.
    """
    if is_module and all(part.isidentifier() for part in word.split(".")):
        names = (f"{word}.__main__", word)
        return next(((file, name) for name in names if (file := _module_file(folder, name))), (None, ""))
    file = folder / word
    try:
        if Path(word).is_absolute() or not file.is_file() or file.stat().st_size > _LARGEST_SCRIPT:
            return None, ""
        with file.open("rb") as content:
            marked = content.read(2) == b"#!"
    except (OSError, ValueError):  # it is no name of a file
        return None, ""
    return (file, "__main__") if file.suffix in _SCRIPTS or marked else (None, "")


def _relative(file: Path, folder: Path) -> str:
    return os.path.relpath(file, folder).replace(os.sep, "/")


def _module_file(root: Path, module: str) -> Path | None:
    folder = root.joinpath(*module.split("."))
    files = (folder / "__init__.py", folder.with_name(f"{folder.name}.py"))
    return next((file for file in files if file.is_file() and not _INSTALLED & set(file.parts)), None)


@lru_cache(maxsize=64)
def _statements(source: bytes) -> tuple[_Statement, ...]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # what imports it may be prepared for that
        return (_Statement(frozenset("*"), frozenset(), _digest([repr(source)])),)
    imported = {name for node in tree.body if _imports(node) for name in _names_of(node)}
    return tuple(_statement(node, imported) for node in _flat(tree.body))


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module: each imported name is one, and so is what a script does when it is run."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (ast.Import([alias]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (ast.ImportFrom(node.module, [alias], node.level) for alias in node.names)
        elif isinstance(node, ast.If) and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}:
            yield from _flat([*node.body, *node.orelse])
        else:
            yield node


def _statement(node: ast.stmt, imported: set[str]) -> _Statement:
    nested = [one for one in ast.walk(node) if _imports(one)]
    taken = tuple(pair for one in nested for pair in _pairs(one))
    digest = _digest([canonical(node)])
    if _imports(node):
        return _Statement(frozenset(_names_of(node)), frozenset(), digest, taken, alone=True)
    code = compile(ast.fix_missing_locations(ast.Module([node], [])), "module", "exec", dont_inherit=True)
    stored = {step.argval for step in dis.get_instructions(code) if step.opname in _STORES}
    return _Statement(frozenset(stored | (_changed(node) - imported)), _loaded(code), digest, taken)


def _loaded(code: CodeType) -> frozenset[str]:
    """The names of its module that a code object uses."""
    steps = (step for part in _parts(code) for step in dis.get_instructions(part))
    return frozenset(step.argval for step in steps if step.opname in _LOADS)


def _parts(code: CodeType) -> Iterator[CodeType]:
    """A code object and those of the functions and classes in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant)


def _changed(node: ast.stmt) -> set[str]:
    """Names whose object a statement changes: `REGISTRY[x] = ...`, `REGISTRY.add(...)`."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets = [node.value.func]
    roots = set()
    for target in targets:
        inner: ast.expr = target
        while isinstance(inner, ast.Attribute | ast.Subscript):
            inner = inner.value
        if isinstance(inner, ast.Name) and inner is not target:
            roots.add(inner.id)
    return roots


def _imports(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _names_of(node: ast.AST) -> list[str]:
    """What an import binds."""
    whole = isinstance(node, ast.Import)
    names = [(alias.asname, alias.name) for alias in getattr(node, "names", ())]
    return [given or (name.partition(".")[0] if whole else name) for given, name in names]


def _pairs(node: ast.AST) -> list[tuple[str, str | None]]:
    if isinstance(node, ast.Import):
        return [(alias.name, None) for alias in node.names]
    assert isinstance(node, ast.ImportFrom)
    return [("." * node.level + (node.module or ""), alias.name) for alias in node.names]


# ---- hashes ----------------------------------------------------------------------------------------------------------


def canonical(node: object) -> str:
    """A syntax tree as text, without docstrings and places; the same in all versions of Python that read it alike."""
    if isinstance(node, list):
        return f"[{','.join(map(canonical, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            value = _without_docstring(value)
        if value is not None and value != [] and name not in ("kind", "type_comment", "ctx"):
            fields.append(f"{name}={canonical(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return body[1:] if told else body


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()


# ---- where a function is ---------------------------------------------------------------------------------------------


def _file(module: ModuleType | None) -> Path | None:
    """The source of a module; None for what is installed, built in, or was never in a file."""
    file = getattr(module, "__file__", None)
    if file is None or not file.endswith(".py"):
        return None
    path = Path(file).absolute()
    return path if path.is_file() and not _INSTALLED & set(path.parts) else None


def _typed(function: Any) -> str:
    """What stands for the source of a function that no file has."""
    if function.__name__.isidentifier():  # the lines of a lambda hold what it is passed to as well
        with contextlib.suppress(OSError, TypeError, SyntaxError):
            return canonical(ast.parse(textwrap.dedent(inspect.getsource(function))).body)
    code = getattr(function, "__code__", None)
    parts = [] if code is None else list(_parts(code))
    return repr([(part.co_code, part.co_names, _simple(part.co_consts)) for part in parts])


def _bound(function: Any) -> list[str]:
    """The numbers, texts and functions that partial arguments and closures have fixed; other objects have no text."""
    bound: list[str] = []
    while isinstance(function, functools.partial):
        bound += [*_simple(function.args), *(f"{name}={_simple([value])}" for name, value in function.keywords.items())]
        function = function.func
    for cell in getattr(inspect.unwrap(function), "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # it is empty
            bound += _simple([cell.cell_contents])
    return bound


def _simple(values: Iterable[object]) -> list[str]:
    texts = []
    for value in values:
        if isinstance(value, bool | int | float | str | None):
            texts.append(repr(value))
        elif inspect.isfunction(value):
            texts.append(_typed(value))
    return texts
