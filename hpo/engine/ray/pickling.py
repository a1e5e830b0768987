"""What is sent to workers as it is: a user's objective, pickled by Ray."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from ray import cloudpickle

from hpo.errors import InputError, ObjectiveError, on_one_line
from hpo.spec import Config
from hpo.training import Context, Objective, Report


class Sent:
    """An objective on its way to workers: each loads it when its first trial begins.

    Loaded by Ray itself, a module that cannot be imported there would only end the worker.

    Args:
        objective: may be anybody's.

    Raises:
        InputError: it cannot be pickled; the message names the part that cannot.
    """

    def __init__(self, objective: Objective) -> None:
        self._name = getattr(objective, "__qualname__", type(objective).__qualname__)
        self._objective: Objective | None = None
        try:
            self._content = cloudpickle.dumps(objective)
        except Exception as error:  # what a part's own methods raise
            raise InputError(
                f"the objective '{self._name}' cannot be sent to workers: {_culprit(objective)} cannot be pickled"
                f" ({on_one_line(error):.200}); make that inside the objective when it is called, or name it by a path"
                " or a setting"
            ) from error

    def __call__(self, config: Config, context: Context) -> Iterator[Report]:
        """Calls the objective.

        Raises:
            ObjectiveError: it cannot be loaded here.
        """
        if self._objective is None:
            self._objective = self._loaded()
        return self._objective(config, context)

    def _loaded(self) -> Objective:
        try:
            objective: Objective = cloudpickle.loads(self._content)
            return objective
        except (Exception, SystemExit) as error:  # its module is imported
            raise ObjectiveError(
                f"the objective '{self._name}' cannot be loaded in a worker, which imports its modules anew, without"
                f" the arguments of your command: {type(error).__name__}: {on_one_line(error):.300}"
            ) from error


def _culprit(objective: Any) -> str:
    """The variables or attributes of an objective that cannot be pickled, for a message; itself if there are none."""
    try:
        names = sorted(name for name, part in _parts(objective) if not _can_be_pickled(part))
    except Exception:  # what an attribute raises when it is read
        return "it"
    return ", ".join(f"'{name}'" for name in names[:3]) or "it"


def _parts(objective: Any) -> Iterable[tuple[str, Any]]:
    """The names and values that a function takes from outside, or the attributes of anything else."""
    if inspect.isfunction(objective):
        taken = inspect.getclosurevars(objective)
        return {**taken.globals, **taken.nonlocals}.items()
    members = inspect.getmembers(objective, lambda part: not inspect.ismethod(part))
    return [(name, part) for name, part in members if not name.startswith("__")]


def _can_be_pickled(part: Any) -> bool:
    try:
        cloudpickle.dumps(part)
    except Exception:  # what its own methods raise
        return False
    return True
