"""Kinds of problem: what a trial minimizes, which metrics it reports, the shape of its predictions.

A task is a class (`hpo.tasks.task.Task`) in a file of its own. The names and goals of the metrics of ours stand here,
so that a spec is checked without importing torch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from hpo.errors import InputError, Problem, SpecError
from hpo.plugins import did_you_mean
from hpo.spec import Objective, SearchSpec, StudySpec
from hpo.spec.own_task import own_task

Goal = Literal["maximize", "minimize"]

GOALS: Mapping[str, Mapping[str, Goal]] = {
    "classification": {
        "accuracy": "maximize",
        "balanced_accuracy": "maximize",
        "macro_f1": "maximize",
        "precision": "maximize",
        "recall": "maximize",
        "mcc": "maximize",
        "auroc": "maximize",
        "auprc": "maximize",
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
"""Task of ours -> metric -> what is better."""

AT: Mapping[str, Mapping[str, Goal]] = {
    "classification": {
        **{"accuracy": "maximize", "precision": "maximize", "recall": "maximize"},
        **{"specificity": "maximize", "f1": "maximize"},
    },
    "multilabel": {},
    "regression": {"pinball": "minimize"},
}
"""Base -> metrics that are measured at a number between 0 and 1, such as `f1_at_0.3`, where a search names them."""
_AT = re.compile(r"([a-z0-9]+)_at_(0?\.[0-9]+)")

LOSSES: Mapping[str, tuple[str, ...]] = {
    "classification": ("auto", "cross_entropy", "focal"),
    "multilabel": ("auto", "cross_entropy", "focal"),
    "regression": ("auto", "squared", "mae", "huber", "quantile"),
}
"""Base -> what `training.loss` can be, beside a function of the user's own."""

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped here before a logarithm: below it float16 cannot tell them from zero."""


COSTS: Mapping[str, Goal] = {"parameters": "minimize", "latency_ms": "minimize", "epoch_seconds": "minimize"}
"""What every task reports beside its own metrics: parameters of the model, milliseconds for one example, seconds."""

REPORTED = ("train_loss", "train_seconds")
"""What is reported too, and may be constrained, but is no objective."""


def check(spec: SearchSpec) -> Iterable[Problem]:
    """Problems with the task, the loss, and the objectives, constraints and metrics that the spec names."""
    try:
        goals = goals_of(spec)
    except InputError as error:
        yield Problem(("task",), str(error))
        return
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
    yield from _twice(spec)
    yield from check_metrics(spec)
    yield from _losses(spec)
    yield from _copies(spec)


def goals_of(spec: SearchSpec) -> dict[str, Goal]:
    """Metric -> what is better, of all that trials of the built-in loop report and that can be searched for.

    Raises:
        InputError: the task is of the user's own, and cannot be imported or is not trusted.
    """
    own: Mapping[str, Goal] = own_task(spec.task).metrics if ":" in spec.task else GOALS[spec.task]
    numbered = {name: AT[spec.base][at_number(name)[0]] for name in with_numbers(spec)}
    others = {metric.reported: metric.goal for metric in spec.metrics if metric.goal is not None}
    return {**own, **numbered, **others, **COSTS}


def at_number(name: str) -> tuple[str, float]:
    """`f1_at_0.3` -> ("f1", 0.3); of a name without a number ("", 0.0)."""
    match = _AT.fullmatch(name)
    return ("", 0.0) if match is None else (match[1], float(match[2]))


def with_numbers(spec: SearchSpec) -> tuple[str, ...]:
    """The metrics at a number that a search names anywhere, such as `f1_at_0.3`, as far as its base has them."""
    named = (
        *(metric.name for metric in spec.metrics),
        *(objective.metric for objective in spec.objectives),
        *(constraint.metric for constraint in spec.constraints),
    )
    return tuple(name for name in dict.fromkeys(named) if at_number(name)[0] in AT[spec.base] and at_number(name)[1])


def check_metrics(spec: SearchSpec) -> Iterable[Problem]:
    """Problems with what the spec has under `metrics`."""
    taken = {*(own_task(spec.task).metrics if ":" in spec.task else GOALS[spec.task]), *COSTS, *REPORTED}
    for place, metric in enumerate(spec.metrics):
        key = ("metrics", str(place))
        if ":" in metric.name:
            try:
                from hpo.tasks.measuring import own_metric

                own_metric(metric)
            except InputError as error:
                yield Problem(key, str(error))
        elif metric.reported not in with_numbers(spec):
            ways = " or ".join(f"{name}_at_0.3" for name in AT[spec.base]) or "none of ours"
            yield Problem(
                key,
                f"'{metric.name}' is no metric that is asked for here: of {spec.base} these are {ways}, beside"
                " module:function of your own; the others are always measured",
            )
        elif metric.settings:
            yield Problem(key, f"'{metric.name}' takes no settings, got {', '.join(metric.settings)}; leave them out")
        if metric.reported in taken:
            yield Problem(key, f"would be reported as '{metric.reported}', as another metric is; rename the function")
        taken.add(metric.reported)


def check_fit(spec: StudySpec, outputs: Sequence[str]) -> Iterable[Problem]:
    """Problems between what the spec says of classes and those that its data have.

    Args:
        spec: of the search.
        outputs: the names of the classes, where its task has classes.
    """
    if spec.base != "classification":
        return
    weights, positive = spec.training.class_weights, spec.data.positive
    for name in weights if isinstance(weights, Mapping) else ():
        if name not in outputs:
            yield Problem(("training", "class_weights"), f"there is no class '{name}'.{did_you_mean(name, outputs)}")
    if positive is not None and positive not in outputs:
        yield Problem(("data", "positive"), f"there is no class '{positive}'.{did_you_mean(positive, outputs)}")
    if positive is None and len(outputs) != 2 and (numbered := with_numbers(spec)):
        yield Problem(
            ("data", "positive"),
            f"is required for {numbered[0]} of {len(outputs)} classes: name the class that is told from the others",
        )


def _copies(spec: SearchSpec) -> Iterable[Problem]:
    """The problem with several trainings of a config where a task of the user's own has its own `activate`."""
    if ":" in spec.task and spec.training.copies > 1:
        from hpo.tasks.kinds import activates

        if activates(spec.task):
            yield Problem(
                ("training", "seeds" if spec.training.folds is None else "folds"),
                f"joins several trainings into one model by what outputs of {spec.base} mean, and task '{spec.task}'"
                " has an `activate` of its own: leave it out",
            )


