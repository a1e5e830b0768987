"""What Ray Tune's controller decides without asking, and a search wants otherwise."""

from typing import TYPE_CHECKING, Any

import ray

from hpo.engine.ray.cluster import started_here

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

_LEAVE_SECONDS = 60
"""Seconds that a worker has in the end to store what is left of its trial; Ray would kill it after 10."""


def settle(tune_controller: "TuneController") -> None:
    """Gives the controller of a search, not of a simulation, more patience and faster workers."""
    controller = getattr(tune_controller, "_tune_controller", None)
    if controller is None:
        return
    controller._actor_force_cleanup_timeout = _LEAVE_SECONDS
    if started_here() and not isinstance(getattr(controller, "_class_cache", None), _Actors):
        controller._class_cache = _Actors()


def hurry(tune_controller: "TuneController", seconds: float) -> None:
    """Lets workers have so many seconds to store what is left of their trials, since the search is to end soon."""
    wrapper: Any = tune_controller
    wrapper._tune_controller._actor_force_cleanup_timeout = max(1.0, min(_LEAVE_SECONDS, seconds))


def allow(tune_controller: "TuneController", trial: "Trial", threads: int) -> None:
    """Tells the worker of a trial how many threads it may use, before it is told to train its next epoch."""
    wrapper: Any = tune_controller
    controller = wrapper._tune_controller
    dead = controller._trial_task_failure  # as of any other task: it is told once, of the first that fails
    controller._schedule_trial_task(trial=trial, method_name="allow", args=(threads,), on_error=dead)


def abandon(trial: "Trial") -> str | None:
    """Gives up the worker of a trial whose machine is not reached; the controller would wait for it in the end.

    Returns:
        The address of the machine; None where the trial had not begun.
    """
    if (worker := trial.temporary_state.ray_actor) is not None:
        ray.kill(worker)
    address: str | None = trial.temporary_state.location.hostname
    return address


class _Actors:
    """Tune's cache of actor classes, but without a runtime environment of their own.

    Ray has processes ready when it starts, and gives them to actors that want none. Tune's environment brings variables
    of the driver to other machines; on this one they are inherited.
    """

    def __init__(self) -> None:
        self._known: dict[type, Any] = {}

    def get(self, trainable: type) -> Any:
        if trainable not in self._known:
            self._known[trainable] = ray.remote(trainable)
        return self._known[trainable]
