"""Schedulers by name: who decides after each report whether a trial goes on.

A scheduler is a `ray.tune.schedulers.TrialScheduler`; `asha` is Ray's. Any other goes by `module:Class`.
"""

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hpo.errors import InputError, Problem
from hpo.registry import Registry, did_you_mean
from hpo.spec import StudySpec

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

RESOURCE = "epoch"
"""The key under which a report carries its resource."""

SCHEDULERS = Registry(
    "scheduler",
    {"asha": "hpo.schedulers:asha", "none": "hpo.schedulers:none"},
)


def check(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the scheduler that the spec names and with its settings."""
    name, settings = spec.scheduler.name, spec.scheduler.settings
    try:
        factory = SCHEDULERS.load(name)
    except InputError as error:
        yield Problem(("scheduler", "name"), str(error))
        return
    if name not in SCHEDULERS.names:
        yield from _check_foreign(spec)
        return
    known = [key for key in inspect.signature(factory).parameters if key not in ("metric", "goal", "epochs")]
    unknown = [key for key in settings if key not in known]
    for key in unknown:
        yield Problem(
            ("scheduler", key), f"scheduler '{name}' has no such setting.{did_you_mean(key, known or ['name'])}"
        )
    if not unknown and name == "asha":
        try:
            rungs(epochs=spec.training.epochs, **settings)
        except (TypeError, ValueError) as error:
            yield Problem(("scheduler",), str(error))


def _check_foreign(spec: StudySpec) -> Iterable[Problem]:
    """Builds a user's scheduler once, to see; one that pauses or exploits trials needs checkpoints of running ones."""
    from ray.tune.schedulers import (
        HyperBandForBOHB,
        HyperBandScheduler,
        PopulationBasedTraining,
        ResourceChangingScheduler,
        TrialScheduler,
    )

    name, settings = spec.scheduler.name, spec.scheduler.settings
    try:
        scheduler = build(spec, "maximize")
    except Exception as error:  # whatever a user's scheduler raises
        yield Problem(("scheduler",), f"scheduler '{name}' refuses {settings}: {error}")
        return
    pausing = (HyperBandScheduler, HyperBandForBOHB, PopulationBasedTraining, ResourceChangingScheduler)
    if not isinstance(scheduler, TrialScheduler):
        yield Problem(("scheduler", "name"), f"'{name}' is not a ray.tune.schedulers.TrialScheduler")
    elif isinstance(scheduler, pausing):
        yield Problem(("scheduler", "name"), f"'{name}' pauses trials, which cannot be resumed yet; use one that stops")


def build(spec: StudySpec, goal: str) -> "TrialScheduler":
    """The scheduler of a spec; `goal` is maximize or minimize."""
    factory = SCHEDULERS.load(spec.scheduler.name)
    metric, settings = spec.objective.metric, spec.scheduler.settings
    scheduler: TrialScheduler
    if spec.scheduler.name in SCHEDULERS.names:
        scheduler = factory(metric=metric, goal=goal, epochs=spec.training.epochs, **settings)
    else:
        own = {"metric": metric, "mode": _mode(goal), "time_attr": RESOURCE}
        takes = inspect.signature(factory).parameters
        scheduler = factory(**{key: value for key, value in own.items() if key in takes} | settings)
    return scheduler


def asha(metric: str, goal: str, epochs: int, grace: int = 1, eta: int = 3) -> "TrialScheduler":
    """Ray's asynchronous successive halving (Li et al. 2018, "Massively Parallel Hyperparameter Tuning").

    Args:
        metric: what is compared.
        goal: maximize or minimize.
        epochs: the full resource.
        grace: no trial stops before this epoch; the first rung.
        eta: about one in eta goes on at each rung.
    """
    from ray.tune.schedulers import ASHAScheduler

    return ASHAScheduler(
        time_attr=RESOURCE, metric=metric, mode=_mode(goal), max_t=epochs, grace_period=grace, reduction_factor=eta
    )


def none(metric: str, goal: str, epochs: int) -> "TrialScheduler":
    """Every trial is trained to the end."""
    from ray.tune.schedulers import FIFOScheduler

    return FIFOScheduler()


def rungs(epochs: int, grace: int = 1, eta: int = 3) -> tuple[int, ...]:
    """The resources at which successive halving compares trials: grace, grace * eta, ... below `epochs`, then `epochs`.

    By integer multiplication: a floor of logarithms loses the rung of 243 between 1 and 243 at eta 3.

    Raises:
        TypeError: grace or eta is no whole number.
        ValueError: grace is not within 1 to epochs, or eta is below 2.
    """
    for name, value in (("grace", grace), ("eta", eta)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
    if not 1 <= grace <= epochs:
        raise ValueError(f"grace must be 1 to training.epochs ({epochs}), got {grace}")
    if eta < 2:
        raise ValueError(f"eta must be at least 2, got {eta}")
    ladder = []
    rung = grace
    while rung < epochs:
        ladder.append(rung)
        rung *= eta
    return (*ladder, epochs)


def rung_reached(spec: StudySpec, epoch: int) -> int:
    """The highest rung at or below `epoch`; 0 below the first. Without rungs it is the epoch itself."""
    if spec.scheduler.name != "asha":
        return epoch
    settings: dict[str, Any] = spec.scheduler.settings
    return max((rung for rung in rungs(epochs=spec.training.epochs, **settings) if rung <= epoch), default=0)


def _mode(goal: str) -> str:
    return "max" if goal == "maximize" else "min"
