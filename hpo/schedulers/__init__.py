"""Schedulers by name: who decides after each report whether a trial goes on.

`freeze_thaw`, `asha`, `hyperband` and `pbt` are ours; `asha_stop` and `median` are Ray Tune's, and any other
`ray.tune.schedulers.TrialScheduler` goes by `module:Class`.
"""

import inspect
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import InputError, Problem
from hpo.plugins import Registry, did_you_mean
from hpo.schedulers.rungs import halvings, rungs
from hpo.schedulers.scheduler import Child, Decision, Scheduler, Situation
from hpo.spec import SearchSpec
from hpo.study import ranking
from hpo.study.ranking import Fitness

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

Measure = Callable[[Mapping[str, float]], Fitness]
"""Metrics -> fitness."""
Resume = Callable[[NDArray[np.intp], bool], int | None]
"""(numbers of the trials that may go on, whether a new one may start) -> the one that should go on, or None."""
Explore = Callable[[Mapping[str, Any], np.random.Generator, float], dict[str, Any]]
"""(a parent's config, generator, chance to draw a value anew) -> a child's config."""
RESOURCE = "epoch"
"""The key under which a report carries its resource."""

__all__ = [
    "PAUSING",
    "RESOURCE",
    "SCHEDULERS",
    "Child",
    "Decision",
    "Explore",
    "Scheduler",
    "Situation",
    "build",
    "changeable",
    "check",
    "first_rung",
    "ladder",
    "rung_reached",
    "rungs",
]

SCHEDULERS = Registry(
    "scheduler",
    {
        "freeze_thaw": "hpo.schedulers:freeze_thaw",
        "asha": "hpo.schedulers:asha",
        "asha_stop": "hpo.schedulers:asha_stop",
        "hyperband": "hpo.schedulers:hyperband",
        "median": "hpo.schedulers:median",
        "pbt": "hpo.schedulers:pbt",
        "none": "hpo.schedulers:none",
    },
)
_RUNGED = ("freeze_thaw", "asha", "hyperband", "asha_stop")
PAUSING = ("freeze_thaw", "asha", "hyperband", "pbt")
"""Ours that pause trials."""
_NEEDS = {"freeze_thaw": "curves"}
"""The sampler whose model a scheduler asks."""


def check(spec: SearchSpec) -> Iterable[Problem]:
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
    if spec.sampler.name != _NEEDS.get(name, spec.sampler.name):
        yield Problem(
            ("scheduler", "name"),
            f"'{name}' asks the model of sampler '{_NEEDS[name]}', got sampler '{spec.sampler.name}';"
            f" write `sampler: {_NEEDS[name]}`, or another scheduler such as asha",
        )
    if name == "pbt":
        yield from _check_population(spec)
    given = ("metric", "goal", "measure", "epochs", "resume", "by_trials", "reference", "explore", "seed")
    known = [key for key in inspect.signature(factory).parameters if key not in given]
    unknown = [key for key in settings if key not in known]
    for key in unknown:
        yield Problem(
            ("scheduler", key), f"scheduler '{name}' has no such setting.{did_you_mean(key, known or ['name'])}"
        )
    if not unknown:
        try:
            ladder(spec)
            if name not in ("freeze_thaw", "asha", "none"):  # these cannot fail any more; Ray's take long to import
                build(spec, "maximize")
        except (TypeError, ValueError, AssertionError) as error:
            yield Problem(("scheduler",), str(error) or f"'{name}' refuses {settings}")


def _check_foreign(spec: SearchSpec) -> Iterable[Problem]:
    """Builds a user's scheduler once, to see."""
    from ray.tune.schedulers import PopulationBasedTraining, ResourceChangingScheduler, TrialScheduler

    name, settings = spec.scheduler.name, spec.scheduler.settings
    changing = (PopulationBasedTraining, ResourceChangingScheduler)
    factory = SCHEDULERS.load(name)
    if isinstance(factory, type) and issubclass(factory, changing):
        yield Problem(
            ("scheduler", "name"),
            f"'{name}' changes running trials, which no study could record; write `scheduler: pbt`,"
            " where a trial whose config changes is a new trial",
        )
        return
    try:
        scheduler = _made(spec, {})
    except Exception as error:  # whatever a user's scheduler raises
        yield Problem(("scheduler",), f"scheduler '{name}' refuses {settings}: {error}")
        return
    if not isinstance(scheduler, TrialScheduler):
        yield Problem(("scheduler", "name"), f"'{name}' is not a ray.tune.schedulers.TrialScheduler")


