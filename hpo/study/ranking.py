"""What is better: the objectives and the constraints of a spec, as something to compare trials by."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hpo import tasks
from hpo.spec import SearchSpec

_Key = TypeVar("_Key")
REPORT = "report:"
"""Prefix of the trial attribute that holds all metrics of one report; Optuna's own record has the objective alone."""
_FAR = 1e30
"""Stands for an infinite excess: storages want finite numbers."""


class Fitness(NamedTuple):
    """What a trial is worth at one resource, in costs: less is better. With one objective the order is Deb's (2000)."""

    violation: float
    """Sum of the constraints' excesses; 0 if feasible."""
    costs: tuple[float, ...]
    """One an objective; a maximized one has its sign changed."""

    @property
    def finite(self) -> bool:
        """Whether all objectives have a value."""
        return all(map(math.isfinite, self.costs))

    def dominates(self, other: "Fitness") -> bool:
        """Constrained domination (Deb et al. 2002, definition 1)."""
        if self.violation or other.violation:
            return self.violation < other.violation
        return self.costs != other.costs and all(a <= b for a, b in zip(self.costs, other.costs, strict=True))


def measure(spec: SearchSpec, metrics: Mapping[str, float]) -> Fitness:
    """The fitness of one report; an objective or a constrained metric that is missing or NaN is as bad as can be."""
    costs = []
    for objective in spec.objectives:
        value = metrics.get(objective.metric, math.nan)
        costs.append(tasks.cost(tasks.goal_of(objective), value) if math.isfinite(value) else math.inf)
    return Fitness(sum(max(0.0, excess) for excess in excesses(spec, metrics).values()), tuple(costs))


def reaches(spec: SearchSpec, metrics: Mapping[str, float], target: float) -> bool:
    """Whether a report keeps to the constraints and has an objective that is as good as a target, or better."""
    worth = measure(spec, metrics)
    return worth.violation == 0 and worth.costs[0] <= tasks.cost(tasks.goal_of(spec.objective), target)


def diverged(spec: SearchSpec, metrics: Mapping[str, float]) -> str | None:
    """The first objective of a report that is missing or not finite; None where all are finite."""
    names = (objective.metric for objective in spec.objectives)
    return next((name for name in names if not math.isfinite(metrics.get(name, math.nan))), None)


def excesses(spec: SearchSpec, metrics: Mapping[str, float]) -> dict[str, float]:
    """The excess of each constraint, name -> number: above 0 the constraint is broken, at 0 and below it holds."""
    broken = {str(rule): rule.excess(metrics.get(rule.metric, math.nan)) for rule in spec.constraints}
    return {name: _FAR if math.isnan(excess) else min(max(excess, -_FAR), _FAR) for name, excess in broken.items()}


def best_first(trials: Mapping[_Key, Fitness]) -> list[_Key]:
    """The keys, the best first: by constrained domination, and within a front the loneliest first (Deb et al. 2002).

    With one objective it is the plain order. Ties keep the mapping's order.
    """
    keys = list(trials)
    if all(len(trials[key].costs) == 1 for key in keys):
        return sorted(keys, key=lambda key: trials[key])
    depth = _depths({key: fitness.costs for key, fitness in trials.items() if not fitness.violation})
    place = {key: (fitness.violation, depth.get(key, 0)) for key, fitness in trials.items()}
    ranked = []
    for _, front in groupby(sorted(keys, key=place.__getitem__), key=place.__getitem__):
        members = list(front)
        distance = dict(zip(members, crowding([trials[key].costs for key in members]), strict=True))
        ranked += sorted(members, key=lambda key: -distance[key])
    return ranked


def front(trials: Mapping[_Key, Fitness]) -> list[_Key]:
    """The Pareto set: feasible trials that no other one dominates."""
    depth = _depths({key: fitness.costs for key, fitness in trials.items() if not fitness.violation and fitness.finite})
    return [key for key in depth if depth[key] == 0]


def _depths(costs: Mapping[_Key, tuple[float, ...]]) -> dict[_Key, int]:
    """How many fronts lie before each trial's: one more than before the deepest front that has a dominator of it.

    In lexicographic order the dominators come first, so one pass is enough.
    """
    if not costs:
        return {}
    rows, place = np.unique(np.array(list(costs.values())), axis=0, return_inverse=True)
    columns = np.ascontiguousarray(rows.T)
    depths = np.zeros(len(rows), np.int64)
    for index, row in enumerate(rows):
        dominators = (columns[:, :index] <= row[:, None]).all(axis=0)
        depths[index] = depths[:index].max(where=dominators, initial=-1) + 1
    return dict(zip(costs, depths[place.reshape(-1)].tolist(), strict=True))  # numpy 2.0.0 shapes `place` otherwise


def crowding(costs: Sequence[Sequence[float]]) -> list[float]:
    """The crowding distances of a front, `(n, objectives)` -> n; infinite at its ends."""
    values: NDArray[np.float64] = np.nan_to_num(np.asarray(costs, np.float64), posinf=_FAR, neginf=-_FAR)
    distances = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distances[order[[0, -1]]] = math.inf
        if span > 0 and len(order) > 2:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return [float(distance) for distance in distances]
