"""The training function of a search: the one that its spec names, or that Python was given."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from hpo.errors import InputError, Problem, TrainingError
from hpo.plugins import Registry, check_trusted
from hpo.spec import SearchSpec, StudySpec
from hpo.training.own_training import takes_context
from hpo.training.programs import Program

_FUNCTIONS = Registry("training function", {})


def own_function(spec: SearchSpec, given: Callable[..., Any] | str | None = None) -> Callable[..., Any] | None:
    """The training function of the user's own, or the program of `command`; None where the built-in one trains.

    Args:
        spec: names it.
        given: the function itself, by Python.

    Raises:
        InputError: it cannot be imported, is not trusted, or is no function.
    """
    if callable(given):
        return given
    if spec.command is not None:
        check_trusted(spec.command.key, f"the command '{spec.command.text}'", "run")
        return Program.of(spec.command)
    if spec.train is None:
        return None
    if not is_importable(spec.train):
        raise InputError(
            f"the training function '{spec.train}' can only be given from Python, by train=...: to be found by its name"
            " it must stand in a file of its own, on the top level"
        )
    function = _FUNCTIONS.load(spec.train)
    if not callable(function):
        raise InputError(f"training function '{spec.train}' is no function, but {type(function).__name__}")
    own: Callable[..., Any] = function
    return own


def _check_arguments(function: Callable[..., Any], spec: SearchSpec) -> None:
    """Checks that a function is not one of the parameters themselves.

    Raises:
        TrainingError: its first arguments are named as parameters are.
    """
    try:
        first = [name for name in inspect.signature(function).parameters if name != "self"][:2]
    except (TypeError, ValueError):  # of a class in C, say
        return
    if mistaken := [name for name in first if name in spec.parameters]:
        raise TrainingError(
            f"a training function takes (config) or (config, context), and '{spec.train}' has an argument"
            f" '{mistaken[0]}', which is a parameter: write another one that calls it, def train(config): return"
            " f(**config)"
        )


def is_importable(path: str) -> bool:
    """Whether a function of this name can be imported: it is no part of another, and of no notebook or shell."""
    return "<" not in path and not path.startswith("__main__:")


def problems(spec: SearchSpec, given: Callable[..., Any] | str | None = None) -> Iterable[Problem]:
    """What is wrong with a search's training function, or with what the spec says of its reports."""
    if spec.train is None and spec.command is None:
        return
    named = spec.train if spec.command is None else spec.command.text
    try:
        function = own_function(spec, given)
        assert function is not None, "the spec names one"
        if not isinstance(function, Program):
            takes_context(function)
            _check_arguments(function, spec)
    except (InputError, TrainingError) as error:
        yield Problem(("train" if spec.command is None else "command",), str(error))
        return
    if isinstance(spec, StudySpec):
        return
    if spec.training.epochs == 1 and inspect.isgeneratorfunction(inspect.unwrap(function)):
        yield Problem(
            ("training", "epochs"),
            f"is required: '{named}' yields a report an epoch; say how many a full training has",
        )
    if "objective" not in spec.model_fields_set:
        yield Problem(("objective",), f"is required: name the metric of '{named}' that is searched for")
    if spec.scheduler.name == "pbt" and spec.command is not None and not spec.command.resumes:
        yield Problem(
            ("scheduler", "name"),
            "'pbt' lets a child go on with its parent's state, which a program has only where it goes on from"
            " HPO_CHECKPOINT: write `resumes: true` in `command`, or take another scheduler",
        )
    if spec.target == "ensemble":
        yield Problem(
            ("target",),
            "ensemble needs the rows that `data` names, before the first trial; build an ensemble afterwards",
        )
