"""What is sent to workers as it is: a user's training function, pickled by Ray."""

import inspect
from collections.abc import Iterable
from typing import Any

from ray import cloudpickle

from hpo.errors import InputError, TrainingError, on_one_line
from hpo.training import TrainingFunction


class Sent:
    """A training function on its way to workers: each loads it when its first trial begins.

    Loaded by Ray itself, a module that cannot be imported there would only end the worker.

    Args:
        function: may be anybody's.

    Raises:
        InputError: it cannot be pickled; the message names the part that cannot.
    """

    def __init__(self, function: TrainingFunction) -> None:
        self._name = getattr(function, "__qualname__", type(function).__qualname__)
        self._function: TrainingFunction | None = None
        try:
            self._content = cloudpickle.dumps(function)
        except Exception as error:  # what a part's own methods raise
            raise InputError(
                f"the training function '{self._name}' cannot be sent to workers: {_culprit(function)} cannot be"
                f" pickled ({on_one_line(error):.200}); make that inside the function when it is called, or name it by"
                " a path or a setting"
            ) from error

    def loaded(self) -> TrainingFunction:
        """The training function, in this process.

        Raises:
            TrainingError: it cannot be loaded here.
        """
        if self._function is None:
            self._function = self._load()
        return self._function

    def _load(self) -> TrainingFunction:
        try:
            function: TrainingFunction = cloudpickle.loads(self._content)
            return function
        except (Exception, SystemExit) as error:  # its module is imported
            raise TrainingError(
                f"the training function '{self._name}' cannot be loaded in a worker, which imports its modules anew,"
                f" without the arguments of your command: {type(error).__name__}: {on_one_line(error):.300}"
            ) from error


def _culprit(function: Any) -> str:
    """The variables or attributes of a function that cannot be pickled, for a message; itself if there are none."""
    try:
        names = sorted(name for name, part in _parts(function) if not _can_be_pickled(part))
    except Exception:  # what an attribute raises when it is read
        return "it"
    return ", ".join(f"'{name}'" for name in names[:3]) or "it"


def _parts(function: Any) -> Iterable[tuple[str, Any]]:
    """The names and values that a function takes from outside, or the attributes of anything else."""
    if inspect.isfunction(function):
        taken = inspect.getclosurevars(function)
        return {**taken.globals, **taken.nonlocals}.items()
    members = inspect.getmembers(function, lambda part: not inspect.ismethod(part))
    return [(name, part) for name, part in members if not name.startswith("__")]


def _can_be_pickled(part: Any) -> bool:
    try:
        cloudpickle.dumps(part)
    except Exception:  # what its own methods raise
        return False
    return True
