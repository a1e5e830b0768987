"""A task of the user's own: what its class says of predictions and metrics, written into the spec.

So a study can be read, ranked and shown where the class cannot be imported.
"""

from collections.abc import Mapping
from typing import Any

from hpo.errors import InputError
from hpo.plugins import Registry
from hpo.spec.section import BASES

_OWN = Registry("task", {})


def own_task(path: str) -> Any:
    """The class of a task of the user's own.

    Args:
        path: `module:Class`.

    Raises:
        InputError: it cannot be imported, is not trusted, or does not say its `base` and `metrics`.
    """
    found = _OWN.load(path)
    if not isinstance(found, type):
        raise InputError(f"task '{path}' must be a class, got {found!r:.80}")
    base, metrics = getattr(found, "base", None), getattr(found, "metrics", None)
    if base not in BASES:
        raise InputError(
            f"task '{path}': `base`, what predictions are, must be {', '.join(map(repr, BASES))}, got {base!r:.80}"
        )
    if not isinstance(metrics, Mapping) or not metrics:
        raise InputError(
            f"task '{path}': `metrics` must be a mapping of names to 'maximize' or 'minimize', got {metrics!r:.80}"
        )
    for name, goal in metrics.items():
        if not isinstance(name, str) or goal not in ("maximize", "minimize"):
            raise InputError(
                f"task '{path}': of metric {name!r:.80} is better 'maximize' or 'minimize', got {goal!r:.80}"
            )
    return found


def with_own_task(document: Mapping[str, Any]) -> dict[str, Any]:
    """A search file that names a task of the user's own, with the task's base and the goals of its metrics.

    Raises:
        InputError: the class is none, or the file says another base.
    """
    path = document["task"]
    found = own_task(path)
    if document.get("base") not in (None, found.base):
        raise InputError(f"base is {document['base']!r:.80}, and that of task '{path}' is {found.base!r}; leave it out")
    objective = document.get("objective")
    if objective is None:
        objective = next(iter(found.metrics))
    return {**document, "base": found.base, "objective": with_goals(objective, found.metrics)}


def with_goals(objective: Any, goals: Mapping[str, str]) -> Any:
    """An objective, or a list of several, as it is written; goals of these metrics that it leaves out are filled in."""
    if isinstance(objective, str):
        return {"metric": objective, "goal": goals[objective]} if objective in goals else objective
    if isinstance(objective, list | tuple):
        return [with_goals(one, goals) for one in objective]
    if not isinstance(objective, Mapping):
        return objective
    written, metric = dict(objective), objective.get("metric")
    if written.get("goal") is None and isinstance(metric, str) and metric in goals:
        written["goal"] = goals[metric]
    if "others" in written:
        written["others"] = with_goals(written["others"], goals)
    return written
