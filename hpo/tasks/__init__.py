"""Kinds of problem: what a trial minimizes, which metrics it reports, the shape of its predictions.

The metrics' names and goals stand here, so that a spec is checked without importing torch.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from hpo.errors import Problem
from hpo.registry import did_you_mean
from hpo.spec import SearchSpec, StudySpec

Goal = Literal["maximize", "minimize"]

GOALS: Mapping[str, Mapping[str, Goal]] = {
    "classification": {
        "accuracy": "maximize",
        "macro_f1": "maximize",
        "precision": "maximize",
        "recall": "maximize",
        "nll": "minimize",
        "ece": "minimize",
    }
}
"""Task -> metric -> what is better."""

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped here before a logarithm: below it float16 cannot tell them from zero."""


def check(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the objective that the spec names."""
    goals, metric, wanted = GOALS[spec.task], spec.objective.metric, spec.objective.goal
    if metric not in goals:
        yield Problem(("objective", "metric"), f"unknown metric '{metric}'.{did_you_mean(metric, goals)}")
    elif wanted not in (None, goals[metric]):
        yield Problem(("objective", "goal"), f"for {metric} it must be {goals[metric]}, got {wanted}; leave it out")


def check_goal(spec: SearchSpec) -> Iterable[Problem]:
    """The problem with a metric that no task knows, where the spec does not say what is better."""
    if spec.objective.goal is None and spec.objective.metric not in _KNOWN:
        yield Problem(
            ("objective", "goal"), f"is required for '{spec.objective.metric}': write `goal: maximize` or `minimize`"
        )


def cost(goal: Goal, value: float) -> float:
    """A metric's value as something to minimize."""
    return value if goal == "minimize" else -value


def goal(spec: SearchSpec) -> Goal:
    """What is better for the spec's metric."""
    return spec.objective.goal or _KNOWN[spec.objective.metric]


_KNOWN: Mapping[str, Goal] = {metric: goal for goals in GOALS.values() for metric, goal in goals.items()}
