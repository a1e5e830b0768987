"""Options that are declared once: every one is in the command and in the function, with the same words."""

import inspect
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import click
import pytest

import hpo
from hpo.cli import ensemble, search
from hpo.ensemble.build.options import EnsembleOptions
from hpo.options import TrainingOptions, arguments, declared, option
from hpo.searching.options import ResumeOptions, SearchOptions

PAIRS = [
    (hpo.search, search.search, SearchOptions),
    (hpo.resume, search.resume, ResumeOptions),
    (hpo.build_ensemble, ensemble.ensemble, EnsembleOptions),
]


@dataclass(frozen=True)
class Meal(TrainingOptions):
    dish: str = field(metadata=option("What is eaten.", python="Anything that has a name."))
    _: KW_ONLY
    minutes: float = field(default=5.0, metadata=option("How long it is cooked.", "time"))


@arguments(Meal)
def cook(options: Meal) -> str:
    """Cooks.

    Raises:
        ValueError: there is no stove.
    """
    return f"{options.dish} in {options.studies} after {options.minutes:g}"


def test_each_field_is_an_argument() -> None:
    assert cook("soup") == "soup in studies after 5" == cook(dish="soup", minutes=5)
    assert cook("soup", minutes=1, storage="pot") == "soup in pot after 1"
    assert list(inspect.signature(cook).parameters)[:3] == ["dish", "minutes", "storage"]
    assert inspect.signature(cook).return_annotation is str


@pytest.mark.parametrize(("given", "named"), [((), {}), (("soup", 5), {}), (("soup",), {"salt": 1})])
def test_another_argument_is_pythons_own_error(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^cook\(\) "):
        cook(*given, **named)


def test_the_docstring_has_every_argument_before_what_is_raised() -> None:
    lines = (cook.__doc__ or "").splitlines()
    assert lines[:4] == ["Cooks.", "", "Args:", "    dish: What is eaten. Anything that has a name."]
    assert lines[4] == "    minutes: How long it is cooked. Seconds."
    assert lines[-3:] == ["", "Raises:", "    ValueError: there is no stove."]


@pytest.mark.parametrize(("function", "command", "options"), PAIRS)
def test_a_command_and_its_function_take_the_same(function: Any, command: click.Command, options: type) -> None:
    arguments_, taken = inspect.signature(function).parameters, {it.name: it for it in command.params}
    for each, said in declared(options):
        assert f"    {each.name}: " in function.__doc__
        if said.form == "python":
            assert each.name not in taken
            continue
        parameter = taken[each.name]
        assert isinstance(parameter, click.Option) and said.text in (parameter.help or "")
        assert parameter.opts == [*([f"-{said.short}"] if said.short else []), *said.flag.split()]
        default = arguments_[each.name].default
        assert parameter.required == (default is inspect.Parameter.empty)
        if default not in (inspect.Parameter.empty, None, False):
            assert parameter.default == default
    own = {"predictions"} if options is EnsembleOptions else set()  # in place of trials: another function of Python
    assert taken.keys() - arguments_.keys() == {"output", "log_file", "quiet", "verbose"} | own
