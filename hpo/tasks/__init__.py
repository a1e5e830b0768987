"""Kinds of problem: what a trial minimizes, which metrics it reports, the shape of its predictions.

The metrics' names and goals stand here, so that a spec is checked without importing torch.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from hpo.errors import Problem, SpecError
from hpo.plugins import did_you_mean
from hpo.spec import Objective, SearchSpec

Goal = Literal["maximize", "minimize"]

GOALS: Mapping[str, Mapping[str, Goal]] = {
    "classification": {
        "accuracy": "maximize",
        "macro_f1": "maximize",
        "precision": "maximize",
        "recall": "maximize",
        "nll": "minimize",
        "ece": "minimize",
    },
    "multilabel": {
        "accuracy": "maximize",
        "subset_accuracy": "maximize",
        "macro_f1": "maximize",
        "micro_f1": "maximize",
        "nll": "minimize",
    },
    "regression": {"rmse": "minimize", "mae": "minimize", "r2": "maximize"},
    "forecasting": {"mase": "minimize", "smape": "minimize", "rmse": "minimize", "mae": "minimize"},
}
"""Task -> metric -> what is better."""

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped here before a logarithm: below it float16 cannot tell them from zero."""


COSTS: Mapping[str, Goal] = {"parameters": "minimize", "latency_ms": "minimize", "epoch_seconds": "minimize"}
"""What every task reports beside its own metrics: parameters of the model, milliseconds for one example, seconds."""

REPORTED = ("train_loss", "train_seconds")
"""What is reported too, and may be constrained, but is no objective."""


def check(spec: SearchSpec) -> Iterable[Problem]:
    """Problems with the objectives and constraints that the spec names."""
    goals = {**GOALS[spec.task], **COSTS}
    for key, objective in _places(spec):
        metric, wanted = objective.metric, objective.goal
        if metric not in goals:
            yield Problem((*key, "metric"), f"unknown metric '{metric}'.{did_you_mean(metric, goals)}")
        elif wanted not in (None, goals[metric]):
            yield Problem((*key, "goal"), f"for {metric} it must be {goals[metric]}, got {wanted}; leave it out")
    known = [*goals, *REPORTED]
    for place, constraint in enumerate(spec.constraints):
        if constraint.metric not in known:
            yield Problem(
                ("constraints", str(place)),
                f"no trial reports a metric '{constraint.metric}'.{did_you_mean(constraint.metric, known)}",
            )
    smoothed = spec.training.label_smoothing or "training.label_smoothing" in spec.parameters
    if spec.base == "regression" and smoothed:
        yield Problem(("training", "label_smoothing"), f"is of labels, and task {spec.task} has none; leave it out")
    yield from _twice(spec)


def check_goal(spec: SearchSpec) -> Iterable[Problem]:
    """The problem with a metric that no task knows, where the spec does not say what is better."""
    for key, objective in _places(spec):
        if objective.goal is None and objective.metric not in _KNOWN:
            yield Problem((*key, "goal"), _required(objective.metric))
    yield from _twice(spec)


def _required(metric: str) -> str:
    return f"is required for '{metric}': write `goal: maximize` or `goal: minimize`"


def cost(goal: Goal, value: float) -> float:
    """A metric's value as something to minimize."""
    return value if goal == "minimize" else -value


def goal(spec: SearchSpec) -> Goal:
    """What is better for the spec's first metric."""
    return goal_of(spec.objective)


def goal_of(objective: Objective) -> Goal:
    """What is better for a metric.

    Raises:
        SpecError: no task knows it, and the spec does not say.
    """
    goal = objective.goal or _KNOWN.get(objective.metric)
    if goal is None:
        raise SpecError([f"objective.goal: {_required(objective.metric)}"])
    return goal


def _places(spec: SearchSpec) -> Iterable[tuple[tuple[str, ...], Objective]]:
    """The objectives, each with its key in the YAML."""
    several = len(spec.objectives) > 1
    for place, objective in enumerate(spec.objectives):
        yield ("objective", str(place)) if several else ("objective",), objective


def _twice(spec: SearchSpec) -> Iterable[Problem]:
    metrics = [objective.metric for objective in spec.objectives]
    for metric in dict.fromkeys(metrics):
        if metrics.count(metric) > 1:
            yield Problem(("objective",), f"names '{metric}' twice")


_KNOWN: Mapping[str, Goal] = {
    **{metric: goal for goals in GOALS.values() for metric, goal in goals.items()},
    **COSTS,
}
