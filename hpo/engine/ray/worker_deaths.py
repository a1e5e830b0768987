"""Why a worker has died, as far as Ray knows."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayTaskError

from hpo.study.artifacts import Unseen
from hpo.study.trial import Failure

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

_NODE_DIED = "its node has died"
"""Ray keeps the kind of a worker's death only in these words."""


def machine_left(trial: "Trial", lately: Callable[[], bool]) -> bool:
    """Whether the worker was lost with its machine, or with the way there, and did not die by itself.

    Args:
        trial: Ray has caught its error.
        lately: whether a machine has left; is asked where Ray does not know.
    """
    error = _error(trial)
    if isinstance(error, ActorDiedError):
        return _NODE_DIED in error.error_msg or lately()
    return isinstance(error, ActorUnavailableError)


def unseen(trial: "Trial") -> bool:
    """Whether its machine does not see the folder of the artifacts.

    Args:
        trial: Ray has caught its error.
    """
    error = _error(trial)
    return isinstance(error, RayTaskError) and isinstance(error.cause, Unseen)


def death(trial: "Trial", hung: bool) -> tuple[Failure, str]:
    """What became of a worker, and what is told of it.

    Args:
        trial: Ray has caught its error.
        hung: whether nothing was heard of it for as long as it may be silent.
    """
    error = _error(trial)
    if isinstance(error, OutOfMemoryError):
        return Failure.MEMORY, f"the worker was killed: its machine ran out of memory: {error}"
    if isinstance(error, ActorDiedError) and hung:
        return Failure.HANG, "no report came within failures.trial_timeout, so its worker was killed"
    return Failure.DEATH, _told(trial, error)


def _error(trial: "Trial") -> object:
    """What Ray caught."""
    file = Path(trial.pickled_error_file) if trial.pickled_error_file else None
    return cloudpickle.loads(file.read_bytes()) if file is not None and file.exists() else None


def _told(trial: "Trial", error: object) -> str:
    """What the worker raised, such as that it cannot store its trial, or what Ray says of a dead one and the causes."""
    file = Path(trial.error_file) if trial.error_file else None
    told = file.read_text(encoding="utf-8") if file is not None and file.exists() else ""
    if isinstance(error, RayTaskError) or getattr(error, "actor_init_failed", False):
        return told
    return f"{told}the worker process died: out of memory, a crash in native code, or a module that it cannot import"
