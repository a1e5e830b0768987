"""Options that commands share, how the texts of options are read, and how declared options become click's."""

import contextlib
import re
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field
from typing import Any, Literal

import click

from hpo.cli import completion
from hpo.options import Form, Option, TrainingOptions, declared
from hpo.searching.options import ResumeOptions, SearchOptions


class _Plain(click.ParamType):  # type: ignore[type-arg]  # no type argument before click 8.4
    """A number in plain digits: `int` and `float` would swallow a sign, and take 1_000, nan or other scripts' digits.

    With `more`, `+20` too: so many more than the study has. It stays a text, as `hpo.resume` takes it.
    """

    kind, pattern = "", ""
    more = False

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or the text of so many more."""
        more = self.more and isinstance(value, str) and value.startswith("+")
        digits = value[1:] if more else value
        if isinstance(digits, str) and not re.fullmatch(self.pattern, digits, re.ASCII):
            self.fail(f"{value!r} is not {self.kind}{', nor one with a + before it' if self.more else ''}")
        number = super().convert(digits, param, ctx)
        return value if more else number


class Whole(_Plain, click.IntRange):
    """A whole number in a range."""

    kind, pattern = "a whole number", r"-?\d+"

    def __init__(self, min: int | None = None, max: int | None = None, *, more: bool = False) -> None:
        super().__init__(min, max)
        self.more = more

    def _describe_range(self) -> str:
        """What `--help` says of the range: nothing where there is none, of which click makes `x<=None`."""
        return "" if self.min is None and self.max is None else super()._describe_range()


class Number(_Plain, click.FloatRange):
    """A number above 0, or any."""

    kind, pattern = "a number", r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"

    def __init__(self, *, more: bool = False, any: bool = False) -> None:
        super().__init__(min=None if any else 0, min_open=not any)
        self.more = more

    def _describe_range(self) -> str:
        """What `--help` says of the range: nothing where there is none."""
        return "" if self.min is None else super()._describe_range()


class _Converted(click.ParamType):  # type: ignore[type-arg]
    """A text that is read by a function.

    Args:
        read: the value of a text; it raises a ValueError that says what is wrong.
    """

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, or click's refusal of this option."""
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _seconds(text: str) -> float:
    """`90s`, `30m` or `2h`."""
    from hpo.spec import seconds

    return seconds(text)


def _milliseconds(text: str) -> float:
    """`5ms` or `0.2s`."""
    with contextlib.suppress(ValueError):
        found = float(text[:-2]) if text.endswith("ms") else float(text[:-1]) * 1000
        if text.endswith("s") and text[0] not in "+-" and 0 < found < float("inf"):
            return found
    raise ValueError(f"{text!r} is no time; write for example 5ms")


def _bytes(text: str) -> int:
    """`20GB`, `500MiB` or a number."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    with contextlib.suppress(ValidationError):
        found = int(TypeAdapter(ByteSize).validate_python(text))
        if found > 0:
            return found
    raise ValueError(f"{text!r} is no size; write for example 20GB")


def _concurrency(text: str) -> int | Literal["auto"]:
    """A number of trials, or `auto`."""
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise ValueError(f"{text!r} is neither a number of at least 1 nor auto")


def _settings(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """The settings of `--set`: dotted name -> value."""
    if not texts or context.resilient_parsing:
        return {}
    from hpo.spec import parse_override

    return dict(parse_override(text) for text in texts)


_FORMS: dict[Form, dict[str, Any]] = {
    "text": {},
    "flag": {"is_flag": True},
    "whole": {"type": Whole(), "metavar": "N"},
    "number": {"type": Number(any=True), "metavar": "X"},
    "more": {"type": Whole(min=1, more=True), "metavar": "[+]N"},
    "more hours": {"type": Number(more=True), "metavar": "[+]H"},
    "time": {"type": _Converted(_seconds), "metavar": "TIME"},
    "milliseconds": {"type": _Converted(_milliseconds), "metavar": "TIME"},
    "size": {"type": _Converted(_bytes), "metavar": "SIZE"},
    "concurrency": {"type": _Converted(_concurrency), "metavar": "N|auto"},
    "settings": {"multiple": True, "callback": _settings, "metavar": "NAME=VALUE"},
}
"""What click is told of a form."""
_EXAMPLES: dict[Form, str] = {
    "more": "+N is N more than have ended.",
    "more hours": "+H is H more than were used.",
    "time": "For example 90s, 30m or 2h.",
    "milliseconds": "For example 5ms.",
    "size": "For example 20GB.",
    "settings": "For example --set training.epochs=5. May be repeated.",
}
"""What `--help` says of a form behind the text of the option."""


def takes(options: type, without: Collection[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command the options that a dataclass declares, but for those of Python alone.

    Args:
        options: the dataclass.
        without: fields for which the command has options of its own.
    """
    own = [(field, option) for field, option in declared(options) if field.name not in without]
    made = [_made(field, option) for field, option in own if option.form != "python"]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(made):
            command = option(command)
        return command

    return decorate


def _made(field: "Field[Any]", option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    settings = dict(_FORMS[option.form])
    settings["shell_complete"] = completion.of(field.name, option.metavar)
    if option.metavar:
        settings["metavar"] = option.metavar
    if option.variable:
        settings |= {"envvar": option.variable, "show_envvar": True}
    if field.default is MISSING:
        settings["required"] = True
    elif field.default:
        settings |= {"default": field.default, "show_default": True}
    text = " ".join(part for part in (option.text, _EXAMPLES.get(option.form)) if part)
    names = [*([f"-{option.short}"] if option.short else []), *option.flag.split()]
    return click.option(*names, field.name, help=text, **settings)


def _shared(options: type, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that commands share, as a dataclass declares it."""
    return next(_made(field, option) for field, option in declared(options) if field.name == name)


storage_option, data_dir_option = _shared(TrainingOptions, "storage"), _shared(TrainingOptions, "data_dir")
accept_code_option = _shared(TrainingOptions, "accept_code")
study_option, data_path_option = _shared(ResumeOptions, "study"), _shared(ResumeOptions, "data_path")
trust_option = _shared(ResumeOptions, "trust")
study_name_option, seed_option, artifacts_option = (
    _shared(SearchOptions, name) for name in ("study", "seed", "artifacts")
)
space_option, set_option = _shared(SearchOptions, "space"), _shared(SearchOptions, "overrides")
format_option = click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json prints one document to stdout; everything else goes to stderr.",
)
ensemble_option = click.option(
    *("-e", "--ensemble", "name"),
    required=True,
    metavar="NAME",
    help="Its name, as `hpo ensemble` printed it.",
    shell_complete=completion.ensembles,
)
