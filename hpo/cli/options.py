"""Options that commands share, and how the texts of options are read."""

import contextlib
import re
from collections.abc import Callable
from typing import Any, Literal

import click


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
    """A number above 0."""

    kind, pattern = "a number", r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"

    def __init__(self, *, more: bool = False) -> None:
        super().__init__(min=0, min_open=True)
        self.more = more


storage_option = click.option(
    "--storage", default="studies", show_default=True, metavar="DIR", help="The folder of all studies."
)
format_option = click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json prints one document to stdout; everything else goes to stderr.",
)
data_dir_option = click.option(
    "--data-dir", default="data", show_default=True, metavar="DIR", help="Where downloaded data sets are kept."
)
ensemble_option = click.option(
    "--ensemble", "name", required=True, metavar="NAME", help="Its name, as `hpo ensemble` printed it."
)
study_option = click.option("--study", metavar="NAME", help="The study; by default the one touched last.")
trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Lets code of your own be imported that the stored files name (module:function), for this command.",
)
data_path_option = click.option(
    "--data-path",
    metavar="PATH",
    help="Where the file or folder of the study's data set is now; by default where it was last.",
)
accept_code_option = click.option(
    "--accept-code",
    is_flag=True,
    help="Takes an objective or a model of your own that has changed since the study's trials for the same.",
)
set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUE",
    help="Overrides a setting by its dotted name, for example --set training.epochs=5. "
    "A parameter set this way is no longer searched. May be repeated.",
)
space_option = click.option("--space", required=True, metavar="FILE", help="The YAML file that says what is searched.")


def running_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that run trials."""
    options = (
        click.option(
            "--trials",
            type=Whole(min=1, more=True),
            metavar="[+]N",
            help="Budget: how many trials in all; +N is N more than have ended. --epochs and --gpu-hours take it too.",
        ),
        click.option(
            "--time-limit",
            metavar="TIME",
            help="Budget: for example 90s, 30m or 2h, from start to end; trials then running are stopped and kept.",
        ),
        click.option(
            "--epochs",
            type=Whole(min=1, more=True),
            metavar="[+]N",
            help="Budget: how many epochs all trials together may take.",
        ),
        click.option(
            "--gpu-hours",
            type=Number(more=True),
            metavar="[+]H",
            help="Budget: how many hours of one GPU all trials together may take.",
        ),
        click.option(
            "--concurrency",
            metavar="N|auto",
            help="Trials at once; by default as many as there are CPUs and GPUs for. auto measures the memory of the "
            "largest model first, and shares a GPU among as many trials as fit.",
        ),
        storage_option,
        data_dir_option,
        click.option(
            "--max-disk",
            metavar="SIZE",
            help="Budget: for example 20GB, of all that the study's trials store. The weakest trials' files are "
            "removed first.",
        ),
        click.option(
            "--address",
            metavar="ADDRESS",
            help="The Ray cluster that runs the trials: auto or HOST:PORT. Without it, or RAY_ADDRESS, Ray starts on "
            "this machine.",
        ),
        click.option(
            "--ensemble",
            is_flag=True,
            help="Builds an ensemble of the best trials afterwards, as `hpo ensemble` does, within the time limit.",
        ),
        click.option(
            "--join",
            is_flag=True,
            help="Works for the search of this study that runs already, of this machine or another, until that is "
            "over. --concurrency says how many trials more.",
        ),
        click.option(
            "--database",
            metavar="URL",
            envvar="HPO_DATABASE",
            show_envvar=True,
            help="postgresql://USER@HOST/NAME has the record of trials, in place of the study's folder.",
        ),
        accept_code_option,
        click.option(
            "--grace-period",
            metavar="TIME",
            help="What running trials have to end their epoch and store their state, after Ctrl-C, SIGTERM or SIGHUP; "
            "30s by default.",
        ),
        format_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def overrides(sets: tuple[str, ...]) -> dict[str, Any]:
    """The settings of `--set`: dotted name -> value."""
    from hpo.spec import parse_override

    return dict(parse_override(text) for text in sets)


def seconds_of(text: str, option: str) -> float:
    """A duration such as `90s`, `30m` or `2h`, in seconds."""
    from hpo.spec import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def concurrency_of(text: str | None) -> int | Literal["auto"] | None:
    """The number of trials at once, or `auto`."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise click.BadParameter(f"{text!r} is neither a number of at least 1 nor auto", param_hint="--concurrency")


def bytes_of(text: str | None, option: str) -> int | None:
    """`20GB`, `500MiB` or a number, in bytes."""
    if text is None:
        return None
    from pydantic import ByteSize, TypeAdapter, ValidationError

    with contextlib.suppress(ValidationError):
        found = int(TypeAdapter(ByteSize).validate_python(text))
        if found > 0:
            return found
    raise click.BadParameter(f"{text!r} is no size; write for example 20GB", param_hint=option)


def milliseconds_of(text: str | None) -> float | None:
    """`5ms` or `0.2s`, in milliseconds."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        found = float(text[:-2]) if text.endswith("ms") else float(text[:-1]) * 1000
        if text.endswith("s") and text[0] not in "+-" and 0 < found < float("inf"):
            return found
    raise click.BadParameter(f"{text!r} is no time; write for example 5ms", param_hint="--max-latency")
