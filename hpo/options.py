"""Options that are declared once, as the fields of a dataclass, and serve a function of Python and a command alike."""

import inspect
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, Field, dataclass, field, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from hpo.errors import InputError, shown

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.training import TrainingFunction

Form = Literal[
    "text",
    "flag",
    "whole",
    "number",
    "more",
    "more hours",
    "time",
    "milliseconds",
    "size",
    "concurrency",
    "settings",
    "python",
]
"""How an option is written on the command line; `more` is a number, or +N more. `python` is an argument alone."""

_UNITS = {
    "time": "Seconds.",
    "milliseconds": "Milliseconds.",
    "size": "Bytes.",
    "more": '"+20" is 20 more.',
    "more hours": '"+2.5" is 2.5 more.',
}
"""What Python's users must know of a form beside the type."""
_WIDTH = 116

_Arguments = ParamSpec("_Arguments")
_Options = TypeVar("_Options")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Option:
    """What an option is, beside its name, its type and its default."""

    text: str
    """What it says, for `--help` and for docstrings."""
    form: Form
    metavar: str
    """What stands for the value in `--help`; empty is the form's own."""
    flag: str
    """The name on the command line, or several with spaces between; empty is the field's."""
    python: str
    """What Python's users must know beside."""
    short: str
    """The letter of its short form; empty is none."""
    variable: str
    """The environment variable that has it where the command line has not; empty is none."""


def option(
    text: str,
    form: Form = "text",
    *,
    metavar: str = "",
    flag: str = "",
    python: str = "",
    short: str = "",
    variable: str = "",
) -> dict[str, Any]:
    """The metadata of a field that is an option; the arguments are those of `Option`."""
    return {"option": Option(text, form, metavar, flag, python, short, variable)}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What everything that trains is told."""

    storage: str | Path = field(
        default="studies", metadata=option("The folder of all studies.", metavar="DIR", short="d")
    )
    data_dir: str | Path = field(default="data", metadata=option("Where downloaded data sets are kept.", metavar="DIR"))
    train: "Callable[..., Any] | str | None" = field(
        default=None,
        metadata=option(
            "A training function of your own in place of the built-in one, or its import path `module:function`; in a"
            " search file `train:`.",
            "python",
        ),
    )
    objective: "TrainingFunction | None" = field(
        default=None, metadata=option("The former name of `train`; gone in 0.4.", "python")
    )
    accept_code: bool = field(
        default=False,
        metadata=option(
            "Takes a training function or a model of your own that has changed since the study's trials for the same.",
            "flag",
        ),
    )
    console: "Console | None" = field(
        default=None,
        metadata=option(
            "Where progress goes, of the package rich; None is silent, and in a notebook what stands below the cell.",
            "python",
        ),
    )

    def __post_init__(self) -> None:
        if self.objective is not None:
            warnings.warn("the argument objective is called train now; gone in 0.4", FutureWarning, stacklevel=4)
            object.__setattr__(self, "train", self.objective)
        if self.train is not None and not callable(self.train) and not isinstance(self.train, str):
            raise InputError(f"train must be a function, or its import path module:function, got {shown(self.train)}")

    @property
    def studies(self) -> Path:
        """The folder of all studies."""
        return Path(self.storage)

    @property
    def downloads(self) -> Path:
        """The folder of downloaded data sets."""
        return Path(self.data_dir)

    @property
    def told(self) -> "Console":
        """Where progress goes."""
        from hpo.terminal import default_console

        return self.console or default_console()


@dataclass(frozen=True)
class StoredStudyOptions:
    """What opens a study that is there."""

    study: str | None = field(
        default=None, metadata=option("The study; by default the one touched last.", metavar="NAME", short="s")
    )
    _: KW_ONLY
    data_path: str | Path | None = field(
        default=None,
        metadata=option(
            "Where the file or folder of the study's data set is now; by default where it was last.", metavar="PATH"
        ),
    )
    trust: bool = field(
        default=False,
        metadata=option(
            "Lets code of your own be imported that stored files name (module:function), for this time; where there are"
            " several studies, of one that is named.",
            "flag",
        ),
    )


def declared(options: type) -> "Iterator[tuple[Field[Any], Option]]":
    """The options of a dataclass with their flags: what has a position, what it declares itself, what its bases do."""
    bases = {name: place for place, base in enumerate(options.__mro__) for name in inspect.get_annotations(base)}
    for each in sorted(fields(options), key=lambda each: (each.kw_only, bases[each.name])):
        found: Option = each.metadata["option"]
        yield each, replace(found, flag=found.flag or f"--{each.name.replace('_', '-')}")


def arguments(
    options: Callable[_Arguments, _Options],
) -> Callable[[Callable[[_Options], _Result]], Callable[_Arguments, _Result]]:
    """Lets a function that takes its options as one object be called with each as an argument.

    Its signature is that of the dataclass, and its docstring has an entry for each field.

    Args:
        options: the dataclass.
    """

    def decorate(function: Callable[[_Options], _Result]) -> Callable[_Arguments, _Result]:
        parameters = inspect.signature(options).parameters
        signature = inspect.signature(function).replace(
            parameters=[parameters[each.name] for each, _ in declared(options)]  # type: ignore[arg-type]
        )

        @wraps(function)
        def call(*given: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
            try:
                signature.bind(*given, **named)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(options(*given, **named))

        call.__signature__ = signature  # type: ignore[attr-defined]  # what help() and editors show
        call.__doc__ = _documented(inspect.getdoc(function) or "", options)
        return call

    return decorate


def _documented(docstring: str, options: Any) -> str:
    """The docstring with its arguments, which stand before what is raised."""
    entries = [_entry(each.name, option) for each, option in declared(options)]
    before, raises, errors = docstring.partition("\nRaises:")
    return "\n".join([before, "Args:", *entries, f"{raises}{errors}"])


def _entry(name: str, option: Option) -> str:
    words = " ".join(part for part in (f"{name}:", option.text, _UNITS.get(option.form), option.python) if part)
    return textwrap.fill(words, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