def _losses(spec: SearchSpec) -> Iterable[Problem]:
    """Problems with the loss and with settings that the task does not have."""
    searched = spec.parameters.get("training.loss")
    places = [(("training", "loss"), spec.training.loss)]
    places += [(("parameters", "training.loss"), str(value)) for value in (searched and searched.values) or ()]
    for key, name in places:
        if ":" in name:
            try:
                from hpo.tasks.loss import own_loss

                own_loss(name, spec.training)
            except InputError as error:
                yield Problem(key, str(error))
        elif name not in LOSSES[spec.base]:
            yield Problem(key, f"'{name}' is not for task {spec.task}: it has {', '.join(LOSSES[spec.base])}")
    if spec.training.loss_settings and not any(":" in name for _, name in places):
        yield Problem(("training", "loss_settings"), "are of a loss of your own, and there is none; leave them out")
    for name, base in (("class_weights", "classification"), ("label_smoothing", "classification or multilabel")):
        fixed = getattr(spec.training, name) not in ("none", 0.0)
        if spec.base not in base and (fixed or f"training.{name}" in spec.parameters):
            has = "labels" if name == "label_smoothing" else "classes"
            yield Problem(("training", name), f"is of {has}, and task {spec.task} has none; leave it out")
    if isinstance(spec, StudySpec) and spec.data.positive is not None and spec.base != "classification":
        yield Problem(("data", "positive"), f"is a class, and task {spec.task} has none; leave it out")


def check_goal(spec: SearchSpec) -> Iterable[Problem]:
    """The problem with a metric that no task knows, where the spec does not say what is better."""
    for key, objective in _places(spec):
        if objective.goal is None and _goal(objective.metric) is None:
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
    goal = objective.goal or _goal(objective.metric)
    if goal is None:
        raise SpecError([f"objective.goal: {_required(objective.metric)}"])
    return goal


def _goal(metric: str) -> Goal | None:
    """What is better for a metric of ours; None of one that no task of ours has."""
    return _KNOWN.get(metric) or _NUMBERED.get(at_number(metric)[0])


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
_NUMBERED: Mapping[str, Goal] = {metric: goal for goals in AT.values() for metric, goal in goals.items()}
