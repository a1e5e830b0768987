"""An objective as Optuna's tutorials have it, a function of a trial, as a training function of a search."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from hpo import reporting
from hpo.errors import TrainingError, shown
from hpo.spec import Config
from hpo.training.trial_context import TrialContext

_SIGNATURE = inspect.Signature(
    [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("config", "context")]
)


class OptunaTrial:
    """What such an objective is given in place of an `optuna.Trial`: the config that the search has proposed.

    The space is declared in the search, not by the calls: a call gets the value of its name, which is held to its
    bounds or choices. A name that the search file does not have is an error that shows what to write there.

    Args:
        config: parameter name -> value.
        context: of the training function.
    """

    def __init__(self, config: Config, context: TrialContext) -> None:
        self._config, self._context = config, context
        self.params: dict[str, Any] = {}
        """Parameters that the objective has asked for so far."""
        self.user_attrs: dict[str, Any] = {}
        """What `set_user_attr` was told; numbers are metrics of the report that comes next."""
        self.reported = False
        """Whether anything was reported."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The value of a parameter, a number from `low` to `high`."""
        declared = f"{{min: {low}, max: {high}{', log: true' if log else ''}{f', step: {step}' if step else ''}}}"
        return float(self._number(name, low, high, declared))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """The value of a parameter, a whole number from `low` to `high`."""
        more = f"{', log: true' if log else ''}{f', step: {step}' if step != 1 else ''}"
        value = self._number(name, low, high, f"{{type: int, min: {low}, max: {high}{more}}}")
        if value != int(value):
            raise TrainingError(f"suggest_int('{name}'): the search proposes {value}; write `type: int` there")
        return int(value)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The value of a parameter, one of the choices."""
        value = self._value(name, f"{{values: [{', '.join(map(str, choices))}]}}")
        if value not in choices:
            raise TrainingError(f"suggest_categorical('{name}'): the search proposes {shown(value)}, none of {choices}")
        return value

    def report(self, value: float, step: int | None = None) -> None:
        """Reports the objective after a step: an epoch of the search, however the steps are numbered.

        If the search stops the trial, the call does not return, as `hpo.report` has it: there is nothing to ask for.
        """
        self.reported = True
        reporting.report(self.metrics(value))

    def should_prune(self) -> bool:
        """False: a trial that is to stop has ended in `report`."""
        return False

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keeps a value; a number is a metric of the report that comes next, or of the result."""
        self.user_attrs[key] = value

    def metrics(self, value: Any) -> dict[str, Any]:
        """What an objective has returned or reported, and its numbers, as metrics: name -> number.

        Raises:
            TrainingError: it is not a number for each objective.
        """
        names = [objective.metric for objective in self._context.spec.objectives]
        values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if isinstance(value, Mapping) or value is None or len(values) != len(names):
            raise TrainingError(f"the objective must give a number for {', '.join(names)}, got {shown(value)}")
        attrs = {name: kept for name, kept in self.user_attrs.items() if type(kept) in (int, float)}
        return {**attrs, **dict(zip(names, values, strict=True))}

    def _number(self, name: str, low: float, high: float, declared: str) -> float:
        value = self._value(name, declared)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise TrainingError(
                f"the objective wants '{name}' from {low} to {high}, and the search proposes {shown(value)}; write"
                f" `{name}: {declared}` below `parameters` there"
            )
        return value

    def _value(self, name: str, declared: str) -> Any:
        if name not in self._config:
            raise TrainingError(
                f"the objective asks for '{name}', which the search does not have, or not with this config; write"
                f" `{name}: {declared}` below `parameters` there, with `when` where it depends on another"
            )
        self.params[name] = self._config[name]
        return self.params[name]


def optuna_objective(objective: Callable[[Any], Any]) -> Callable[[Config, TrialContext], dict[str, Any] | None]:
    """Lets a function of an Optuna trial be the training function of a search; use it as a decorator.

        @hpo.optuna_objective
        def objective(trial):
            x = trial.suggest_float("x", -10, 10)
            return (x - 2) ** 2

        hpo.search(space, train=objective).best_params

    The objective may call `suggest_float`, `suggest_int`, `suggest_categorical`, `report`, `should_prune` and
    `set_user_attr`, and raise `optuna.TrialPruned`, which ends the trial without a value where it has reported none. It
    returns a number, or one for each objective of the search, which counts where nothing was reported: `report` is
    called once for each of `training.epochs`. A trial that was paused or interrupted begins again.

    Args:
        objective: the function. A search that goes on in another process imports it by its name, so it must have been
            decorated there.
    """

    @functools.wraps(objective)
    def train(config: Config, context: TrialContext) -> dict[str, Any] | None:
        trial = OptunaTrial(config, context)
        try:
            returned = objective(trial)
        except optuna.TrialPruned:
            returned = [math.nan] * len(context.spec.objectives)
        return None if trial.reported else trial.metrics(returned)

    train.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # that of the objective would be followed
    return train