def _check_population(spec: SearchSpec) -> Iterable[Problem]:
    """What population based training needs beside its settings."""
    from hpo.schedulers.population import LEAST

    if spec.budget.trials is None or spec.budget.trials < LEAST:
        yield Problem(
            ("budget", "trials"),
            f"'pbt' trains a population of as many trials, at least {LEAST}, got {spec.budget.trials}; name its size",
        )
    if not any(changeable(name) for name, parameter in spec.parameters.items() if parameter.equals is None):
        yield Problem(
            ("parameters",),
            "'pbt' changes parameters while a model trains, and none of these can be: `model.*` and `optimizer.name`"
            " stay what they are; add another one, such as optimizer.lr, or take another scheduler",
        )


def changeable(name: str) -> bool:
    """Whether a parameter may change while the same model and the same optimizer go on."""
    return not name.startswith("model.") and name != "optimizer.name"


def build(
    spec: SearchSpec,
    goal: str,
    resume: Resume | None = None,
    explore: Explore | None = None,
    by_trials: bool = False,
    reference: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Scheduler:
    """The scheduler of a spec.

    Args:
        spec: names it and its settings.
        goal: maximize or minimize.
        resume: the sampler's choice among paused trials; for `freeze_thaw`.
        explore: makes a child's config; for `pbt`.
        by_trials: whether the number of trials is all that ends the search; for `freeze_thaw`.
        reference: the number of the trial that has the user's own config; for `freeze_thaw`.
        clock: the study's; for Ray's.
    """
    offered = {
        "goal": goal,
        "resume": resume or _nothing,
        "explore": explore or _unchanged,
        "by_trials": by_trials,
        "reference": reference,
    }
    made = _made(spec, offered)
    if isinstance(made, Scheduler):
        return made
    from hpo.schedulers.of_ray import OfRay

    return OfRay(made, RESOURCE, clock)


def _made(spec: SearchSpec, offered: Mapping[str, Any]) -> "Scheduler | TrialScheduler":
    """What the factory that the spec names makes of its settings, and of what is offered where it takes that."""
    name, settings = spec.scheduler.name, spec.scheduler.settings
    factory = SCHEDULERS.load(name)
    metric, goal = spec.objective.metric, offered.get("goal", "maximize")
    own = {
        "metric": metric,
        "epochs": spec.training.epochs,
        "measure": partial(ranking.measure, spec),
        "seed": spec.seed,
        **offered,
    }
    if name not in SCHEDULERS.names:
        own = {"metric": metric, "mode": _mode(goal), "time_attr": RESOURCE}
    takes = inspect.signature(factory).parameters
    made: Scheduler | TrialScheduler = factory(**{key: value for key, value in own.items() if key in takes} | settings)
    return made


def freeze_thaw(
    measure: Measure,
    epochs: int,
    resume: Resume,
    by_trials: bool,
    reference: int | None,
    grace: int | None = None,
    eta: int | None = None,
) -> Scheduler:
    """The sampler's model says whether a paused trial goes on or a new one starts: see `hpo.schedulers.thaw`.

    Args:
        measure: metrics -> fitness.
        epochs: the full resource.
        resume: the model's choice.
        by_trials: whether the budget counts trials alone.
        reference: the trial that is trained in full then.
        grace: the first rung.
        eta: how much longer each rung is than the one before. Without both the full resource is halved.
    """
    from hpo.schedulers.thaw import FreezeThaw

    return FreezeThaw(measure, _thawing(epochs, grace, eta), resume, by_trials, reference if by_trials else None)


def asha(
    measure: Measure,
    epochs: int,
    grace: int | None = None,
    eta: int = 3,
) -> Scheduler:
    """Asynchronous successive halving of the promotion type: see `hpo.schedulers.halving`.

    Args:
        measure: metrics -> fitness, which is compared.
        epochs: the full resource.
        grace: the first rung; `first_rung(epochs)` where None.
        eta: one in eta goes on at each rung.
    """
    from hpo.schedulers.halving import Asha

    return Asha(measure, epochs, first_rung(epochs) if grace is None else grace, eta)


def hyperband(
    measure: Measure,
    epochs: int,
    grace: int | None = None,
    eta: int = 3,
    brackets: int | None = None,
) -> Scheduler:
    """Asynchronous Hyperband: promotion-type ASHA in several brackets side by side.

    Args:
        measure: metrics -> fitness, which is compared.
        epochs: the full resource.
        grace: the first rung of the first bracket; `first_rung(epochs)` where None.
        eta: one in eta goes on at each rung.
        brackets: how many; as many as there are rungs where None, so that the last trains without stopping.
    """
    from hpo.schedulers.halving import Asha

    first = first_rung(epochs) if grace is None else grace
    count = len(rungs(epochs, first, eta)) if brackets is None else brackets
    return Asha(measure, epochs, first, eta, count)


def asha_stop(metric: str, goal: str, epochs: int, grace: int = 1, eta: int = 3) -> "TrialScheduler":
    """Ray's asynchronous successive halving: no trial pauses, the worst at each rung are stopped.

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


def median(metric: str, goal: str, epochs: int, grace: int = 1, least: int = 3) -> "TrialScheduler":
    """Ray's median rule: a trial stops where its best is worse than the median of the others' running means.

    Golovin et al. 2017, "Google Vizier", section 3.2.2.

    Args:
        metric: what is compared.
        goal: maximize or minimize.
        epochs: the full resource.
        grace: no trial stops before this epoch.
        least: how many other trials there must be to compare with.
    """
    from ray.tune.schedulers import MedianStoppingRule

    return MedianStoppingRule(
        time_attr=RESOURCE, metric=metric, mode=_mode(goal), grace_period=grace, min_samples_required=least
    )


def pbt(
    measure: Measure,
    epochs: int,
    explore: Explore,
    seed: int,
    interval: int | None = None,
    quantile: float = 0.25,
    resample: float = 0.25,
) -> Scheduler:
    """Population based training: see `hpo.schedulers.population`. The trials of the budget are the population.

    Args:
        measure: metrics -> fitness, which is compared.
        epochs: the full resource.
        explore: makes a child's config.
        seed: of the draws.
        interval: epochs between two decisions about a member; a tenth of the full resource where None.
        quantile: the share of the population that is replaced, and the share that lends its state.
        resample: the chance that exploring draws a value anew.
    """
    from hpo.schedulers.population import Population

    every = max(1, epochs // 10) if interval is None else interval
    return Population(measure, epochs, explore, seed, every, quantile, resample)


def none(metric: str, goal: str, epochs: int) -> "TrialScheduler":
    """Every trial is trained to the end."""
    from ray.tune.schedulers import FIFOScheduler

    return FIFOScheduler()


def first_rung(epochs: int) -> int:
    """The first rung where the spec names none: 2, since a single epoch says little of the last; 1 of few epochs."""
    return 2 if epochs >= 9 else 1


def ladder(spec: SearchSpec) -> tuple[int, ...] | None:
    """The rungs of the spec's scheduler, of its first bracket; None where it has none.

    Raises:
        TypeError, ValueError: grace or eta is out of range.
    """
    name, settings, epochs = spec.scheduler.name, spec.scheduler.settings, spec.training.epochs
    if name not in _RUNGED:
        return None
    grace = settings.get("grace")
    if name == "freeze_thaw":
        return _thawing(epochs, grace, settings.get("eta"))
    if grace is None:
        grace = 1 if name == "asha_stop" else first_rung(epochs)
    return rungs(epochs, grace, settings.get("eta", 3))


def rung_reached(spec: SearchSpec, epoch: int) -> int:
    """The highest rung at or below `epoch`; 0 below the first. Without rungs it is the epoch itself."""
    steps = ladder(spec)
    return epoch if steps is None else max((rung for rung in steps if rung <= epoch), default=0)


def _thawing(epochs: int, grace: int | None, eta: int | None) -> tuple[int, ...]:
    if grace is None and eta is None:
        return halvings(epochs)
    return rungs(epochs, first_rung(epochs) if grace is None else grace, 2 if eta is None else eta)


def _nothing(numbers: Collection[int], new: bool) -> None:
    """The choice of a scheduler that is only built to be checked."""


def _unchanged(config: Mapping[str, Any], rng: np.random.Generator, resample: float) -> dict[str, Any]:
    """The explored config of a scheduler that is only built to be checked."""
    return dict(config)


def _mode(goal: str) -> str:
    return "max" if goal == "maximize" else "min"
